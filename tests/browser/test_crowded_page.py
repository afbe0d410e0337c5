"""A visitor who finds the page full is told so, keeps what is on the page, and is served a moment later."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from app.fairness import WAITING_OF_ONE
from benchmarks.trust.visitor import Visitor
from tests.browser.conftest import WAIT_MILLISECONDS

pytestmark = [pytest.mark.browser, pytest.mark.slow]
RESULT = "#lanes .lanes"
PAGES = 40  # that send as many requests as each may: more than the server answers while the test runs
LOOK_MILLISECONDS = 5_000


@contextmanager
def kept_full(address: str) -> Iterator[None]:
    """The queue without room: whenever a request has been answered, another takes its place."""
    full, done = Event(), Event()

    def fill() -> None:
        visitor = Visitor(address)
        number = visitor.event("transfer")
        for i in range(PAGES):
            taken = 0
            while taken < WAITING_OF_ONE and not done.is_set():
                values = ["sea-pan.mp4", None, taken / 100, 16, "ball-hops.mp4", None, 0, "noisy", 1.0]
                body = {"fn_index": number, "data": values, "session_hash": f"greedy{i}"}
                if visitor.post("/gradio_api/queue/join", json=body).status_code == 200:
                    taken += 1
                else:
                    full.set()
                    done.wait(0.01)
        visitor.close()

    thread = Thread(target=fill, daemon=True)
    thread.start()
    try:
        assert full.wait(WAIT_MILLISECONDS / 1000)
        yield
    finally:
        done.set()
        thread.join()


def test_a_full_queue_is_a_message_and_nothing_is_lost(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(WAIT_MILLISECONDS)
    page.goto(address)
    page.wait_for_selector("#lanes [data-result]", state="attached")
    toast = page.locator(".toast-body", has_text="try again")
    with kept_full(address):
        for _ in range(10):  # a click may come just between an answer and the next request
            before = page.get_attribute(RESULT, "data-result")
            page.click("#pairs .choice:nth-child(2)")
            page.wait_for_timeout(LOOK_MILLISECONDS)
            if toast.count():
                break
        assert toast.count()
        assert page.get_attribute(RESULT, "data-result") == before
    for _ in range(60):  # until there is room again
        page.click("#run-transfer")
        page.wait_for_timeout(1000)
        if page.get_attribute(RESULT, "data-result") != before:
            break
    assert page.get_attribute(RESULT, "data-result") != before
    page.close()
