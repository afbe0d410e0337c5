"""A visitor who finds the page full is told so, keeps what is on the page, and is served a moment later."""

from benchmarks.trust.visitor import Visitor
from tests.browser.conftest import WAIT_MILLISECONDS

RESULT = "#lanes .lanes"


def fill(visitor: Visitor, requests: int) -> int:
    """Sends transfers without waiting; how many were taken."""
    number, taken = visitor.event("transfer"), 0
    for i in range(requests):
        values = ["sea-pan.mp4", None, i / 100, 16, "ball-hops.mp4", None, 0, "noisy", 1.0]
        body = {"fn_index": number, "data": values, "session_hash": visitor.session}
        taken += visitor.post("/gradio_api/queue/join", json=body).status_code == 200
    return taken


def test_a_full_queue_is_a_message_and_nothing_is_lost(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(WAIT_MILLISECONDS)
    page.goto(address)
    page.wait_for_selector("#lanes [data-result]", state="attached")
    before = page.get_attribute(RESULT, "data-result")
    greedy = Visitor(address)
    assert 0 < fill(greedy, 40) < 40
    page.click("#pairs .choice:nth-child(2)")
    toast = page.wait_for_selector(".toast-body")
    assert "try again" in toast.inner_text()
    assert page.get_attribute(RESULT, "data-result") == before
    page.wait_for_timeout(1000)
    for _ in range(60):  # until there is room again
        page.click("#run-transfer")
        page.wait_for_timeout(1000)
        if page.get_attribute(RESULT, "data-result") != before:
            break
    assert page.get_attribute(RESULT, "data-result") != before
    greedy.close()
    page.close()
