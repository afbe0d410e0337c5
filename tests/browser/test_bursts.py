"""Many changes in a short time, on every tab: the page answers the last one and is then silent."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
TABS = [
    "Transfer",
    *(pytest.param(tab, marks=pytest.mark.slow) for tab in ("Action map", "Compose", "Capacity", "Drive and plan")),
]


def clips(page: Page, side: str) -> None:
    """Other clips, a quarter of a second apart."""
    choices = page.locator(f"#{side}-choices .choice")
    for number in range(4):
        choices.nth(number).click()
        page.wait_for_timeout(250)


def type_into(page: Page, name: str, *values: str) -> None:
    field = page.locator(f"#{name} input").first
    for value in values:
        field.fill(value)
        field.press("Enter")
        page.wait_for_timeout(100)
    field.press("Tab")


def turn_capacity(page: Page) -> None:
    dial = page.locator("#capacity input[type=range]")
    dial.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    dial.dispatch_event("pointerup")


BURSTS = {
    "targets": lambda page: clips(page, "target"),
    "sources": lambda page: clips(page, "source"),
    "starts": lambda page: (type_into(page, "source-start", "0.5", "1"), type_into(page, "target-start", "0.5", "0")),
    "frames": lambda page: type_into(page, "source-frames", "8", "9", "10"),
    "capacity": turn_capacity,
    "button": lambda page: [page.click("#run-transfer") for _ in range(4)],
}


@pytest.mark.parametrize("tab", TABS)
def test_a_burst_of_changes_ends_in_silence(open_page, tab):
    page = open_page()
    page.evaluate(
        """() => {
            window.asked = 0;
            const fetched = window.fetch;
            window.fetch = (...given) => {
                if (String(given[0]?.url ?? given[0]).includes('/queue/join')) window.asked += 1;
                return fetched(...given);
            };
        }"""
    )
    page.get_by_role("tab", name=tab).click()
    for burst in BURSTS.values():
        burst(page)
    page.wait_for_function(
        """() => {
            const now = performance.now();
            if (window.asked !== window.before) { window.before = window.asked; window.since = now; }
            return now - window.since > 5000;
        }""",
        polling=200,
    )
    asked = page.evaluate("window.asked")
    assert 0 < asked < 120, asked  # some four handlers a change, and not hundreds
    key = page.get_attribute("#lanes .lanes", "data-result")
    page.click("#run-transfer")  # what is on the page already is the answer to what is chosen
    page.wait_for_timeout(1000)
    assert page.get_attribute("#lanes .lanes", "data-result") == key
