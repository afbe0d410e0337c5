"""What a person can do on the first tab, done by a browser. Opening a page also checks console and network."""

import subprocess
import sys

import pytest
import torch
from playwright.sync_api import Page, expect

import lawm_core as lawm
from benchmarks.serving import ROOT

pytestmark = pytest.mark.browser
LANES = ["source", "target", "transfer", "control"]


def result_key(page: Page) -> str:
    """Which result is on the page."""
    return page.get_attribute("#lanes .lanes", "data-result")


def wait_for_new_result(page: Page, old: str) -> None:
    page.wait_for_function("old => document.querySelector('#lanes .lanes').dataset.result !== old", arg=old)


def press(page: Page, *keys: str) -> None:
    """Keys for the player; any step also pauses it."""
    page.focus("#lanes .lanes")
    for key in keys:
        page.keyboard.press(key)


def drawn_frames(page: Page) -> list[int]:
    """The frame that each lane's canvas shows."""
    return [int(page.get_attribute(f"[data-lane={lane}] canvas", "data-frame")) for lane in LANES]


def picture(page: Page, lane: str) -> str:
    return page.evaluate("lane => document.querySelector(`[data-lane=${lane}] canvas`).toDataURL()", lane)


def other_choice(page: Page, side: str) -> None:
    """Clicks the first clip of a side that is not the chosen one."""
    page.locator(f"#{side}-choices .choice[aria-pressed=false]").first.click()


def upload(page: Page, side: str, path) -> None:
    page.set_input_files(f"#{side}-video input[type=file]", path)


@pytest.fixture
def good_video(tmp_path):
    """A bright square that slides."""
    frame_TCHW = torch.full((40, 3, 96, 128), 0.2)
    for t in range(40):
        frame_TCHW[t, 0, 30:60, t * 2 : t * 2 + 30] = 0.9
    lawm.write_clip(tmp_path / "my square.mp4", frame_TCHW, 12)
    return tmp_path / "my square.mp4"


def test_a_result_is_on_the_page_when_it_opens(open_page):
    page = open_page()
    press(page, "End")
    assert len({picture(page, lane) for lane in LANES}) == 4
    assert page.locator("#facts .score").count() == 4  # with the carried share
    assert "frames at" in page.inner_text("#facts .used")
    assert page.locator("#pairs .choice[aria-pressed=true]").count() == 1
    assert not page.is_visible("#message .message")


def test_keys_and_scrubber_move_all_lanes_together(open_page):
    page = open_page()
    press(page, "Home")
    first = [picture(page, lane) for lane in LANES]
    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    assert drawn_frames(page) == [3] * 4
    press(page, "ArrowLeft")
    assert drawn_frames(page) == [2] * 4 and page.inner_text("#lanes .counter").startswith("3 / 16")
    box = page.locator("#lanes .scrub").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 10.5 / 16, box["y"] + box["height"] / 2)
    assert drawn_frames(page) == [10] * 4
    assert picture(page, "source") != first[0] and picture(page, "transfer") != first[2]
    press(page, "End")
    assert drawn_frames(page) == [15] * 4
    press(page, "Home")
    assert [picture(page, lane) for lane in LANES] == first


@pytest.mark.parametrize(("motion", "plays"), [("no-preference", True), ("reduce", False)])
def test_a_result_plays_when_it_comes_unless_reduced_motion_is_asked_for(open_page, motion, plays):
    page = open_page(motion=motion)
    expect(page.get_by_role("button", name="Pause" if plays else "Play", exact=True)).to_be_visible()
    if plays:
        page.wait_for_function("document.querySelector('#lanes .lanes').dataset.frame === '3'")


def test_play_runs_loops_and_pauses(open_page):
    page = open_page()
    press(page, "Home")
    page.select_option("#lanes .speed", "2")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('#lanes .lanes').dataset.frame === '15'")
    page.wait_for_function("document.querySelector('#lanes .lanes').dataset.frame === '2'")
    page.get_by_role("button", name="Pause", exact=True).click()
    at = drawn_frames(page)
    page.wait_for_timeout(700)
    assert drawn_frames(page) == at


def test_another_source_and_target_give_another_result(open_page):
    page = open_page()
    press(page, "End")
    before, old = picture(page, "transfer"), result_key(page)
    other_choice(page, "source")
    wait_for_new_result(page, old)
    old = result_key(page)
    other_choice(page, "target")
    wait_for_new_result(page, old)
    page.click("#run-transfer")
    press(page, "End")
    assert picture(page, "transfer") != before
    assert page.locator("#pairs .choice[aria-pressed=true]").count() <= 1


def test_a_number_beyond_its_limits_becomes_the_nearest_within(open_page):
    page = open_page()
    old = result_key(page)
    frames = page.locator("#source-frames input")
    for typed, key, kept in (("1", "Tab", "2"), ("500", "Enter", "32")):
        frames.fill(typed)
        frames.press(key)
        expect(page.locator(".chip")).to_contain_text(f"{kept} is used")
        wait_for_new_result(page, old)
        assert frames.input_value() == kept
        old = result_key(page)
    capacity = page.locator("#capacity input[type=number]")
    for typed, said in (("0.3", "capacity 0.30"), ("7", "capacity 1.00")):
        capacity.fill(typed)
        capacity.press("Enter")
        wait_for_new_result(page, old)
        assert said in page.inner_text("#facts .used")
        old = result_key(page)
    assert page.locator(".toast-body").all_inner_texts() == []


def test_a_run_is_seen_beside_its_button_and_on_the_panels_and_can_be_cancelled(open_page):
    page = open_page(width=1440)
    old, cancel = result_key(page), page.locator("#cancel-transfer")
    expect(cancel).to_be_hidden()
    page.fill("#source-start input", "0.3")  # what nothing has kept yet
    page.evaluate("scrollTo(0, 0)")
    page.click("#run-transfer")
    expect(cancel).to_be_in_viewport()
    expect(page.locator("#run-transfer")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#lanes [role=progressbar]")).to_be_visible()
    cancel.click()
    expect(cancel).to_be_hidden()
    expect(page.locator(".chip")).to_contain_text("Cancelled. The previous result stays.")
    assert result_key(page) == old
    page.click("#run-transfer")
    wait_for_new_result(page, old)
    expect(cancel).to_be_hidden()
    assert not page.is_visible("#message .message")


@pytest.mark.parametrize("width", [390, 1280])
def test_who_chooses_out_of_sight_of_the_result_is_taken_to_it(open_page, width):
    page = open_page(width=width)
    old, way = result_key(page), page.locator(".chip button")
    other_choice(page, "target")
    expect(way).to_have_text("See the result ↑")
    assert result_key(page) != old
    way.click()
    expect(page.locator("#lanes .play")).to_be_in_viewport()
    page.locator("#target-choices .choice[aria-pressed=true]").click()  # once more, which gives the same result
    expect(way).to_have_text("See the result ↑")
    page.evaluate("scrollTo(0, 0)")
    expect(way).not_to_be_visible()


def test_transfer_opens_its_result_and_back_leaves_it(open_page):
    page = open_page()
    shown = lambda: page.locator(".pane.shown").get_attribute("id")
    for tab in ("About", "Compose"):
        page.get_by_role("tab", name=tab).click()
    page.click("#run-transfer")
    page.wait_for_selector("#pane-transfer.shown")
    for pane in ("pane-compose", "pane-about", "pane-transfer"):
        page.go_back()
        page.wait_for_selector(f"#{pane}.shown")
        assert shown() == pane
    page.go_forward()
    page.wait_for_selector("#pane-about.shown")


def test_a_pair_fills_both_sides_and_runs(open_page):
    page = open_page()
    old = result_key(page)
    pair = page.locator("#pairs .choice").nth(1)
    pair.click()
    wait_for_new_result(page, old)
    assert pair.get_attribute("aria-pressed") == "true"
    for side in ("source", "target"):
        assert page.locator(f"#{side}-choices .choice[aria-pressed=true]").count() == 1
        chosen = page.locator(f"#{side}-choices .choice[aria-pressed=true]").get_attribute("data-key")
        assert chosen in page.inner_text("#facts .used")


def test_the_capacity_slider_runs_on_release_by_pointer_and_by_key(open_page):
    page = open_page()
    slider = page.locator("#capacity input[type=range]")
    slider.scroll_into_view_if_needed()
    old, box = result_key(page), slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    wait_for_new_result(page, old)
    assert "capacity 0.3" in page.inner_text("#facts .used")
    old = result_key(page)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    wait_for_new_result(page, old)


def test_a_start_later_in_the_clip_gives_another_result(open_page):
    page = open_page()
    old = result_key(page)
    page.fill("#source-start input", "0.5")
    page.keyboard.press("Enter")
    wait_for_new_result(page, old)
    assert "from 0.5 s of" in page.inner_text("#facts .used")


def test_fewer_frames_of_the_source_give_a_shorter_result(open_page):
    page = open_page()
    old = result_key(page)
    page.fill("#source-frames input", "8")
    page.keyboard.press("Enter")
    wait_for_new_result(page, old)
    press(page, "End")
    assert page.inner_text("#lanes .counter").startswith("8 / 8")


def test_an_uploaded_video_becomes_the_source(open_page, good_video):
    page = open_page()
    old = result_key(page)
    upload(page, "source", good_video)
    wait_for_new_result(page, old)
    assert page.get_attribute("#source-choices .choice[aria-pressed=true]", "data-key") == "upload"
    assert "my square.mp4" in page.inner_text("#facts .used")
    old = result_key(page)
    page.locator("#pairs .choice").nth(0).click()
    wait_for_new_result(page, old)
    assert page.locator("#source-choices .choice[data-key=upload]").count() == 1, "the upload stays on offer"


def test_a_broken_video_is_refused_in_words_and_the_result_stays(open_page, tmp_path):
    broken = tmp_path / "not a film.mp4"
    broken.write_bytes(b"certainly not a video" * 200)
    page = open_page()
    press(page, "End")
    old, before = result_key(page), picture(page, "transfer")
    upload(page, "target", broken)
    page.wait_for_selector("#message .message.shown")
    assert "not a film.mp4" in page.inner_text("#message [role=alert]")
    assert "Traceback" not in page.content()
    assert (result_key(page), picture(page, "transfer")) == (old, before)
    page.locator("#pairs .choice").nth(1).click()
    wait_for_new_result(page, old)
    page.wait_for_selector("#message .message", state="hidden")


def test_names_that_look_like_code_stay_words(open_page, good_video):
    # The upload itself takes some signs out of names; whatever is left must be shown, not run.
    odd = good_video.rename(good_video.with_name("${window.ran=1} {{window.ran=1}} <img src=x onerror=ran=1>'.mp4"))
    page = open_page()
    old = result_key(page)
    upload(page, "source", odd)
    wait_for_new_result(page, old)
    page.click("#tab-compose")
    page.click("#add-source")
    page.wait_for_function("document.querySelectorAll('#script .script-name').length === 15")
    page.wait_for_selector("#script-lanes .lanes[data-result]")
    assert "window.ran=1" in page.inner_text("#script .script-name >> nth=0")
    page.click("#tab-transfer")
    assert page.evaluate("window.ran") is None
    assert "window.ran=1" in page.inner_text("#facts .used") and page.locator("#facts img").count() == 0


def test_the_result_can_be_taken_home(open_page, tmp_path):
    page = open_page()
    for button, suffix in (("download", ".mp4"), ("download-latents", ".npz"), ("download-recipe", ".json")):
        with page.expect_download() as waiting:
            page.click(f"#{button}")
        assert waiting.value.suggested_filename.endswith(suffix)
        waiting.value.save_as(tmp_path / f"taken{suffix}")
    clip = lawm.read_clip(tmp_path / "taken.mp4", frames_per_second=6, size=64, trusted=True)
    assert len(clip.frame_TCHW) == 16
    # Whoever has the recipe makes the same bytes.
    command = [sys.executable, "-m", "lawm_core", "replay", tmp_path / "taken.json", "--out", tmp_path / "again.mp4"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "taken.mp4").read_bytes()


def test_the_page_fits_its_window(open_page):
    page = open_page(width=390, scheme="dark")
    for tab in ("Transfer", "About"):
        page.get_by_role("tab", name=tab, exact=True).click()
        for width, columns in ((390, 2), (768, 2), (1280, 4)):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("width => innerWidth === width", arg=width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if tab == "Transfer":
                tops = [page.locator(f"[data-lane={lane}] canvas").bounding_box()["y"] for lane in LANES]
                assert tops.count(tops[0]) == columns
