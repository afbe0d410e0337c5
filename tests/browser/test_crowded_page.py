"""With a full queue, the page shows a message, keeps its result, and works again once there is space."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from app.queueing import MAX_WAITING_PER_ADDRESS
from devtools.api_client import PageClient
from devtools.browser import RESULT, WAIT_MILLISECONDS

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PANELS = "#panels .panels"
PAGES = 40  # each sends as many requests as it may, together more than the server answers during the test
PAUSE_MILLISECONDS = 5_000


@contextmanager
def full_queue(address: str) -> Iterator[None]:
    """Keep the queue full: send a new request as soon as one has been answered."""
    full, done = Event(), Event()

    def fill() -> None:
        client = PageClient(address)
        number = client.handler("transfer")["id"]
        for i in range(PAGES):
            accepted = 0
            while accepted < MAX_WAITING_PER_ADDRESS and not done.is_set():
                values = ["sea-pan.mp4", None, accepted / 100, 16, "ball-hops.mp4", None, 0, "noisy", 1.0]
                body = {"fn_index": number, "data": values, "session_hash": f"greedy{i}"}
                if client.post("/gradio_api/queue/join", json=body).status_code == 200:
                    accepted += 1
                else:
                    full.set()
                    done.wait(0.01)
        client.close()

    thread = Thread(target=fill, daemon=True)
    thread.start()
    try:
        assert full.wait(WAIT_MILLISECONDS / 1000)
        yield
    finally:
        done.set()
        thread.join()


def test_a_full_queue_shows_a_message_and_keeps_the_result(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(WAIT_MILLISECONDS)
    page.goto(address)
    page.wait_for_selector(RESULT, state="attached")
    toast = page.locator(".toast-body", has_text="try again")
    with full_queue(address):
        for _ in range(10):  # a click may arrive just between a response and the next request
            before = page.get_attribute(PANELS, "data-result")
            page.click("#pairs .choice:nth-child(2)")
            page.wait_for_timeout(PAUSE_MILLISECONDS)
            if toast.count():
                break
        assert toast.count()
        assert page.get_attribute(PANELS, "data-result") == before
    for _ in range(60):  # until there is space again
        page.click("#run-transfer")
        page.wait_for_timeout(1000)
        if page.get_attribute(PANELS, "data-result") != before:
            break
    assert page.get_attribute(PANELS, "data-result") != before
    page.close()
