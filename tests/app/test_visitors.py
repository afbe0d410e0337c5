"""Laws of what is remembered of visitors: their states, and nothing of the page."""

import gradio as gr
from fastapi.testclient import TestClient
from gradio import state_holder
from gradio.routes import App

from app.visitors import VisitorState, remember_states_alone


def ask(app: App, event: int, *values: object) -> list:
    """One event of one visitor."""
    body = {"fn_index": event, "data": list(values), "session_hash": "somebody"}
    answer = TestClient(app).post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_a_visitors_state_stays_and_what_was_shown_does_not(monkeypatch):
    monkeypatch.setattr(state_holder, "SessionState", state_holder.SessionState)  # put back afterwards
    with gr.Blocks() as page:
        kept, shown, button = gr.State(0), gr.HTML(), gr.Button()
        button.click(lambda count: (count + 1, "x" * 10**6 + str(count)), kept, [kept, shown], queue=False)
    remember_states_alone()
    app = App.create_app(page)
    told = [ask(app, 0, None)[1] for _ in range(3)]
    assert [text[-1] for text in told] == ["0", "1", "2"]
    state = app.state_holder["somebody"]
    assert isinstance(state, VisitorState) and state[kept._id] == 3
    assert state.config_values == {} and not any("xxx" in str(value) for value in vars(state).values())
