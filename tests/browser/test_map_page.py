"""The action map, done by a browser: hover, click, lasso, keys, layers and a new layout."""

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

# Where a point of the map lies on screen.
PLACE = """
(point) => {
  const plot = document.querySelector('#action-map .map-plot'), trace = plot.data[0];
  const i = trace.customdata.indexOf(point);
  const { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.c2p(trace.x[i]), box.top + yaxis._offset + yaxis.c2p(trace.y[i])];
}
"""
TRACES = "document.querySelector('#action-map .map-plot').data.length"
WITH_PATHS = 5  # the points, and for either clip its path and what sets that off from them


def open_map(page: Page) -> None:
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function("(document.querySelector('#action-map .map')?.dataset.points ?? 0) > 100")


def shown(page: Page) -> str | None:
    return page.get_attribute("#preview .lanes", "data-result")


def wait_for_preview(page: Page, old: str | None = None) -> str:
    page.wait_for_function(
        "old => { const now = document.querySelector('#preview .lanes').dataset.result; return now && now !== old; }",
        arg=old,
    )
    return shown(page)


def choose(page: Page, point: int, old: str | None = None) -> str:
    page.fill("#action-map .map-point", str(point))
    page.press("#action-map .map-point", "Enter")
    return wait_for_preview(page, old)


@pytest.fixture
def page(open_page) -> Page:
    page = open_page()
    open_map(page)
    return page


def test_pointing_shows_the_pair_without_asking_the_server(page):
    page.wait_for_function(f"{TRACES} === {WITH_PATHS}")  # the open clips' paths are asked for when the map opens
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "sprite" not in request.url else None)
    x, y = page.evaluate(PLACE, 40)
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y, steps=4)
    page.wait_for_selector("#action-map .map-hover:not([hidden])")
    assert page.inner_text("#action-map .map-hover b") and page.inner_text("#action-map .map-hover .words")
    assert page.locator("#action-map .map-hover i").count() == 2 and not asked
    card = page.locator("#action-map .map-hover").bounding_box()  # far from the pointer: it covers no neighbour
    assert not (card["x"] - 40 < x < card["x"] + card["width"] + 40 and card["y"] - 40 < y < card["y"] + card["height"])


def test_a_click_lets_the_action_happen_to_the_target(page):
    x, y = page.evaluate(PLACE, 40)
    page.mouse.move(x - 20, y)
    page.mouse.move(x, y, steps=3)
    page.wait_for_timeout(300)  # pointing follows the mouse at its own pace
    page.mouse.click(x, y)
    wait_for_preview(page)
    chosen = int(page.input_value("#action-map .map-point"))
    meant, near = page.evaluate(PLACE, 40), page.evaluate(PLACE, chosen)
    # Where points lie on each other, one of them is taken that is as near as Plotly looks.
    assert abs(near[0] - meant[0]) <= 20 and abs(near[1] - meant[1]) <= 20
    assert page.locator("#preview figure").count() == 3
    assert "noisy, capacity 1.00" in page.inner_text("#selected-action")
    assert page.locator("#selected-action .chosen-near button").count() >= 5


def test_a_neighbour_another_target_and_another_setting_follow(page):
    old = choose(page, 3)
    page.locator("#selected-action .chosen-near button").first.click()
    old = wait_for_preview(page, old)
    assert page.input_value("#action-map .map-point") != "3"
    page.locator("#target-choices .choice[aria-pressed=false]").first.click()
    old = wait_for_preview(page, old)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    wait_for_preview(page, old)
    assert "capacity 0.00" in page.inner_text("#selected-action")


def test_keys_alone_walk_through_the_points(page):
    old = choose(page, 5)
    page.get_by_role("button", name="Next ›").focus()
    page.keyboard.press("Enter")
    old = wait_for_preview(page, old)
    assert page.input_value("#action-map .map-point") == "6"
    page.get_by_role("button", name="Choose it and its neighbours").focus()
    page.keyboard.press("Enter")
    wait_for_preview(page, old)
    assert page.inner_text("#selected-action b").startswith("mean of ")


def test_the_box_takes_points_that_there_are(page):
    old, point = choose(page, 5), page.locator("#action-map .map-point")
    for nonsense in ("2.5", ""):
        point.fill(nonsense)
        point.press("Enter")
        expect(point).to_have_value("5")
    point.fill("999999")
    point.press("Enter")
    wait_for_preview(page, old)
    expect(point).to_have_value(point.get_attribute("max"))


def test_a_lasso_gives_the_mean_of_its_members(page):
    page.select_option("#action-map .map-drag", "lasso")
    box = page.locator("#action-map .map-plot").bounding_box()
    left, top, right, low = box["x"] + 30, box["y"] + 30, box["x"] + box["width"] - 30, box["y"] + box["height"] - 30
    page.wait_for_timeout(500)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, low), (left, low), (left, top)):
        page.mouse.move(x, y, steps=12)
    page.mouse.up()
    wait_for_preview(page)
    said = page.inner_text("#selected-action b").split()
    points = int(page.get_attribute("#action-map .map", "data-points"))
    assert said[:2] == ["mean", "of"] and 0.9 * points < int(said[2]) <= points


def test_points_keep_their_numbers_through_every_filter_and_layout(page):
    before = page.evaluate(PLACE, 40)
    name = page.evaluate("document.querySelector('#action-map .map-clip').options[3].textContent")
    page.select_option("#action-map .map-clip", "2")
    page.wait_for_function("document.querySelector('#action-map .map').dataset.points < 30")
    point = page.evaluate("document.querySelector('#action-map .map-plot').data[0].customdata[4]")
    choose(page, point)
    assert page.inner_text("#selected-action b").startswith(name)
    page.select_option("#action-map .map-clip", "-1")
    page.select_option("#action-map .map-layout", "pca")
    page.wait_for_function("document.querySelector('#action-map .map').dataset.points > 100")
    assert page.evaluate(PLACE, 40) != before
    for colour, said in (("heading", "right"), ("clip", "one colour per clip"), ("speed", "much motion")):
        page.select_option("#action-map .map-colour", colour)
        expect(page.locator("#action-map .map-legend")).to_contain_text(said)
        assert page.locator("#action-map .map-scale").is_visible() == (colour != "clip")


def test_layers_open_clips_and_samples(page):
    page.wait_for_function(f"{TRACES} === {WITH_PATHS}")
    told = "document.querySelector('#action-map .map-plot').data.map((t) => [t.type, t.name, t.x.length])"
    traces = page.evaluate(told)
    assert [t[1:] for t in traces if t[1]] == [["source", 15], ["target", 15]], "a path a clip, a place a transition"
    assert {kind for kind, *_ in traces} == {"scattergl"}  # of another kind, they would lie below the points
    page.uncheck("#action-map .map-paths")
    page.wait_for_function(f"{TRACES} === 1")
    page.check("#action-map .map-sampled")
    page.wait_for_function(f"{TRACES} === 2")
    samples = page.evaluate("document.querySelector('#action-map .map-plot').data[1].x")
    assert len(samples) > 100 and len(set(samples)) > 50


def test_the_map_is_laid_out_anew_and_can_be_cancelled(page):
    before = page.evaluate(PLACE, 40)
    page.click("#refit")
    page.click("#cancel-refit")
    page.wait_for_selector("#cancel-refit", state="hidden")
    choose(page, 7)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    page.click("#refit")
    page.wait_for_function("document.querySelector('#action-map .map-note').textContent.includes('Computed from')")
    assert page.evaluate(PLACE, 40) != before
