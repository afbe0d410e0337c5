"""Driving and planning by hand: keys, undo, a goal, a plan, a plan that is cancelled, and a script of it all."""

import re

import imageio.v3 as imageio
import numpy as np
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def open_drive(open_page):
    """The page in a robot's simulated scene."""

    def begin(robot: str):
        page = open_page()
        page.get_by_role("tab", name="Drive and plan").click()
        page.locator(f"#robot input[value={robot}]").check()
        page.click("#begin-drive")
        page.wait_for_selector("#drive [data-drive]")
        return page

    return begin


def steps(page) -> int:
    return int(page.get_attribute("#drive .drive", "data-steps"))


def wait_for_steps(page, count: int) -> None:
    page.wait_for_function(f"Number(document.querySelector('#drive .drive').dataset.steps) === {count}")


def settled(page) -> int:
    """The steps, once the answers that were under way have come."""
    before, now = -1, steps(page)
    while before != now:
        page.wait_for_timeout(1000)
        before, now = now, steps(page)
    return now


def drive(page, key: str, times: int) -> None:
    """So many taps, each after the answer to the last."""
    page.focus("#drive .drive")
    for _ in range(times):
        before = steps(page)
        page.keyboard.press(key)
        wait_for_steps(page, before + 1)


def picture(page, lane: str) -> str:
    return page.evaluate(f"document.querySelector('#drive [data-lane={lane}] canvas').toDataURL()")


def spread(page, selector: str) -> list[float]:
    """How much the pixels of each picture differ: of a black one, not at all."""
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


def test_ten_steps_with_keys_and_back(open_drive):
    page = open_drive("rover")
    first = picture(page, "truth")
    drive(page, "ArrowUp", 6)
    drive(page, "ArrowLeft", 4)
    expect(page.locator(".drive-count")).to_contain_text("10 of 64 steps")
    assert picture(page, "truth") != first
    for count in range(9, -1, -1):
        page.keyboard.press("Backspace")
        wait_for_steps(page, count)
    expect(page.locator("#drive .drive-undo")).to_be_disabled()
    assert picture(page, "truth") == first


def test_keys_drive_right_after_begin_and_back_waits_for_the_step_before_it(open_drive):
    page = open_drive("arm")
    page.keyboard.press("w")
    wait_for_steps(page, 1)
    page.evaluate(
        """() => {
          const tell = (type, key, repeat) =>
            document.activeElement.dispatchEvent(new KeyboardEvent(type, { key, repeat, bubbles: true }));
          tell("keydown", "w", false);
          tell("keydown", "Backspace", false);
          for (let i = 0; i < 10; i += 1) tell("keydown", "Backspace", true); // a held one waits for answers
          tell("keyup", "w", false);
        }"""
    )
    wait_for_steps(page, 2)
    wait_for_steps(page, 1)
    assert settled(page) == 1


def test_a_held_key_goes_on_until_it_is_let_go(open_drive):
    page = open_drive("arm")
    page.focus("#drive .drive")
    page.keyboard.down("w")
    page.wait_for_function("Number(document.querySelector('#drive .drive').dataset.steps) >= 5")
    page.keyboard.up("w")
    stood = settled(page)
    assert stood < 64  # it stopped because the key went up, not because a drive ends there
    page.get_by_role("button", name="open", exact=False).first.press("Enter")
    wait_for_steps(page, stood + 1)


def plan(page) -> None:
    """A short search, to its end."""
    page.fill("#plan-seconds input[type=number]", "2")
    page.press("#plan-seconds input[type=number]", "Tab")
    page.click("#run-plan")
    expect(page.locator("#plan .plan-said")).to_contain_text("Search finished")


def test_a_plan_to_a_goal_and_doing_it(open_drive):
    page = open_drive("arm")
    expect(page.locator("#run-plan")).to_be_disabled()
    page.click("#take-goal")
    expect(page.locator("#plan .plan-goal-picture")).to_have_attribute("src", re.compile("^data:image"))
    assert min(spread(page, "#plan .plan-goal-picture")) > 10
    expect(page.locator("#plan .plan-said")).to_contain_text(re.compile(r"\d\.\d\d m from here"))
    expect(page.locator("#plan .plan-end")).to_be_hidden()  # no picture where there is no plan yet
    plan(page)
    assert page.locator("#plan .plan-ends img").count() == 5 and page.locator("#plan .plan-steps tr").count() == 4
    assert min(spread(page, "#plan .plan-ends img")) > 10
    expect(page.locator("#do-plan")).to_be_enabled()
    page.click("#do-plan")
    wait_for_steps(page, 3)
    reached = page.locator("#plan .plan-reached")
    expect(reached).to_contain_text(re.compile(r"came to \d\.\d\d m from the goal \(\d\.\d\d m at the start\)"))
    page.click("#take-goal")  # what belongs to the old goal goes with it
    expect(reached).to_have_text("")
    expect(page.locator("#plan .plan-end")).to_be_hidden()


def test_a_picture_of_ones_own_is_a_goal(open_drive, tmp_path):
    page = open_drive("rover")
    colours = np.zeros((60, 90, 3), dtype=np.uint8)
    colours[:, :, 0] = 255
    imageio.imwrite(tmp_path / "red <b>wall.png", colours)
    (tmp_path / "words.png").write_text("no picture")
    page.set_input_files("#goal-tools input[type=file]", tmp_path / "words.png")
    expect(page.locator("#message")).to_contain_text("words.png is not a readable picture")
    page.set_input_files("#goal-tools input[type=file]", tmp_path / "red <b>wall.png")
    expect(page.locator("#plan .plan-said")).to_contain_text("wall.png")
    assert min(spread(page, "#plan .plan-goal-picture")) > 100  # one channel full, two empty
    expect(page.locator("#run-plan")).to_be_enabled()


def test_a_plan_can_be_cancelled_and_the_page_goes_on(open_drive):
    page = open_drive("rover")
    page.click("#take-goal")
    expect(page.locator("#run-plan")).to_be_enabled()
    drive(page, "ArrowUp", 1)
    page.click("#run-plan")
    tracker = page.locator("#plan [role=progressbar]")
    expect(tracker).to_have_attribute("aria-label", re.compile(r"Round 1, about \d+ s left"))  # before any round ended
    page.click("#cancel-plan")
    expect(page.locator("#cancel-plan")).to_be_hidden()
    expect(page.locator(".chip")).to_contain_text("Cancelled")
    drive(page, "ArrowUp", 1)
    assert steps(page) == 2  # planning takes nothing away from the drive
    plan(page)
    assert steps(page) == 2


def test_a_drive_opens_as_a_script(open_drive):
    page = open_drive("rover")
    drive(page, "ArrowUp", 3)
    page.click("#record-drive")
    expect(page.locator("#pane-compose")).to_be_visible()
    expect(page.locator("#script .script-step")).to_have_count(3)
    page.wait_for_selector("#script-lanes [data-result]")  # and it plays
    expect(page.locator("#script .script-step").first).to_contain_text("rover, step 1")


def test_a_drive_may_begin_in_the_targets_first_frame(open_drive):
    page = open_drive("rover")
    page.get_by_label("the target's first frame").check()
    page.click("#begin-drive")
    expect(page.locator("#drive [data-lane=truth]")).to_be_hidden()
    drive(page, "ArrowUp", 2)
    page.click("#take-goal")
    expect(page.locator("#message")).to_contain_text("no simulated scene")
