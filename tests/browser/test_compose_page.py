"""The tab `Compose` in a browser."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from devtools.browser import POINT_COUNT
from devtools.serving import ROOT

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


def wait_for_result(page: Page, old: str | None = None) -> str:
    page.wait_for_function(
        "old => ![undefined, old].includes(document.querySelector('#script-panels .panels').dataset.result)",
        arg=old,
    )
    return page.get_attribute("#script-panels .panels", "data-result")


def press(page: Page, *keys: str) -> None:
    page.focus("#script .script")
    for key in keys:
        page.keyboard.press(key)


def names(page: Page) -> list[str]:
    return page.locator("#script .script-name").all_inner_texts()


def select_on_map(page: Page, point: int) -> None:
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_function(f"{POINT_COUNT} > 100")
    page.fill("#action-map .map-point", str(point))
    page.press("#action-map .map-point", "Enter")


def test_number_keys_work_with_any_focus_except_in_input_fields(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("3")
    wait_for_steps(page, 1)
    page.locator("#tab-compose").focus()
    page.keyboard.press("1")
    wait_for_steps(page, 2)
    page.focus("#target-start input")
    page.keyboard.press("2")
    page.locator("#tab-compose").focus()
    page.keyboard.press("Delete")  # needs the focus on the editor
    page.wait_for_timeout(500)
    assert steps(page) == 2


def test_adding_from_the_map_shows_a_notice_that_opens_the_script(page):
    select_on_map(page, 12)
    page.click("#add-action")
    page.get_by_role("button", name="Added to the script. Open Compose").click()
    page.wait_for_selector("#pane-compose.shown")
    assert steps(page) == 1


def test_number_keys_add_prototypes_and_the_result_follows(page):
    assert page.locator("#script .prototype").count() == 9
    press(page, "2")
    wait_for_steps(page, 1)
    old = wait_for_result(page)
    assert page.locator("#script-panels figure").count() == 3
    press(page, "4")
    wait_for_steps(page, 2)
    wait_for_result(page, old)
    assert "2 steps, 2 frames" in page.inner_text("#script .script-total")


def test_steps_are_reversed_scaled_repeated_merged_blended_moved_and_removed(page):
    press(page, "2")
    wait_for_steps(page, 1)
    press(page, "4")
    wait_for_steps(page, 2)
    old = wait_for_result(page)
    first = names(page)[0]
    page.locator("#script .edit-reverse").first.click()
    assert names(page)[0] == f"−1 × {first}"
    old = wait_for_result(page, old)
    page.locator("#script .edit-stronger").first.click()
    page.locator("#script .edit-more").first.click()
    assert names(page)[0] == f"−2 × {first}" and page.inner_text("#script .script-repeat >> nth=0") == "× 2"
    page.get_by_role("button", name="Blend into next: step 1").click()
    assert steps(page) == 5 and "+" in names(page)[2]
    page.locator("#script .edit-down").first.click()
    assert names(page)[1] == f"−2 × {first}"
    page.locator("#script .edit-remove").first.click()
    assert steps(page) == 4
    page.get_by_role("button", name="Merge with next: step 1").click()
    assert steps(page) == 3
    page.get_by_role("button", name="Add a pause").click()
    assert steps(page) == 4 and names(page)[3] == "pause (no motion)"
    wait_for_result(page, old)


def test_undo_and_redo_by_button_and_by_key(page):
    press(page, "1")
    wait_for_steps(page, 1)
    press(page, "3")
    wait_for_steps(page, 2)
    before = names(page)
    page.locator("#script .edit-reverse").nth(1).click()
    reversed_names = names(page)
    page.click("#script .script-undo")
    assert names(page) == before
    press(page, "Control+z")
    assert steps(page) == 1
    press(page, "Control+y")
    press(page, "Control+Shift+z")
    assert names(page) == reversed_names
    page.click("#script .script-clear")
    assert steps(page) == 0
    page.click("#script .script-undo")
    assert names(page) == reversed_names


def test_the_selected_action_and_the_whole_source_become_steps(page):
    select_on_map(page, 12)
    page.wait_for_selector("#add-action:not([disabled])")
    name = page.inner_text("#selected-action b")
    page.click("#add-action")
    page.get_by_role("tab", name="Compose").click()
    wait_for_steps(page, 1)
    assert names(page) == [name]
    page.get_by_role("button", name="Add the whole source").click()
    wait_for_steps(page, 16)
    wait_for_result(page)


def test_actions_of_another_setting_are_not_added(page):
    press(page, "1")
    wait_for_steps(page, 1)
    page.focus("#capacity input[type=range]")
    page.keyboard.press("Home")
    press(page, "2")
    page.wait_for_selector("#message .message.shown")
    assert "but the page is set to noisy, capacity 0" in page.inner_text("#message")
    assert steps(page) == 1


def test_a_saved_script_replays_byte_for_byte_and_can_be_loaded(page, tmp_path):
    press(page, "2")
    wait_for_steps(page, 1)
    once = wait_for_result(page)
    page.locator("#script .edit-more").first.click()
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


def test_a_file_that_is_no_script_shows_a_message(page, tmp_path):
    (tmp_path / "broken.json").write_text('{"format": 1, "script": 3}')
    page.set_input_files("#script-tools input[type=file]", tmp_path / "broken.json")
    expect(page.locator("#message")).to_contain_text(
        "This file is not a saved script. Choose one made with Save script."
    )
    assert steps(page) == 0
