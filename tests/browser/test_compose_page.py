"""Action scripts, done by a browser."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import Page

from benchmarks.serving import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture
def page(open_page) -> Page:
    page = open_page()
    page.get_by_role("tab", name="Compose").click()
    return page


def steps(page: Page) -> int:
    return int(page.get_attribute("#script .script", "data-steps"))


def wait_for_steps(page: Page, count: int) -> None:
    page.wait_for_function("n => document.querySelector('#script .script').dataset.steps === String(n)", arg=count)


def result(page: Page) -> str | None:
    return page.get_attribute("#script-lanes .lanes", "data-result")


def wait_for_result(page: Page, old: str | None = None) -> str:
    page.wait_for_function(
        "old => ![undefined, old].includes(document.querySelector('#script-lanes .lanes').dataset.result)",
        arg=old,
    )
    return result(page)


def press(page: Page, *keys: str) -> None:
    page.focus("#script .script")
    for key in keys:
        page.keyboard.press(key)


def names(page: Page) -> list[str]:
    return page.locator("#script .script-name").all_inner_texts()


def test_number_keys_work_without_a_click_on_the_editor_but_not_while_somebody_types(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("3")
    wait_for_steps(page, 1)
    page.locator("#tab-compose").focus()
    page.keyboard.press("1")
    wait_for_steps(page, 2)
    page.focus("#target-start input")
    page.keyboard.press("2")
    page.locator("#tab-compose").focus()
    page.keyboard.press("Delete")  # what takes something away needs the focus
    page.wait_for_timeout(500)
    assert steps(page) == 2


def test_what_the_map_adds_is_announced_with_a_way_to_the_script(page):
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function("(document.querySelector('#action-map .map')?.dataset.points ?? 0) > 100")
    page.fill("#action-map .map-point", "12")
    page.press("#action-map .map-point", "Enter")
    page.click("#add-action")
    notice = page.get_by_role("button", name="Added to the script. Open Compose")
    notice.click()
    page.wait_for_selector("#pane-compose.shown")
    assert steps(page) == 1


def test_number_keys_add_prototypes_and_the_target_follows_them(page):
    assert page.locator("#script .prototype").count() == 9
    press(page, "2")
    wait_for_steps(page, 1)
    old = wait_for_result(page)
    assert page.locator("#script-lanes figure").count() == 3
    press(page, "4")
    wait_for_steps(page, 2)
    wait_for_result(page, old)
    assert "2 steps, 2 frames" in page.inner_text("#script .script-total")


def test_steps_are_turned_scaled_repeated_added_blended_moved_and_removed(page):
    press(page, "2")
    wait_for_steps(page, 1)
    press(page, "4")
    wait_for_steps(page, 2)
    old = wait_for_result(page)
    first = names(page)[0]
    page.locator("#script .deed-invert").first.click()
    assert names(page)[0] == f"−1 × {first}"
    old = wait_for_result(page, old)
    page.locator("#script .deed-stronger").first.click()
    page.locator("#script .deed-more").first.click()
    assert names(page)[0] == f"−2 × {first}" and page.inner_text("#script .script-times >> nth=0") == "× 2"
    page.locator("#script .deed-blend").first.click()
    assert steps(page) == 5 and "+" in names(page)[2]
    page.locator("#script .deed-down").first.click()
    assert names(page)[1] == f"−2 × {first}"
    page.locator("#script .deed-remove").first.click()
    assert steps(page) == 4
    page.locator("#script .deed-add").first.click()
    assert steps(page) == 3
    wait_for_result(page, old)


def test_undo_and_redo_by_button_and_by_key(page):
    press(page, "1")
    wait_for_steps(page, 1)
    press(page, "3")
    wait_for_steps(page, 2)
    before = names(page)
    page.locator("#script .deed-invert").nth(1).click()
    turned = names(page)
    page.click("#script .script-undo")
    assert names(page) == before
    press(page, "Control+z")
    assert steps(page) == 1
    press(page, "Control+y")
    press(page, "Control+Shift+z")
    assert names(page) == turned
    page.click("#script .script-clear")
    assert steps(page) == 0
    page.click("#script .script-undo")
    assert names(page) == turned


def test_the_maps_choice_and_the_sources_actions_become_steps(page):
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function("(document.querySelector('#action-map .map')?.dataset.points ?? 0) > 100")
    page.fill("#action-map .map-point", "12")
    page.press("#action-map .map-point", "Enter")
    page.wait_for_selector("#add-action:not([disabled])")
    name = page.inner_text("#selected-action b")
    page.click("#add-action")
    page.get_by_role("tab", name="Compose").click()
    wait_for_steps(page, 1)
    assert names(page) == [name]
    page.click("#add-source")
    wait_for_steps(page, 16)
    wait_for_result(page)


def test_a_script_of_another_setting_is_not_mixed_in(page):
    press(page, "1")
    wait_for_steps(page, 1)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    press(page, "2")
    page.wait_for_selector("#message .message.shown")
    assert "the dial stands at noisy 0.00" in page.inner_text("#message")
    assert steps(page) == 1


def test_a_saved_script_replays_to_the_same_bytes_and_loads_again(page, tmp_path):
    press(page, "2")
    wait_for_steps(page, 1)
    once = wait_for_result(page)
    page.locator("#script .deed-more").first.click()
    wait_for_result(page, once)
    page.wait_for_selector("#save-script:not([disabled])")
    for button, name in (("save-script", "script.json"), ("download-script-video", "script.mp4")):
        with page.expect_download() as waiting:
            page.click(f"#{button}")
        waiting.value.save_as(tmp_path / name)
    saved = json.loads((tmp_path / "script.json").read_text())
    assert saved["script"]["steps"][0]["repeat"] == 2 and len(saved["actions"]) == 1
    command = [sys.executable, "-m", "lawm_core", "replay", tmp_path / "script.json", "--out", tmp_path / "again.mp4"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "script.mp4").read_bytes()
    before = names(page)
    page.click("#script .script-clear")
    page.set_input_files("#script-tools input[type=file]", tmp_path / "script.json")
    wait_for_steps(page, 1)
    assert names(page) == before


def test_a_broken_script_is_refused_in_words(page, tmp_path):
    (tmp_path / "broken.json").write_text('{"format": 1, "script": 3}')
    page.set_input_files("#script-tools input[type=file]", tmp_path / "broken.json")
    page.wait_for_selector("#message .message.shown")
    assert "lacks" in page.inner_text("#message") or "needs" in page.inner_text("#message")
    assert steps(page) == 0
