"""The tab `Action map` in a browser: hover, click, area, keys, layers and recomputing."""

import pytest
from playwright.sync_api import Page, expect

from devtools.browser import POINT_COUNT, POINT_POSITION
from tests.browser.conftest import wait_after_cancel

pytestmark = pytest.mark.browser
TRACES = "document.querySelector('#action-map .map-plot').data.length"
WITH_PATHS = 5  # the points, and for both clips a path and its outline


def preview_key(page: Page) -> str | None:
    return page.get_attribute("#preview .panels", "data-result")


def wait_for_preview(page: Page, old: str | None = None) -> str:
    page.wait_for_function(
        "old => { const now = document.querySelector('#preview .panels').dataset.result; return now && now !== old; }",
        arg=old,
    )
    return preview_key(page)


def select(page: Page, point: int, old: str | None = None) -> str:
    page.fill("#action-map .map-point", str(point))
    page.press("#action-map .map-point", "Enter")
    return wait_for_preview(page, old)


@pytest.fixture
def page(open_page) -> Page:
    page = open_page()
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function(f"{POINT_COUNT} > 100")
    return page


def test_hovering_shows_the_pair_of_frames_without_a_request(page):
    expect(page.locator("#selected-action")).to_contain_text("Hover over a point to see its frames.")
    page.wait_for_function(f"{TRACES} === {WITH_PATHS}")  # the clips' paths are requested when the map opens
    requests = []
    page.on("request", lambda request: requests.append(request.url) if "sprite" not in request.url else None)
    x, y = page.evaluate(POINT_POSITION, 40)
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y, steps=4)
    page.wait_for_selector("#action-map .map-hover:not([hidden])")
    assert page.inner_text("#action-map .map-hover b") and page.inner_text("#action-map .map-hover .motion")
    assert page.locator("#action-map .map-hover i").count() == 2 and not requests
    box = page.locator("#action-map .map-hover").bounding_box()  # far from the pointer, so it covers no neighbour
    assert not (box["x"] - 40 < x < box["x"] + box["width"] + 40 and box["y"] - 40 < y < box["y"] + box["height"])


def test_a_click_applies_the_action_to_the_target(page):
    x, y = page.evaluate(POINT_POSITION, 40)
    page.mouse.move(x - 20, y)
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(300)  # Plotly handles hovering with a delay
    page.mouse.click(x, y)
    wait_for_preview(page)
    selected = int(page.input_value("#action-map .map-point"))
    clicked, found = page.evaluate(POINT_POSITION, 40), page.evaluate(POINT_POSITION, selected)
    # Of overlapping points, Plotly takes any within this distance.
    assert abs(found[0] - clicked[0]) <= 20 and abs(found[1] - clicked[1]) <= 20
    assert page.locator("#preview figcaption b").all_inner_texts() == [
        "Control",
        "Selected action",
        "Random action, to compare",
    ]
    assert "noisy, capacity 1.00" in page.inner_text("#selected-action")
    assert page.locator("#selected-action .action-card-neighbours button").count() >= 5


def test_the_preview_follows_neighbour_target_and_setting(page):
    old = select(page, 3)
    page.locator("#selected-action .action-card-neighbours button").first.click()
    old = wait_for_preview(page, old)
    assert page.input_value("#action-map .map-point") != "3"
    page.locator("#target-choices .choice[aria-pressed=false]").first.click()
    old = wait_for_preview(page, old)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    wait_for_preview(page, old)
    assert "capacity 0.00" in page.inner_text("#selected-action")


def test_points_can_be_selected_by_keys_alone(page):
    old = select(page, 5)
    page.get_by_role("button", name="Next ›").focus()
    page.keyboard.press("Enter")
    old = wait_for_preview(page, old)
    assert page.input_value("#action-map .map-point") == "6"
    page.get_by_role("button", name="Select its neighbours too").focus()
    page.keyboard.press("Enter")
    wait_for_preview(page, old)
    assert page.inner_text("#selected-action b").startswith("mean of ")


def test_the_number_of_a_point_stays_valid(page):
    old, point = select(page, 5), page.locator("#action-map .map-point")
    for invalid in ("2.5", ""):
        point.fill(invalid)
        point.press("Enter")
        expect(point).to_have_value("5")
    point.fill("999999")
    point.press("Enter")
    wait_for_preview(page, old)
    expect(point).to_have_value(point.get_attribute("max"))


def test_an_area_gives_the_mean_of_its_points(page):
    page.get_by_label("Mouse").select_option("select area")
    box = page.locator("#action-map .map-plot").bounding_box()
    left, top, right, low = box["x"] + 30, box["y"] + 30, box["x"] + box["width"] - 30, box["y"] + box["height"] - 30
    page.wait_for_timeout(500)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, low), (left, low), (left, top)):
        page.mouse.move(x, y, steps=12)
    page.mouse.up()
    wait_for_preview(page)
    words = page.inner_text("#selected-action b").split()
    points = page.evaluate(POINT_COUNT)
    assert words[:2] == ["mean", "of"] and 0.9 * points < int(words[2]) <= points


def test_points_keep_their_numbers_with_every_filter_and_layout(page):
    before = page.evaluate(POINT_POSITION, 40)
    name = page.evaluate("document.querySelector('#action-map .map-clip').options[3].textContent")
    page.select_option("#action-map .map-clip", "2")
    page.wait_for_function(f"{POINT_COUNT} < 30")
    point = page.evaluate("document.querySelector('#action-map .map-plot').data[0].customdata[4]")
    select(page, point)
    assert page.inner_text("#selected-action b").startswith(name)
    page.select_option("#action-map .map-clip", "-1")
    page.select_option("#action-map .map-layout", "pca")
    page.wait_for_function(f"{POINT_COUNT} > 100")
    assert page.evaluate(POINT_POSITION, 40) != before
    for colour, label in (("direction", "right"), ("clip", "one colour per clip"), ("speed", "much")):
        page.select_option("#action-map .map-colour", colour)
        expect(page.locator("#action-map .map-legend")).to_contain_text(label)
        assert page.locator("#action-map .map-scale").is_visible() == (colour != "clip")


def test_layers_show_the_clips_and_generated_actions(page):
    page.wait_for_function(f"{TRACES} === {WITH_PATHS}")
    traces = "document.querySelector('#action-map .map-plot').data.map((t) => [t.type, t.name, t.x.length])"
    found = page.evaluate(traces)
    assert [t[1:] for t in found if t[1]] == [["source", 15], ["target", 15]], "one path per clip, 15 transitions each"
    assert {kind for kind, *_ in found} == {"scattergl"}  # other kinds would be drawn below the points
    page.uncheck("#action-map .map-paths")
    page.wait_for_function(f"{TRACES} === 1")
    page.get_by_label("actions generated by the model").check()
    page.wait_for_function(f"{TRACES} === 2")
    generated = page.evaluate("document.querySelector('#action-map .map-plot').data[1].x")
    assert len(generated) > 100 and len(set(generated)) > 50


def test_the_map_is_recomputed_for_a_capacity_and_that_can_be_cancelled(page):
    before = page.evaluate(POINT_POSITION, 40)
    expect(page.locator("#recompute-map")).to_have_text("Recompute map for capacity 1.00")
    page.click("#recompute-map")
    page.click("#cancel-recompute")
    page.wait_for_selector("#cancel-recompute", state="hidden")
    wait_after_cancel(page)
    select(page, 7)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    expect(page.locator("#recompute-map")).to_have_text("Recompute map for capacity 0.00")
    page.click("#recompute-map")
    expect(page.locator("#action-map .map-note")).to_contain_text("arranged by their actions (noisy, capacity 0.00).")
    page.wait_for_function(f"(old) => String(({POINT_POSITION})(40)) !== String(old)", arg=before)
