"""Whatever a visitor sends, the page answers, and goes on answering others as before."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.trust.strange import TELLING, TOLD, VALUES
from benchmarks.trust.visitor import Visitor

ANSWERS = {200, 400, 404, 413, 422}  # of HTTP, that a request of any kind may get
FUZZ = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def good(visitor: Visitor) -> list:
    """A request as the page sends it, and its answer."""
    answer = visitor.ask("infer_actions", "ball-hops.mp4", None, 0, 6, "noisy", 1.0)
    assert answer.served, answer
    return answer.values


def inputs(visitor: Visitor, name: str) -> int:
    """How many values a handler takes."""
    return next(len(d["inputs"]) for d in visitor.config["dependencies"] if d["api_name"] == name)


def handlers(visitor: Visitor) -> list[int]:
    """Every handler that is reached through the queue."""
    return [d["id"] for d in visitor.config["dependencies"] if d["queue"] is not False and d["backend_fn"]]


@FUZZ
@given(data=st.data())
def test_every_handler_answers_any_values(visitor, data):
    number = data.draw(st.sampled_from(handlers(visitor)))
    count = len(visitor.config["dependencies"][number]["inputs"])
    sent = data.draw(st.lists(st.sampled_from(VALUES), min_size=count, max_size=count))
    answer = visitor.ask(number, *sent, told=data.draw(st.sampled_from(TOLD)))
    assert answer.status in ANSWERS, (number, answer)
    assert TELLING not in json.dumps(answer.values) and TELLING not in answer.refusal


@pytest.mark.parametrize("name", ["choose", "gather", "choose_near", "step", "undo", "add_prototype"])
def test_events_that_say_anything_of_themselves_are_answered(visitor, name):
    for told in TOLD:
        answer = visitor.ask(name, *[None] * inputs(visitor, name), told=told)
        assert answer.status in ANSWERS, (told, answer)


def test_others_are_served_as_before(server, visitor):
    before = good(visitor)
    for number in handlers(visitor):
        visitor.ask(number, told={"point": -1})
    other = Visitor(server.address)
    assert good(other) == before == good(visitor)
    other.close()


@pytest.mark.parametrize("number", [-1, 10**9, 2**63, "a", None, 1.5, [1], {}])
def test_handlers_that_do_not_exist_are_refused(visitor, number):
    body = {"fn_index": number, "data": [], "session_hash": visitor.session}
    assert visitor.post("/gradio_api/queue/join", json=body).status_code in {400, 422}


@pytest.mark.parametrize("name", ["transfer", "open_pair", "no-such-name"])
def test_nobody_goes_past_the_queue(visitor, name):
    for route in ("run", "api"):
        assert visitor.post(f"/gradio_api/{route}/{name}", json={"data": []}).status_code in {400, 404}


@pytest.mark.parametrize("body", ["", "{", "null", "[]", '"a"', "{}", '{"data": null, "fn_index": 0}', "[" * 100_000])
def test_bodies_that_are_no_request_are_refused(visitor, body):
    for path in ("/gradio_api/queue/join", "/gradio_api/call/transfer", "/gradio_api/cancel", "/gradio_api/reset"):
        answer = visitor.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (path, answer)


def test_a_body_too_large_for_an_event_is_refused(visitor):
    body = json.dumps({"fn_index": 0, "data": ["x" * 9 * 2**20], "session_hash": visitor.session})
    refused = visitor.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 413 and "8 MiB" in refused.text
    chunks = (b" " * 2**20 for _ in range(12))  # of no told length
    refused = visitor.post("/gradio_api/queue/join", content=chunks, headers={"content-type": "application/json"})
    assert refused.status_code in {400, 413}
