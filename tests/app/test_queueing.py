"""The fair queue: users take turns, and no client fills the queue alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest

from app.jobs import job
from app.queueing import (
    ADDRESS_FULL,
    MAX_NAME_LENGTH,
    MAX_WAITING,
    MAX_WAITING_PER_ADDRESS,
    QUEUE_FULL,
    FairQueue,
    use_fair_queue,
)


def request(address: str, forwarded: str = ""):
    """Return the parts of a request that the queue reads."""
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    return SimpleNamespace(client=SimpleNamespace(host=address), headers=headers, state=SimpleNamespace())


@pytest.fixture
def queue() -> FairQueue:
    """The queue of a page with one handler."""
    with gr.Blocks() as page:
        gr.Button().click(lambda: None, concurrency_limit=1)
    return use_fair_queue(page, concurrency=1)


def send(queue: FairQueue, address: str, session: str) -> tuple:
    """Send one request."""
    body = SimpleNamespace(fn_index=0, session_hash=session, event_id=None, request=None, batched=False, data=[])
    # In a thread of its own, because browser tests may have left an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, queue.push(body, request(address), None)).result()


def order(queue: FairQueue) -> list[str]:
    """Return the sessions in the order of their turns."""
    sessions = []
    while found := queue.get_events():
        sessions += [event.session_hash for event in found[0]]
    return sessions


def test_users_take_turns_whatever_their_number_of_requests(queue):
    for address, session in [("1", "many")] * 4 + [("2", "two")] * 2 + [("3", "one")]:
        assert send(queue, address, session)[0]
    assert order(queue) == ["many", "two", "one", "many", "two", "many", "many"]


def test_pages_of_one_address_take_turns(queue):
    for session in ("a", "a", "a", "b"):
        send(queue, "1", session)
    assert order(queue) == ["a", "b", "a", "a"]


def test_one_address_cannot_fill_the_queue(queue):
    responses = [send(queue, "1", f"page {i}") for i in range(MAX_WAITING_PER_ADDRESS + 3)]
    assert [accepted for accepted, *_ in responses] == [True] * MAX_WAITING_PER_ADDRESS + [False] * 3
    assert responses[-1][1:] == (ADDRESS_FULL, "queue_full")
    others = [send(queue, f"{i}", "x") for i in range(2, 2 + MAX_WAITING - MAX_WAITING_PER_ADDRESS)]
    assert all(accepted for accepted, *_ in others)
    assert send(queue, "99", "y")[1:] == (QUEUE_FULL, "queue_full")


def test_a_new_request_does_not_pass_one_that_waits_longer(queue):
    send(queue, "1", "a")
    queue.get_events()
    for address, session in (("2", "b"), ("1", "a")):
        send(queue, address, session)
    assert order(queue) == ["b", "a"]


def test_a_session_named_like_an_address_does_not_change_the_turns_of_that_address(queue):
    for session in ("2", "2", "2"):
        send(queue, "1", session)
        queue.get_events()
    for address, session in (("2", "x"), ("3", "y")):
        send(queue, address, session)
    assert order(queue) == ["x", "y"]


def test_the_number_of_responses_that_are_not_fetched_is_bounded(queue):
    for i in range(MAX_WAITING_PER_ADDRESS):
        assert send(queue, f"{i}", "silent")[0]
        queue.get_events()
    assert send(queue, "99", "silent") == (False, ADDRESS_FULL, "queue_full")


def test_a_long_session_name_is_rejected(queue):
    accepted, message, state = send(queue, "1", "x" * (MAX_NAME_LENGTH + 1))
    assert not accepted and str(MAX_NAME_LENGTH) in message and state == "error"


def test_forwarded_addresses_count_only_behind_a_proxy(queue):
    forwarded = request("10.0.0.1", "203.0.113.7, 10.0.0.2")
    assert queue._address(forwarded) == "10.0.0.1"
    queue.behind_proxy = True
    assert queue._address(forwarded) == "203.0.113.7" and queue._address(request("10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(("in_order", "turns"), [(set(), ["a", "b", "a"]), ({"parallel"}, ["a", "b"])])
def test_requests_of_one_page_run_one_at_a_time_in_a_queue_that_is_in_order(in_order, turns):
    with gr.Blocks() as page:
        gr.Button().click(lambda: None, concurrency_limit=4, concurrency_id="parallel")
    queue = use_fair_queue(page, concurrency=1, in_order=in_order)
    queue.active_jobs = [None] * 4
    for address, session in (("1", "a"), ("1", "a"), ("2", "b")):
        send(queue, address, session)
    started = []
    while found := queue.get_events():
        started.append(found[0])
        queue.active_jobs[queue.active_jobs.index(None)] = found[0]  # as Gradio's loop does
    assert [events[0].session_hash for events in started] == turns
    queue.active_jobs[0] = None
    assert bool(queue.get_events()) is bool(in_order)


def test_cancelled_requests_pass_a_busy_queue_and_no_other_request_does():
    with gr.Blocks() as page:
        busy = {"concurrency_limit": 1, "concurrency_id": "model"}
        gr.Button().click(job("transfer")(lambda: None), **busy)
        gr.Button().click(job("plan")(lambda: None), **busy)
    queue = use_fair_queue(page, concurrency=1)
    for session in ("first", "mine", "mine", "other"):
        send(queue, session, session)
    running = queue.get_events()[0]
    queue.event_queue_per_concurrency_id["model"].current_concurrency = 1
    assert [event.session_hash for event in running] == ["first"] and queue.get_events() is None
    queue.expedite("mine", "plan")
    assert queue.get_events() is None  # another kind of job
    queue.expedite("mine", "transfer")
    assert order(queue) == ["mine", "mine"]
    queue.event_queue_per_concurrency_id["model"].current_concurrency = 0
    assert order(queue) == ["other"]
