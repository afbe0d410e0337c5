"""Any values and requests: the server responds, and other sessions are not affected."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtools.api_client import PageClient
from devtools.hostile_inputs import EVENT_DATA, SECRET_TEXT, VALUES

STATUSES = {200, 400, 404, 413, 422}  # of HTTP, that any request may get
FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = {"content-type": "application/json"}


def send_valid(client: PageClient) -> list:
    """Send a valid request and return its values."""
    response = client.call("infer_actions", "ball-hops.mp4", None, 0, 6, "noisy", 1.0)
    assert response.succeeded, response
    return response.values


@FUZZ
@given(data=st.data())
def test_every_handler_responds_to_any_values(client, data):
    handler = data.draw(st.sampled_from(client.queued_handlers()))
    count = len(handler["inputs"])
    values = data.draw(st.lists(st.sampled_from(VALUES), min_size=count, max_size=count))
    response = client.call(handler["id"], *values, event_data=data.draw(st.sampled_from(EVENT_DATA)))
    assert response.status in STATUSES, (handler["api_name"], response)
    assert SECRET_TEXT not in json.dumps(response.values) and SECRET_TEXT not in response.error


@pytest.mark.parametrize("name", ["select_point", "select_area", "select_neighbour", "step", "undo", "add_prototype"])
def test_handlers_respond_to_any_event_data(client, name):
    for event_data in EVENT_DATA:
        response = client.call(name, *[None] * len(client.handler(name)["inputs"]), event_data=event_data)
        assert response.status in STATUSES, (event_data, response)


def test_invalid_requests_do_not_change_the_results_of_other_sessions(server, client):
    before = send_valid(client)
    for handler in client.queued_handlers():
        client.call(handler["id"], event_data={"point": -1})
    other = PageClient(server.address)
    assert send_valid(other) == before == send_valid(client)
    other.close()


@pytest.mark.parametrize("number", [-1, 10**9, 2**63, "a", None, 1.5, [1], {}])
def test_unknown_handlers_are_rejected(client, number):
    body = {"fn_index": number, "data": [], "session_hash": client.session}
    assert client.post("/gradio_api/queue/join", json=body).status_code in {400, 422}


@pytest.mark.parametrize("name", ["transfer", "open_pair", "no-such-name"])
def test_requests_that_bypass_the_queue_are_rejected(client, name):
    for route in ("run", "api"):
        assert client.post(f"/gradio_api/{route}/{name}", json={"data": []}).status_code in {400, 404}


@pytest.mark.parametrize("body", ["", "{", "null", "[]", '"a"', "{}", '{"data": null, "fn_index": 0}', "[" * 100_000])
def test_malformed_bodies_are_rejected(client, body):
    for path in ("/gradio_api/queue/join", "/gradio_api/call/transfer", "/gradio_api/cancel", "/gradio_api/reset"):
        response = client.post(path, content=body, headers=JSON)
        assert response.status_code in {400, 422}, (path, response)


def test_bodies_that_are_too_large_are_rejected(client):
    body = json.dumps({"fn_index": 0, "data": ["x" * 9 * 2**20], "session_hash": client.session})
    response = client.post("/gradio_api/queue/join", content=body, headers=JSON)
    assert response.status_code == 413 and "at most 8 MiB" in response.text
    chunks = (b" " * 2**20 for _ in range(12))  # without a Content-Length
    response = client.post("/gradio_api/queue/join", content=chunks, headers=JSON)
    assert response.status_code in {400, 413}
