"""The tab `Live` in a browser: camera, clip and pointer move the target, and a recording becomes a script."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def start(open_page):
    """A function that opens the page, and the tab with a source of motion, and waits for some frames."""

    def start(kind: str, frames: int = 5) -> Page:
        page = open_page()
        page.get_by_role("tab", name="Live").click()
        page.get_by_label(kind, exact=True).check()
        page.click("#start-live")
        wait_for_frames(page, frames)
        return page

    return start


def wait_for_frames(page: Page, count: int) -> None:
    page.wait_for_function("count => Number(document.querySelector('#live .live').dataset.frames) >= count", arg=count)


def frames(page: Page) -> int:
    return int(page.get_attribute("#live .live", "data-frames"))


def output(page: Page) -> str:
    return page.evaluate("document.querySelector('.live-output').toDataURL()")


@pytest.mark.parametrize("kind", ["Camera", "Source clip"])
def test_a_stream_moves_the_target(start, kind):
    page = start(kind)
    before = output(page)
    wait_for_frames(page, frames(page) + 5)
    assert output(page) != before
    expect(page.locator(".live-status")).to_contain_text("frames per second")
    page.click(".live-stop")
    expect(page.locator(".live-status")).to_have_text("Stopped.")
    last = frames(page)
    page.wait_for_timeout(500)
    assert frames(page) == last


def test_the_pointer_moves_the_target_and_can_be_recorded(start):
    page = start("Pointer")
    page.click(".live-record")
    page.focus(".live-input")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        wait_for_frames(page, frames(page) + 1)
    page.click(".live-record")
    expect(page.locator("#live-to-script")).to_be_enabled()
    page.click("#live-to-script")
    expect(page.get_by_role("tab", name="Compose")).to_have_attribute("aria-selected", "true")
    assert page.locator(".script-step").count() >= 3


def test_pause_restart_and_the_setting(start):
    page = start("Source clip")
    page.click(".live-pause")
    expect(page.locator(".live-pause")).to_have_text("Continue")
    page.wait_for_timeout(500)  # frames on their way
    last = frames(page)
    page.wait_for_timeout(1000)
    assert frames(page) == last
    page.click(".live-pause")
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    page.click(".live-restart")
    wait_for_frames(page, last + 5)
    expect(page.locator(".live-status")).to_contain_text("frames per second")


def test_a_third_visitor_waits_for_a_seat(start, open_page):
    pages = [start("Pointer"), start("Source clip")]
    third = open_page()
    third.get_by_role("tab", name="Live").click()
    third.click("#start-live")
    expect(third.locator(".live-status")).to_contain_text("All seats are taken: you are next")
    pages[0].click(".live-stop")
    wait_for_frames(third, 1)
