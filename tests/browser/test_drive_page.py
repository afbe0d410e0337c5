"""The tab `Drive and plan` in a browser: keys, undo, goals, plans, cancelled searches, and a script of a drive."""

import re

import imageio.v3 as imageio
import numpy as np
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def open_drive(open_page):
    """A function that opens the page and starts a drive of a robot in a simulated scene."""

    def start(robot: str):
        page = open_page()
        page.get_by_role("tab", name="Drive and plan").click()
        page.locator(f"#robot input[value={robot}]").check()
        page.click("#start-drive")
        page.wait_for_selector("#drive [data-drive]")
        return page

    return start


def steps(page) -> int:
    return int(page.get_attribute("#drive .drive", "data-steps"))


def wait_for_steps(page, count: int) -> None:
    page.wait_for_function(f"Number(document.querySelector('#drive .drive').dataset.steps) === {count}")


def final_steps(page) -> int:
    """Return the number of steps once it no longer changes."""
    before, now = -1, steps(page)
    while before != now:
        page.wait_for_timeout(1000)
        before, now = now, steps(page)
    return now


def drive(page, key: str, times: int) -> None:
    """Press a key several times, each time after the response to the last."""
    page.focus("#drive .drive")
    for _ in range(times):
        before = steps(page)
        page.keyboard.press(key)
        wait_for_steps(page, before + 1)


def picture(page, panel: str) -> str:
    return page.evaluate(f"document.querySelector('#drive [data-panel={panel}] canvas').toDataURL()")


def pixel_std(page, selector: str) -> list[float]:
    """Return the standard deviation of the pixels of each picture; 0 for a black one."""
    return page.evaluate(
        """async (selector) => Promise.all([...document.querySelectorAll(selector)].map(async (picture) => {
          await picture.decode();
          const canvas = new OffscreenCanvas(16, 16).getContext("2d");
          canvas.drawImage(picture, 0, 0, 16, 16);
          const level = canvas.getImageData(0, 0, 16, 16).data.filter((_, i) => i % 4 < 3);
          const mean = level.reduce((sum, one) => sum + one, 0) / level.length;
          return Math.sqrt(level.reduce((sum, one) => sum + (one - mean) ** 2, 0) / level.length);
        }))""",
        selector,
    )


def test_ten_steps_and_undo(open_drive):
    page = open_drive("rover")
    first = picture(page, "simulator")
    drive(page, "ArrowUp", 6)
    drive(page, "ArrowLeft", 4)
    expect(page.locator(".drive-count")).to_contain_text("10 of 64 steps")
    assert picture(page, "simulator") != first
    for count in range(9, -1, -1):
        page.keyboard.press("Backspace")
        wait_for_steps(page, count)
    expect(page.locator("#drive .drive-undo")).to_be_disabled()
    assert picture(page, "simulator") == first


def test_every_control_has_a_button_with_its_key(open_drive):
    page = open_drive("rover")
    labels = [label.split("\n")[-1] for label in page.locator(".drive-controls button").all_inner_texts()]
    assert [re.sub(r"^[↑↓←→A-Z]\s*", "", label) for label in labels] == [
        "forward", "backward", "turn left", "turn right", "strafe left", "strafe right",
    ]  # fmt: skip


def test_keys_drive_right_after_the_start_and_an_undo_follows_the_step_before_it(open_drive):
    page = open_drive("arm")
    page.keyboard.press("w")
    wait_for_steps(page, 1)
    page.evaluate(
        """() => {
          const send = (type, key, repeat) =>
            document.activeElement.dispatchEvent(new KeyboardEvent(type, { key, repeat, bubbles: true }));
          send("keydown", "w", false);
          send("keydown", "Backspace", false);
          for (let i = 0; i < 10; i += 1) send("keydown", "Backspace", true); // a held key waits for responses
          send("keyup", "w", false);
        }"""
    )
    wait_for_steps(page, 2)
    wait_for_steps(page, 1)
    assert final_steps(page) == 1


def test_a_held_key_drives_until_it_is_released(open_drive):
    page = open_drive("arm")
    page.focus("#drive .drive")
    page.keyboard.down("w")
    page.wait_for_function("Number(document.querySelector('#drive .drive').dataset.steps) >= 5")
    page.keyboard.up("w")
    stopped = final_steps(page)
    assert stopped < 64  # it stopped because the key was released, not because the drive has no more steps
    page.get_by_role("button", name="open gripper").press("Enter")
    wait_for_steps(page, stopped + 1)


def test_the_model_is_reset_to_the_simulators_view(open_drive):
    page = open_drive("rover")
    drive(page, "ArrowUp", 2)
    before = picture(page, "model")
    page.get_by_role("button", name="Reset model to the simulator's view").click()
    page.wait_for_function(
        "old => document.querySelector('#drive [data-panel=model] canvas').toDataURL() !== old", arg=before
    )
    assert steps(page) == 2


def plan(page) -> None:
    """Search a plan for two seconds."""
    page.fill("#plan-seconds input[type=number]", "2")
    page.press("#plan-seconds input[type=number]", "Tab")
    page.click("#search-plan")
    expect(page.locator("#plan .plan-text")).to_contain_text("Search finished")


def use_goal_with_contrast(page) -> None:
    """Use a goal of the simulated scene; start again in other scenes until its picture has contrast."""
    for _ in range(20):
        page.click("#use-goal")
        expect(page.locator("#plan .plan-goal-picture")).to_have_attribute("src", re.compile("^data:image"))
        if min(pixel_std(page, "#plan .plan-goal-picture")) > 10:
            return
        old = page.get_attribute("#drive .drive", "data-drive")
        page.click("#start-drive")
        page.wait_for_function("old => document.querySelector('#drive .drive').dataset.drive !== old", arg=old)
    pytest.fail("no goal picture has contrast")


def test_a_plan_is_searched_and_run(open_drive):
    page = open_drive("arm")
    expect(page.locator("#search-plan")).to_be_disabled()
    use_goal_with_contrast(page)
    expect(page.locator("#plan .plan-text")).to_contain_text(re.compile(r"\d\.\d\d m away"))
    expect(page.locator("#plan .plan-end")).to_be_hidden()  # there is no plan yet
    plan(page)
    expect(page.locator("#plan .plan-text")).to_contain_text("(lower is closer)")
    assert page.locator("#plan .plan-ends img").count() == 5 and page.locator("#plan .plan-steps tr").count() == 4
    assert min(pixel_std(page, "#plan .plan-ends img")) > 10
    page.get_by_role("button", name="Run the plan").click()
    wait_for_steps(page, 3)
    reached = page.locator("#plan .plan-reached")
    expect(reached).to_contain_text(re.compile(r"Distance from the goal: \d\.\d\d m \(\d\.\d\d m at the start\)"))
    page.click("#use-goal")  # a new goal clears what belongs to the old one
    expect(reached).to_have_text("")
    expect(page.locator("#plan .plan-end")).to_be_hidden()


def test_an_uploaded_picture_is_a_goal(open_drive, tmp_path):
    page = open_drive("rover")
    red = np.zeros((60, 90, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    imageio.imwrite(tmp_path / "red <b>wall.png", red)
    (tmp_path / "words.png").write_text("no picture")
    page.set_input_files("#goal-tools input[type=file]", tmp_path / "words.png")
    expect(page.locator("#message")).to_contain_text("words.png")
    page.set_input_files("#goal-tools input[type=file]", tmp_path / "red <b>wall.png")
    expect(page.locator("#plan .plan-text")).to_contain_text("wall.png")
    assert min(pixel_std(page, "#plan .plan-goal-picture")) > 100  # one channel is full, two are empty
    expect(page.locator("#search-plan")).to_be_enabled()


def test_a_search_can_be_cancelled_and_the_drive_stays(open_drive):
    page = open_drive("rover")
    page.click("#use-goal")
    expect(page.locator("#search-plan")).to_be_enabled()
    drive(page, "ArrowUp", 1)
    page.click("#search-plan")
    progress = page.locator("#plan [role=progressbar]")
    expect(progress).to_have_attribute("aria-label", re.compile(r"Round 1, about \d+ s left"))  # during the first round
    page.click("#cancel-plan")
    expect(page.locator("#cancel-plan")).to_be_hidden()
    expect(page.locator(".notice")).to_contain_text("Cancelled")
    drive(page, "ArrowUp", 1)
    assert steps(page) == 2
    plan(page)
    assert steps(page) == 2


def test_a_drive_opens_as_a_script(open_drive):
    page = open_drive("rover")
    drive(page, "ArrowUp", 3)
    page.click("#drive-to-script")
    expect(page.locator("#pane-compose")).to_be_visible()
    expect(page.locator("#script .script-step")).to_have_count(3)
    page.wait_for_selector("#script-panels [data-result]")
    expect(page.locator("#script .script-step").first).to_contain_text("rover, step 1")


def test_a_drive_can_start_from_the_target(open_drive):
    page = open_drive("rover")
    page.get_by_label("first frame of the target").check()
    page.click("#start-drive")
    expect(page.locator("#drive [data-panel=simulator]")).to_be_hidden()
    drive(page, "ArrowUp", 2)
    page.click("#use-goal")
    expect(page.locator("#message")).to_contain_text("This drive has no simulated scene. Choose another goal.")
