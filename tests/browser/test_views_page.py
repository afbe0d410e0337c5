"""The tab `Capacity`, links to a page, the list of endpoints, and the accessibility of every tab."""

import json
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from app.components.tabs import TABS
from devtools.browser import POINT_COUNT
from tests.browser.conftest import wait_after_cancel

pytestmark = pytest.mark.browser
# An element of each tab that is there once the tab has its content.
CONTENT = {
    "transfer": "#panels [data-result]",
    "touch": "#touch .touch[data-target]",
    "live": "#live .live",
    "action-map": "#action-map .map[data-points]",
    "compose": "#script .prototype",
    "capacity": "#sweep figure:nth-of-type(6)",
    "drive": "#start-drive",
    "about": "#about",
}


def test_capacities_and_bottlenecks_are_compared_side_by_side(open_page):
    page = open_page()
    page.get_by_role("tab", name="Capacity").click()
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    titles = page.locator("#sweep figcaption b").all_inner_texts()
    assert titles == ["Source", *(f"Capacity {c:g}" for c in (0, 0.25, 0.5, 0.75, 1))]
    page.get_by_label("All bottlenecks").click()
    page.wait_for_function("document.querySelectorAll('#sweep figure').length < 6")
    titles = page.locator("#sweep figcaption b").all_inner_texts()
    assert titles[:2] == ["Source", "Noisy"]


def test_the_curves_follow_the_capacity(open_page):
    page = open_page()
    page.get_by_role("tab", name="Capacity").click()
    page.wait_for_selector("#curves .curves[data-capacity='1']")
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    page.wait_for_selector("#curves .curves[data-capacity='0']")
    assert "is better" in page.inner_text("#curves .curves-help")


def test_a_question_mark_opens_the_list_of_keys(open_page):
    page = open_page()
    page.keyboard.press("?")
    sheet = page.locator(".key-sheet")
    expect(sheet).to_be_visible()
    assert "Space plays and pauses" in sheet.inner_text() and "Enter adds a drag" in sheet.inner_text()
    sheet.get_by_role("button", name="Close").click()
    expect(sheet).to_be_hidden()


def test_a_comparison_can_be_cancelled_and_started_again(open_page):
    page = open_page()
    page.fill("#source-start input", "0.25")  # a request that is not in the cache
    page.get_by_role("tab", name="Capacity").click()
    page.locator("#cancel-sweep").dispatch_event("click")  # at once, because a comparison is short
    page.wait_for_selector("#cancel-sweep", state="hidden")
    assert page.locator("#sweep figure").count() < 6
    wait_after_cancel(page)
    page.click("#run-sweep")
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    old = page.get_attribute("#panels .panels", "data-result")
    page.get_by_role("tab", name="Transfer").click()
    page.locator("#pairs .choice").nth(2).click()
    page.wait_for_function("old => document.querySelector('#panels .panels').dataset.result !== old", arg=old)


def test_compare_during_a_comparison_ends_with_all_panels(open_page):
    page = open_page()
    page.fill("#source-start input", "0.5")
    page.get_by_role("tab", name="Capacity").click()  # starts a comparison
    page.wait_for_selector("#cancel-sweep.shown")
    for _ in range(2):
        page.click("#run-sweep")
    page.wait_for_selector("#cancel-sweep", state="hidden")
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    assert not page.is_visible("#message .message")


def test_all_tabs_are_visible_on_a_phone(open_page):
    page = open_page(width=390, height=844)
    for key in TABS:
        box = page.locator(f"#tab-{key}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] < 844 / 2, key
    page.click("#tab-capacity")
    page.wait_for_selector("#curves .curves-table")
    table = page.locator("#curves .curves-table")  # it can be scrolled
    assert table.evaluate("t => t.scrollWidth <= t.clientWidth || getComputedStyle(t).overflowX === 'auto'")


def test_a_link_opens_the_same_clips_setting_tab_and_point(open_page, address):
    page = open_page()
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function(f"{POINT_COUNT} > 100")
    page.locator("#target-choices .choice").nth(3).click()
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    page.fill("#action-map .map-point", "33")
    page.press("#action-map .map-point", "Enter")
    page.wait_for_selector("#preview .panels[data-result]")
    page.wait_for_timeout(2500)
    key, name = page.get_attribute("#preview .panels", "data-result"), page.inner_text("#selected-action b")
    page.click("#copy-link")
    page.wait_for_selector("#copy-link[data-link]")
    link = page.get_attribute("#copy-link", "data-link")
    assert link.startswith(address) and "point=33" in link and "capacity=0" in link
    again = open_page(link=link)
    again.wait_for_selector("#preview .panels[data-result]")
    assert again.get_attribute("#preview .panels", "data-result") == key
    assert again.inner_text("#selected-action b") == name
    assert again.get_attribute("#tab-action-map", "aria-selected") == "true"
    assert again.input_value("#capacity input[type=number]") == "0"
    assert again.get_attribute("#target-choices .choice >> nth=3", "aria-pressed") == "true"


def test_invalid_parameters_of_a_link_are_ignored(open_page, address):
    page = open_page(link=f"{address}/?source=../../etc/passwd&capacity=nan&point=99999999&tab=evil&family=x")
    page.wait_for_timeout(2000)
    assert page.get_attribute("#tab-transfer", "aria-selected") == "true"
    assert page.locator("#source-choices .choice[aria-pressed=true]").count() == 1


def test_tabs_change_by_key(open_page):
    page = open_page()
    page.focus("#tab-transfer")
    for key in list(TABS)[1:]:
        page.keyboard.press("ArrowRight")
        assert page.get_attribute(f"#tab-{key}", "aria-selected") == "true"
        assert page.is_visible(f"#pane-{key}") and page.locator(".pane.shown").count() == 1


def open_tabs(page) -> Iterator[str]:
    """Open one tab after another and wait for its content."""
    assert set(CONTENT) == set(TABS)
    for key, content in CONTENT.items():
        page.click(f"#tab-{key}")
        page.wait_for_selector(content)
        page.wait_for_timeout(500)  # for transitions
        yield key


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_tab_has_a_serious_accessibility_violation(open_page, scheme):
    page, serious = open_page(scheme=scheme), []
    for key in open_tabs(page):
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                nodes = [n["html"][:160] + " | " + n["failureSummary"][:300] for n in found["nodes"][:3]]
                serious.append((key, found["id"], nodes))
    assert not serious, json.dumps(serious, indent=1)


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_every_tab_fits_its_window(open_page, width):
    page = open_page(width=width)
    widths = {key: page.evaluate("document.documentElement.scrollWidth") for key in open_tabs(page)}
    assert max(widths.values()) <= width, widths


def test_the_api_lists_six_named_endpoints(open_page, address):
    page = open_page()
    info = json.loads(page.request.get(f"{address}/gradio_api/info").text())
    names = {"/transfer", "/infer_actions", "/apply_action", "/capacity_sweep", "/project", "/replay"}
    assert set(info["named_endpoints"]) == names and not info["unnamed_endpoints"]
