"""Turns in the queue: who came often waits, who came once does not, and nobody fills it alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest

from app.fairness import FULL, FULL_OF_ONE, NAME_LENGTH, WAITING, WAITING_OF_ONE, FairQueue, queue_fairly
from app.jobs import job


def request(address: str, forwarded: str = ""):
    """As much of a request as the queue looks at."""
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    return SimpleNamespace(client=SimpleNamespace(host=address), headers=headers, state=SimpleNamespace())


@pytest.fixture
def queue() -> FairQueue:
    """The queue of a page with one handler."""
    with gr.Blocks() as page:
        gr.Button().click(lambda: None, concurrency_limit=1)
    return queue_fairly(page, concurrency=1)._queue


def send(queue: FairQueue, address: str, session: str) -> tuple:
    """One request."""
    body = SimpleNamespace(fn_index=0, session_hash=session, event_id=None, request=None, batched=False, data=[])
    # In a thread of its own: browser tests before this one may have left an event loop running here.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, queue.push(body, request(address), None)).result()


def order(queue: FairQueue) -> list[str]:
    """Sessions as they get their turns."""
    out = []
    while found := queue.get_events():
        out += [event.session_hash for event in found[0]]
    return out


def test_visitors_take_turns_whoever_sends_more(queue):
    for address, session in [("1", "greedy")] * 4 + [("2", "late")] * 2 + [("3", "last")]:
        assert send(queue, address, session)[0]
    turns = order(queue)
    assert turns[:3] == ["greedy", "late", "last"] and turns[3:5] == ["greedy", "late"]
    assert turns == ["greedy", "late", "last", "greedy", "late", "greedy", "greedy"]


def test_pages_of_one_address_take_turns_too(queue):
    for session in ("a", "a", "a", "b"):
        send(queue, "1", session)
    assert order(queue) == ["a", "b", "a", "a"]


def test_one_address_cannot_fill_the_queue(queue):
    answers = [send(queue, "1", f"page {i}") for i in range(WAITING_OF_ONE + 3)]
    assert [a[0] for a in answers] == [True] * WAITING_OF_ONE + [False] * 3
    assert answers[-1][1:] == (FULL_OF_ONE, "queue_full")
    others = [send(queue, f"{i}", "x") for i in range(2, 2 + WAITING - WAITING_OF_ONE)]
    assert all(a[0] for a in others)
    assert send(queue, "99", "y")[1:] == (FULL, "queue_full")


def test_who_comes_back_does_not_come_before_one_who_waits_already(queue):
    send(queue, "1", "a")
    queue.get_events()
    for address, session in (("2", "b"), ("1", "a")):
        send(queue, address, session)
    assert order(queue) == ["b", "a"]


def test_a_page_cannot_be_named_after_an_address_to_spoil_its_turn(queue):
    for session in ("2", "2", "2"):
        send(queue, "1", session)
        queue.get_events()
    for address, session in (("2", "x"), ("3", "y")):
        send(queue, address, session)
    assert order(queue) == ["x", "y"]


def test_answers_that_nobody_fetches_do_not_pile_up(queue):
    for i in range(WAITING_OF_ONE):
        assert send(queue, f"{i}", "silent")[0]
        queue.get_events()
    assert send(queue, "99", "silent") == (False, FULL_OF_ONE, "queue_full")


def test_a_session_has_a_short_name(queue):
    taken, why, state = send(queue, "1", "x" * (NAME_LENGTH + 1))
    assert not taken and str(NAME_LENGTH) in why and state == "error"


def test_a_proxy_is_believed_only_where_there_is_one(queue):
    told = request("10.0.0.1", "203.0.113.7, 10.0.0.2")
    assert queue._address(told) == "10.0.0.1"
    queue.behind_proxy = True
    assert queue._address(told) == "203.0.113.7" and queue._address(request("10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(("in_order", "turns"), [(set(), ["a", "b", "a"]), ({"side by side"}, ["a", "b"])])
def test_a_pages_next_request_waits_for_its_last_where_order_is_wanted(in_order, turns):
    with gr.Blocks() as page:
        gr.Button().click(lambda: None, concurrency_limit=4, concurrency_id="side by side")
    queue = queue_fairly(page, concurrency=1, in_order=in_order)._queue
    queue.active_jobs = [None] * 4
    for address, session in (("1", "a"), ("1", "a"), ("2", "b")):
        send(queue, address, session)
    begun = []
    while found := queue.get_events():
        begun.append(found[0])
        queue.active_jobs[queue.active_jobs.index(None)] = found[0]  # as Gradio's own loop does
    assert [events[0].session_hash for events in begun] == turns
    queue.active_jobs[0] = None
    assert bool(queue.get_events()) is bool(in_order)


def test_cancelled_requests_are_answered_at_once_and_nobody_elses_come_sooner():
    """They go past a queue that is busy: their handlers only have to say so."""
    with gr.Blocks() as page:
        busy = {"concurrency_limit": 1, "concurrency_id": "model"}
        gr.Button().click(job("transfer")(lambda: None), **busy)
        gr.Button().click(job("plan")(lambda: None), **busy)
    queue = queue_fairly(page, concurrency=1)._queue
    for session in ("first", "mine", "mine", "other"):
        send(queue, session, session)
    running = queue.get_events()[0]
    queue.event_queue_per_concurrency_id["model"].current_concurrency = 1
    assert [event.session_hash for event in running] == ["first"] and queue.get_events() is None
    queue.hurry("mine", "plan")
    assert queue.get_events() is None  # another kind
    queue.hurry("mine", "transfer")
    assert order(queue) == ["mine", "mine"]
    queue.event_queue_per_concurrency_id["model"].current_concurrency = 0
    assert order(queue) == ["other"]
