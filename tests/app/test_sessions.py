"""The server keeps the states of a session and nothing else of the page."""

import gradio as gr
from fastapi.testclient import TestClient
from gradio import state_holder
from gradio.routes import App

from app.gradio_patches import keep_state_only
from app.sessions import StateOnlySession


def call(app: App, event: int, *values: object) -> list:
    """Send one event of one session."""
    body = {"fn_index": event, "data": list(values), "session_hash": "session"}
    response = TestClient(app).post("/gradio_api/run/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_states_are_kept_and_shown_values_are_not(monkeypatch):
    monkeypatch.setattr(state_holder, "SessionState", state_holder.SessionState)  # restored afterwards
    with gr.Blocks() as page:
        state, shown, button = gr.State(0), gr.HTML(), gr.Button()
        button.click(lambda count: (count + 1, "x" * 10**6 + str(count)), state, [state, shown], queue=False)
    keep_state_only()
    app = App.create_app(page)
    texts = [call(app, 0, None)[1] for _ in range(3)]
    assert [text[-1] for text in texts] == ["0", "1", "2"]
    session = app.state_holder["session"]
    assert isinstance(session, StateOnlySession) and session[state._id] == 3
    assert session.config_values == {} and not any("xxx" in str(value) for value in vars(session).values())
