"""Many changes in a short time, on every tab: the page shows the result of the last one and sends nothing after it."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
TABS = [
    "Transfer",
    *(pytest.param(tab, marks=pytest.mark.slow) for tab in ("Action map", "Compose", "Capacity", "Drive and plan")),
]


def choose_clips(page: Page, side: str) -> None:
    """Choose four clips, a quarter of a second apart."""
    choices = page.locator(f"#{side}-choices .choice")
    for number in range(4):
        choices.nth(number).click()
        page.wait_for_timeout(250)


def type_numbers(page: Page, name: str, *values: str) -> None:
    field = page.locator(f"#{name} input").first
    for value in values:
        field.fill(value)
        field.press("Enter")
        page.wait_for_timeout(100)
    field.press("Tab")


def change_capacity(page: Page) -> None:
    slider = page.locator("#capacity input[type=range]")
    slider.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    slider.dispatch_event("pointerup")


def change_starts(page: Page) -> None:
    type_numbers(page, "source-start", "0.5", "1")
    type_numbers(page, "target-start", "0.5", "0")


BURSTS = (
    lambda page: choose_clips(page, "target"),
    lambda page: choose_clips(page, "source"),
    change_starts,
    lambda page: type_numbers(page, "source-frames", "8", "9", "10"),
    change_capacity,
    lambda page: [page.click("#run-transfer") for _ in range(4)],
)


@pytest.mark.parametrize("tab", TABS)
def test_a_burst_of_changes_ends_with_the_last_result(open_page, tab):
    page = open_page()
    page.evaluate(
        """() => {
            window.requests = 0;
            const original = window.fetch;
            window.fetch = (...given) => {
                if (String(given[0]?.url ?? given[0]).includes('/queue/join')) window.requests += 1;
                return original(...given);
            };
        }"""
    )
    page.get_by_role("tab", name=tab).click()
    for burst in BURSTS:
        burst(page)
    page.wait_for_function(  # until nothing has been sent for five seconds
        """() => {
            const now = performance.now();
            if (window.requests !== window.before) { window.before = window.requests; window.since = now; }
            return now - window.since > 5000;
        }""",
        polling=200,
    )
    requests = page.evaluate("window.requests")
    assert 0 < requests < 120, requests  # about four handlers per change, not hundreds
    page.wait_for_selector("#run-transfer[aria-busy=false]")  # a slow machine takes longer than five seconds
    key = page.get_attribute("#panels .panels", "data-result")
    page.click("#run-transfer")  # the result on the page already is that of the current selection
    page.wait_for_timeout(1000)
    assert page.get_attribute("#panels .panels", "data-result") == key
