"""The tab `Touch` in a browser: drags, pins, keys, undo, the rollout, and a script of it."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def page(open_page) -> Page:
    """The page with the tab open and its target shown."""
    page = open_page()
    page.get_by_role("tab", name="Touch").click()
    page.wait_for_selector("#touch .touch[data-target]")
    return page


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the picture between two positions in frame widths."""
    box = page.locator(".touch-stage").bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.move(*at(*start))
    page.mouse.down()
    page.mouse.move(*at(*end), steps=4)
    page.mouse.up()


def rows(page: Page) -> list[str]:
    return page.locator(".touch-pick").all_inner_texts()


def wait_for_result(page: Page, old: str | None = None) -> str:
    """Wait for another rollout than `old` and return its key."""
    page.wait_for_function(
        "old => ![old, undefined].includes(document.querySelector('#touch-panels .panels').dataset.result)", arg=old
    )
    return page.get_attribute("#touch-panels .panels", "data-result")


def test_a_drag_moves_the_picture_and_is_played(page):
    drag(page, (0.4, 0.6), (0.6, 0.5))
    expect(page.locator(".touch .tag")).to_have_text("predicted")
    wait_for_result(page)
    assert rows(page) == ["right 20 %, up 10 %"]
    expect(page.locator(".touch-reached")).to_contain_text("reached: right")
    titles = page.locator("#touch-panels figcaption b").all_inner_texts()
    assert titles == ["Target (real continuation)", "Dragged", "Control"]
    expect(page.locator("#download-touch")).to_be_enabled()


def test_a_click_holds_a_point_still_and_drags_can_be_changed(page):
    drag(page, (0.4, 0.6), (0.6, 0.5))
    old = wait_for_result(page)
    drag(page, (0.8, 0.3), (0.8, 0.3))
    old = wait_for_result(page, old)
    assert rows(page) == ["right 20 %, up 10 %", "hold still"]
    drag(page, (0.6, 0.5), (0.5, 0.6))  # takes the arrow's end
    old = wait_for_result(page, old)
    assert rows(page) == ["right 10 %", "hold still"]
    page.click(".touch-undo")
    assert rows(page) == ["right 20 %, up 10 %", "hold still"]
    page.locator(".touch-remove").last.click()
    assert rows(page) == ["right 20 %, up 10 %"]
    page.click(".touch-clear")
    assert rows(page) == []
    expect(page.locator("#touch-panels .panels-empty")).to_be_visible()
    expect(page.locator("#touch-to-script")).to_be_disabled()


def test_everything_works_by_keyboard(page):
    page.focus(".touch-stage")
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    old = wait_for_result(page)
    assert rows(page) == ["right 10 %, grow 6 %"]
    page.keyboard.press(".")
    wait_for_result(page, old)
    assert rows(page) == ["right 10 %, grow 6 %, turn 3°"]
    page.keyboard.press("Delete")
    assert rows(page) == []


def test_the_whole_picture_can_be_moved(page):
    page.check(".touch-whole")
    drag(page, (0.3, 0.3), (0.45, 0.3))
    wait_for_result(page)
    expect(page.locator(".touch-reached")).to_contain_text("reached: right 1")
    assert page.locator(".touch-reach").count() == 0


def test_drags_open_as_a_script(page):
    drag(page, (0.4, 0.6), (0.6, 0.5))
    wait_for_result(page)
    page.click("#touch-to-script")
    expect(page.get_by_role("tab", name="Compose")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".script-step")).to_have_count(8)


def test_another_target_removes_the_drags(page):
    drag(page, (0.4, 0.6), (0.6, 0.5))
    wait_for_result(page)
    old = page.get_attribute("#touch .touch", "data-target")
    page.locator("#target-choices .choice[aria-pressed=false]").first.click()
    page.wait_for_function("old => document.querySelector('#touch .touch').dataset.target !== old", arg=old)
    assert rows(page) == []
    expect(page.locator(".touch .tag")).to_have_text("real frame")
