"""Capacity side by side, links that bring a view back, endpoints for scripts, and every view for every reader."""

import json
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe

from app.components.tabs import VIEWS

pytestmark = pytest.mark.browser
# What each view shows once it has its content.
CONTENT = {
    "transfer": "#lanes [data-result]",
    "action-map": "#action-map .map[data-points]",
    "compose": "#script .prototype",
    "capacity": "#sweep figure:nth-of-type(6)",
    "drive": "#begin-drive",
    "about": "#about",
}


def test_capacities_stand_side_by_side_and_the_curves_follow_the_dial(open_page):
    page = open_page()
    page.get_by_role("tab", name="Capacity").click()
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    titles = page.locator("#sweep figcaption b").all_inner_texts()
    assert titles == ["Source", *(f"Capacity {c:g}" for c in (0, 0.25, 0.5, 0.75, 1))]
    page.get_by_label("families at the dial").click()
    page.wait_for_function("document.querySelectorAll('#sweep figure').length < 6")
    assert page.locator("#curves .curves").count() == 1


def test_a_comparison_can_be_cancelled_and_asked_for_again(open_page):
    page = open_page()
    page.fill("#source-start input", "0.25")  # a piece that nothing has kept yet
    page.get_by_role("tab", name="Capacity").click()
    page.locator("#cancel-sweep").dispatch_event("click")  # at once: a short comparison is soon over
    page.wait_for_selector("#cancel-sweep", state="hidden")
    assert page.locator("#sweep figure").count() < 6
    page.click("#run-sweep")
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    old = page.get_attribute("#lanes .lanes", "data-result")
    page.get_by_role("tab", name="Transfer").click()
    page.locator("#pairs .choice").nth(2).click()
    page.wait_for_function("old => document.querySelector('#lanes .lanes').dataset.result !== old", arg=old)


def test_compare_pressed_while_a_comparison_runs_ends_with_all_of_them(open_page):
    page = open_page()
    page.fill("#source-start input", "0.5")
    page.get_by_role("tab", name="Capacity").click()  # which starts one
    page.wait_for_selector("#cancel-sweep.shown")
    for _ in range(2):
        page.click("#run-sweep")
    page.wait_for_selector("#cancel-sweep", state="hidden")
    page.wait_for_function("document.querySelectorAll('#sweep figure').length === 6")
    assert not page.is_visible("#message .message")


def test_on_a_phone_the_tabs_are_in_sight_and_the_header_is_low(open_page):
    page = open_page(width=390, height=844)
    for key in VIEWS:
        box = page.locator(f"#tab-{key}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] < 844 / 2, key
    page.click("#tab-capacity")
    page.wait_for_selector("#curves .curves-table")
    table = page.locator("#curves .curves-table")  # what does not fit can be scrolled to
    assert table.evaluate("t => t.scrollWidth <= t.clientWidth || getComputedStyle(t).overflowX === 'auto'")


def test_a_link_brings_the_view_back(open_page, address):
    page = open_page()
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function("(document.querySelector('#action-map .map')?.dataset.points ?? 0) > 100")
    page.locator("#target-choices .choice").nth(3).click()
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    page.fill("#action-map .map-point", "33")
    page.press("#action-map .map-point", "Enter")
    page.wait_for_selector("#preview .lanes[data-result]")
    page.wait_for_timeout(2500)
    key, name = page.get_attribute("#preview .lanes", "data-result"), page.inner_text("#selected-action b")
    page.click("#copy-link")
    page.wait_for_selector("#copy-link[data-link]")
    link = page.get_attribute("#copy-link", "data-link")
    assert link.startswith(address) and "point=33" in link and "capacity=0" in link
    again = open_page(link=link)
    again.wait_for_selector("#preview .lanes[data-result]")
    assert again.get_attribute("#preview .lanes", "data-result") == key
    assert again.inner_text("#selected-action b") == name
    assert again.get_attribute("#tab-action-map", "aria-selected") == "true"
    assert again.input_value("#capacity input[type=number]") == "0"
    assert again.get_attribute("#target-choices .choice >> nth=3", "aria-pressed") == "true"


def test_a_link_with_nonsense_opens_the_page_as_it_is(open_page, address):
    page = open_page(link=f"{address}/?source=../../etc/passwd&capacity=nan&point=99999999&tab=evil&family=x")
    page.wait_for_timeout(2000)
    assert page.get_attribute("#tab-transfer", "aria-selected") == "true"
    assert page.locator("#source-choices .choice[aria-pressed=true]").count() == 1


def test_views_change_by_key(open_page):
    page = open_page()
    page.focus("#tab-transfer")
    for key in list(VIEWS)[1:]:
        page.keyboard.press("ArrowRight")
        assert page.get_attribute(f"#tab-{key}", "aria-selected") == "true"
        assert page.is_visible(f"#pane-{key}") and page.locator(".pane.shown").count() == 1


def open_views(page) -> Iterator[str]:
    """Show one view after another, each with its content."""
    assert set(CONTENT) == set(VIEWS)
    for key, content in CONTENT.items():
        page.click(f"#tab-{key}")
        page.wait_for_selector(content)
        page.wait_for_timeout(500)  # for transitions
        yield key


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_serious_barrier_in_any_view(open_page, scheme):
    page, serious = open_page(scheme=scheme), []
    for key in open_views(page):
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                nodes = [n["html"][:160] + " | " + n["failureSummary"][:300] for n in found["nodes"][:3]]
                serious.append((key, found["id"], nodes))
    assert not serious, json.dumps(serious, indent=1)


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_every_view_fits_its_window(open_page, width):
    page = open_page(width=width)
    widths = {key: page.evaluate("document.documentElement.scrollWidth") for key in open_views(page)}
    assert max(widths.values()) <= width, widths


def test_scripts_are_offered_what_the_page_can_do(open_page, address):
    page = open_page()
    info = json.loads(page.request.get(f"{address}/gradio_api/info").text())
    offered = {"/transfer", "/infer_actions", "/apply_action", "/capacity_sweep", "/project", "/replay"}
    assert set(info["named_endpoints"]) == offered and not info["unnamed_endpoints"]
