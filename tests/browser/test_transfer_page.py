"""The tab `Transfer` in a browser. Opening a page also checks its console and its requests."""

import subprocess
import sys

import pytest
import torch
from playwright.sync_api import Page, expect

import lawm_core as lawm
from devtools.serving import ROOT
from tests.browser.conftest import wait_after_cancel

pytestmark = pytest.mark.browser
PANELS = ["source", "target", "transfer", "control"]


def result_key(page: Page) -> str:
    """Return the key of the result on the page."""
    return page.get_attribute("#panels .panels", "data-result")


def wait_for_new_result(page: Page, old: str) -> None:
    page.wait_for_function("old => document.querySelector('#panels .panels').dataset.result !== old", arg=old)


def press(page: Page, *keys: str) -> None:
    """Press keys in the player; a step also pauses it."""
    page.focus("#panels .panels")
    for key in keys:
        page.keyboard.press(key)


def drawn_frames(page: Page) -> list[int]:
    """Return the index of the frame on each panel."""
    return [int(page.get_attribute(f"[data-panel={panel}] canvas", "data-frame")) for panel in PANELS]


def picture(page: Page, panel: str) -> str:
    return page.evaluate("panel => document.querySelector(`[data-panel=${panel}] canvas`).toDataURL()", panel)


def choose_other(page: Page, side: str) -> None:
    """Choose another clip for a side."""
    page.locator(f"#{side}-choices .choice[aria-pressed=false]").first.click()


def upload(page: Page, side: str, path) -> None:
    page.set_input_files(f"#{side}-video input[type=file]", path)


@pytest.fixture
def good_video(tmp_path):
    """A video of a square that moves."""
    frame_TCHW = torch.full((40, 3, 96, 128), 0.2)
    for t in range(40):
        frame_TCHW[t, 0, 30:60, t * 2 : t * 2 + 30] = 0.9
    lawm.write_clip(tmp_path / "my square.mp4", frame_TCHW, 12)
    return tmp_path / "my square.mp4"


def test_the_page_opens_with_a_result(open_page):
    page = open_page()
    press(page, "End")
    assert len({picture(page, panel) for panel in PANELS}) == 4
    titles = page.locator("#panels figcaption b").all_inner_texts()
    assert titles == ["Source", "Target (real continuation)", "Transfer", "Control"]
    notes = page.locator("#panels figcaption .note").all_inner_texts()
    assert notes[2:] == ["target + source motion", "target, no motion"]
    assert page.inner_text("[data-panel=transfer] .tag") == "predicted"
    press(page, "Home")
    assert page.inner_text("[data-panel=transfer] .tag") == "real frame"
    names = page.locator("#facts .score dt").all_inner_texts()
    assert names == ["Explained motion", "How much changed", "Cycle error", "Carried over"]
    assert page.locator("#facts .number").nth(2).inner_text().endswith("× (1 = nothing lost, higher is worse)")
    assert "frames per second" in page.inner_text("#facts .inputs")
    assert page.locator("#pairs .choice[aria-pressed=true]").count() == 1
    assert not page.is_visible("#message .message")


def test_keys_and_slider_move_all_panels_together(open_page):
    page = open_page()
    press(page, "Home")
    first = [picture(page, panel) for panel in PANELS]
    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    assert drawn_frames(page) == [3] * 4
    press(page, "ArrowLeft")
    assert drawn_frames(page) == [2] * 4 and page.inner_text("#panels .counter").startswith("3 / 16")
    box = page.locator("#panels .scrub").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 10.5 / 16, box["y"] + box["height"] / 2)
    assert drawn_frames(page) == [10] * 4
    assert picture(page, "source") != first[0] and picture(page, "transfer") != first[2]
    press(page, "End")
    assert drawn_frames(page) == [15] * 4
    press(page, "Home")
    assert [picture(page, panel) for panel in PANELS] == first


def test_changes_can_be_highlighted(open_page):
    page = open_page()
    press(page, "End")
    before = {panel: picture(page, panel) for panel in PANELS}
    page.locator("#panels").get_by_label("Highlight changes").check()
    assert picture(page, "transfer") != before["transfer"]
    assert all(picture(page, panel) == before[panel] for panel in ("source", "target", "control"))


@pytest.mark.parametrize(("motion", "plays"), [("no-preference", True), ("reduce", False)])
def test_the_first_result_plays_unless_reduced_motion_is_preferred(open_page, motion, plays):
    page = open_page(motion=motion)
    expect(page.get_by_role("button", name="Pause" if plays else "Play", exact=True)).to_be_visible()
    if plays:
        page.wait_for_function("document.querySelector('#panels .panels').dataset.frame === '3'")


def test_play_loops_and_pauses(open_page):
    page = open_page()
    press(page, "Home")
    page.select_option("#panels .speed", "2")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('#panels .panels').dataset.frame === '15'")
    page.wait_for_function("document.querySelector('#panels .panels').dataset.frame === '2'")
    page.get_by_role("button", name="Pause", exact=True).click()
    frames = drawn_frames(page)
    page.wait_for_timeout(700)
    assert drawn_frames(page) == frames


def test_another_source_or_target_gives_another_result(open_page):
    page = open_page()
    press(page, "End")
    before, old = picture(page, "transfer"), result_key(page)
    choose_other(page, "source")
    wait_for_new_result(page, old)
    old = result_key(page)
    choose_other(page, "target")
    wait_for_new_result(page, old)
    page.click("#run-transfer")
    press(page, "End")
    assert picture(page, "transfer") != before
    assert page.locator("#pairs .choice[aria-pressed=true]").count() <= 1


def test_a_number_out_of_range_is_set_to_the_nearest_limit(open_page):
    page = open_page()
    old = result_key(page)
    frames = page.locator("#source-frames input")
    for typed, key, limit in (("1", "Tab", "2, the minimum"), ("500", "Enter", "32, the maximum")):
        frames.fill(typed)
        frames.press(key)
        expect(page.locator(".notice")).to_contain_text(
            f"Frames (6 per second) was set to {limit} ({typed} was typed)."
        )
        wait_for_new_result(page, old)
        assert frames.input_value() == limit.split(",")[0]
        old = result_key(page)
    capacity = page.locator("#capacity input[type=number]")
    for typed, setting in (("0.3", "capacity 0.30"), ("7", "capacity 1.00")):
        capacity.fill(typed)
        capacity.press("Enter")
        wait_for_new_result(page, old)
        assert setting in page.inner_text("#facts .inputs")
        old = result_key(page)
    assert page.locator(".toast-body").all_inner_texts() == []


def test_settings_explain_themselves(open_page):
    page = open_page()
    assert "How much an action can encode" in page.get_attribute("#capacity", "title")
    assert "What limits an action" in page.get_attribute("#family", "title")


def test_a_run_shows_its_progress_and_can_be_cancelled(open_page):
    page = open_page(width=1440)
    old, cancel = result_key(page), page.locator("#cancel-transfer")
    expect(cancel).to_be_hidden()
    page.fill("#source-start input", "0.3")  # a request that is not in the cache
    page.evaluate("scrollTo(0, 0)")
    page.click("#run-transfer")
    expect(cancel).to_be_in_viewport()
    expect(page.locator("#run-transfer")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#panels [role=progressbar]")).to_be_visible()
    cancel.click()
    expect(cancel).to_be_hidden()
    expect(page.locator(".notice")).to_contain_text("Cancelled. The previous result is kept.")
    assert result_key(page) == old
    wait_after_cancel(page)
    page.click("#run-transfer")
    wait_for_new_result(page, old)
    expect(cancel).to_be_hidden()
    assert not page.is_visible("#message .message")


@pytest.mark.parametrize("width", [390, 1280])
def test_a_notice_leads_to_a_result_that_is_not_visible(open_page, width):
    page = open_page(width=width)
    old, notice = result_key(page), page.locator(".notice button")
    choose_other(page, "target")
    expect(notice).to_have_text("Show the result ↑")
    assert result_key(page) != old
    notice.click()
    expect(page.locator("#panels .play")).to_be_in_viewport()
    page.locator("#target-choices .choice[aria-pressed=true]").click()  # once more, with the same result
    expect(notice).to_have_text("Show the result ↑")
    page.evaluate("scrollTo(0, 0)")
    expect(notice).not_to_be_visible()


def test_the_transfer_button_opens_its_tab_and_back_returns(open_page):
    page = open_page()
    for tab in ("About", "Compose"):
        page.get_by_role("tab", name=tab).click()
    page.click("#run-transfer")
    page.wait_for_selector("#pane-transfer.shown")
    for pane in ("pane-compose", "pane-about", "pane-transfer"):
        page.go_back()
        page.wait_for_selector(f"#{pane}.shown")
        assert page.locator(".pane.shown").get_attribute("id") == pane
    page.go_forward()
    page.wait_for_selector("#pane-about.shown")


def test_a_pair_chooses_both_clips_and_runs(open_page):
    page = open_page()
    old = result_key(page)
    pair = page.locator("#pairs .choice").nth(1)
    pair.click()
    wait_for_new_result(page, old)
    assert pair.get_attribute("aria-pressed") == "true"
    for side in ("source", "target"):
        assert page.locator(f"#{side}-choices .choice[aria-pressed=true]").count() == 1
        chosen = page.locator(f"#{side}-choices .choice[aria-pressed=true]").get_attribute("data-key")
        assert chosen in page.inner_text("#facts .inputs")


def test_the_capacity_slider_runs_on_release_by_pointer_and_by_key(open_page):
    page = open_page()
    slider = page.locator("#capacity input[type=range]")
    slider.scroll_into_view_if_needed()
    old, box = result_key(page), slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    wait_for_new_result(page, old)
    assert "capacity 0.3" in page.inner_text("#facts .inputs")
    old = result_key(page)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    wait_for_new_result(page, old)


def test_a_later_start_gives_another_result(open_page):
    page = open_page()
    old = result_key(page)
    page.fill("#source-start input", "0.5")
    page.keyboard.press("Enter")
    wait_for_new_result(page, old)
    assert "frames from 0.5 s at" in page.inner_text("#facts .inputs")


def test_fewer_frames_of_the_source_give_a_shorter_result(open_page):
    page = open_page()
    old = result_key(page)
    page.fill("#source-frames input", "8")
    page.keyboard.press("Enter")
    wait_for_new_result(page, old)
    press(page, "End")
    assert page.inner_text("#panels .counter").startswith("8 / 8")


def test_an_uploaded_video_becomes_the_source(open_page, good_video):
    page = open_page()
    old = result_key(page)
    upload(page, "source", good_video)
    wait_for_new_result(page, old)
    assert page.get_attribute("#source-choices .choice[aria-pressed=true]", "data-key") == "upload"
    assert "Cropped to the centre square" in page.inner_text("#source-choices .choices-note")
    assert "my square.mp4" in page.inner_text("#facts .inputs")
    old = result_key(page)
    page.locator("#pairs .choice").nth(0).click()
    wait_for_new_result(page, old)
    assert page.locator("#source-choices .choice[data-key=upload]").count() == 1, "the upload remains a choice"


def test_a_broken_video_shows_a_message_and_the_result_stays(open_page, tmp_path):
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


def test_file_names_that_look_like_code_are_shown_as_text(open_page, good_video):
    # The upload removes some characters from names; the rest must be shown and not run.
    odd = good_video.rename(good_video.with_name("${window.ran=1} {{window.ran=1}} <img src=x onerror=ran=1>'.mp4"))
    page = open_page()
    old = result_key(page)
    upload(page, "source", odd)
    wait_for_new_result(page, old)
    page.click("#tab-compose")
    page.click("#add-source")
    page.wait_for_function("document.querySelectorAll('#script .script-name').length === 15")
    page.wait_for_selector("#script-panels .panels[data-result]")
    assert "window.ran=1" in page.inner_text("#script .script-name >> nth=0")
    page.click("#tab-transfer")
    assert page.evaluate("window.ran") is None
    assert "window.ran=1" in page.inner_text("#facts .inputs") and page.locator("#facts img").count() == 0


def test_the_result_can_be_downloaded_and_replayed_byte_for_byte(open_page, tmp_path):
    page = open_page()
    for button, name in (("video", "result.mp4"), ("actions", "actions.npz"), ("replay", "replay.json")):
        with page.expect_download() as waiting:
            page.click(f"#download-{button}")
        assert waiting.value.suggested_filename.endswith(name[name.index(".") :])
        waiting.value.save_as(tmp_path / name)
    assert waiting.value.suggested_filename == "replay.json"
    clip = lawm.read_clip(tmp_path / "result.mp4", frames_per_second=6, size=64, trusted=True)
    assert len(clip.frame_TCHW) == 16
    command = [sys.executable, "-m", "lawm_core", "replay", tmp_path / "replay.json", "--out", tmp_path / "again.mp4"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "result.mp4").read_bytes()


def test_the_page_fits_its_window(open_page):
    page = open_page(width=390, scheme="dark")
    for tab in ("Transfer", "About"):
        page.get_by_role("tab", name=tab, exact=True).click()
        for width, columns in ((390, 2), (768, 2), (1280, 4)):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("width => innerWidth === width", arg=width)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if tab == "Transfer":
                tops = [page.locator(f"[data-panel={panel}] canvas").bounding_box()["y"] for panel in PANELS]
                assert tops.count(tops[0]) == columns
