"""Driving: a drive is immutable, undo leads back to the start, the simulator keeps step, limits hold."""

import dataclasses

import numpy as np
import pytest
import torch

import lawm_core as lawm
from app.cache import ByteCache
from app.driving import MAX_ROUNDS, MAX_SIMULATORS, MAX_STEPS, SHOWN_PLANS, Driver, Goal, Simulators
from app.pictures import pack_picture, unpack_picture
from lawm_core.models.controller import ControllerConfig
from tests.conftest import TINY_BLOCK, build_tiny_model, shake
from tests.toy_world import ToyWorld

TOY = ControllerConfig(names=("dx", "dy"), units=("m", "m"), limits=(1.0, 0.5), std=(0.5, 0.5), block=TINY_BLOCK)
LEFT, RIGHT = (-1.0, 0.0), (1.0, 0.0)


class Scene(ToyWorld):
    """The toy simulator, which counts how many are open."""

    opened = 0

    def __init__(self, *_):
        Scene.opened += 1

    def close(self):
        Scene.opened -= 1


@pytest.fixture
def driver():
    model = build_tiny_model(noise=0.0)
    model.add_robot("toy", TOY)
    model.add_robot("toy_action_only", dataclasses.replace(TOY, kind="action"))
    shake(model, 0.07)  # with more noise, rounding errors would grow from step to step
    driver = Driver(model.eval().requires_grad_(False), Simulators(Scene))
    yield driver
    driver.simulators.close()


def drive(driver, *actions, simulated=True):
    """Return a drive after some actions."""
    if simulated:
        made = driver.start_simulated("toy", 3, "noisy", 1.0)
    else:
        made = driver.start(torch.rand(3, 32, 32), "toy", "noisy", 1.0)
    for action in actions:
        made = driver.step(made, action)
    return made


def simulator_frame(made):
    """Return the simulator's frame at the model's picture size."""
    return lawm.enlarge(unpack_picture(made.simulator_frames[-1])[None], 32)[0]


def close(one, other, atol=1e-4):
    """Return whether two rollout states are equal up to rounding."""
    return torch.allclose(one.state_BND, other.state_BND, atol=atol)


def test_robots_whose_controllers_do_not_see_the_state_cannot_be_driven(driver):
    assert driver.robots == ("toy",)


def test_a_drive_equals_a_rollout_of_the_world_model(driver):
    driver.model.precision, frame_CHW = "float32", unpack_picture(pack_picture(torch.rand(3, 32, 32)))
    made = driver.start(frame_CHW, "toy", "noisy", 0.6)
    for action in (LEFT, RIGHT, LEFT):
        made = driver.step(made, action)
    state_11ND = driver.model.encode(frame_CHW[None, None])
    rollout = driver.model.at("noisy", 0.6).rollout(state_11ND, torch.stack(made.latent_actions)[None])
    assert torch.allclose(driver._rollout_state(made).state_BND, rollout.state_BUND[:, -1], atol=1e-4)
    assert len(made.frames) == 4 and len(made.latent_actions) == 3 and made.robot_actions == (LEFT, RIGHT, LEFT)


def test_a_step_does_not_change_the_drive_before_it(driver):
    before = drive(driver, LEFT, RIGHT)
    left, right, again = driver.step(before, LEFT), driver.step(before, RIGHT), driver.step(before, LEFT)
    assert left.frames[-1] == again.frames[-1] and left.simulator_frames[-1] == again.simulator_frames[-1]
    assert left.simulator_frames[-1] != right.simulator_frames[-1]


def test_undo_leads_back_to_the_start(driver):
    drives = [drive(driver)]
    for action in [LEFT, RIGHT] * 3:
        drives.append(driver.step(drives[-1], action))
    back = drives[-1]
    for before in reversed(drives[:-1]):
        back = driver.undo(back)
        assert back.robot_actions == before.robot_actions and back.simulator_frames == before.simulator_frames
        assert close(driver._rollout_state(back), driver._rollout_state(before), atol=0.02)
    assert driver.undo(back).robot_actions == ()
    assert driver.step(back, LEFT).simulator_frames[-1] == drives[1].simulator_frames[-1]


def test_cached_states_are_bounded_in_bytes_and_recomputed_if_they_are_missing(driver):
    actions = [LEFT, RIGHT, RIGHT, LEFT, RIGHT]
    torch.manual_seed(1)
    frame_CHW, ends = torch.rand(3, 32, 32), []
    for max_bytes in (10**9, 0):  # 0: nothing is ever cached
        driver.states = ByteCache(max_bytes)
        made = driver.start(frame_CHW, "toy", "noisy", 1.0)
        for action in actions:
            made = driver.step(made, action)
            assert driver.states.used_bytes <= max_bytes
        assert len(driver.states) == (len(actions) + 1 if max_bytes else 0)  # including the start
        ends.append(driver._rollout_state(made))
    assert close(*ends)
    assert [end.cache.frames for end in ends] == [len(actions)] * 2


def test_the_simulator_keeps_step(driver):
    made = drive(driver, RIGHT, RIGHT, LEFT)
    scene = Scene()
    frames = [scene.reset(3), *(scene.step(np.array(action)) for action in (RIGHT, RIGHT, LEFT))]
    assert list(made.simulator_frames) == [pack_picture(frame_CHW) for frame_CHW in frames]


def test_without_its_simulator_a_drive_continues_in_the_model(driver):
    made = drive(driver, LEFT)
    for seed in range(20):
        driver.start_simulated("toy", seed, "noisy", 1.0)
    assert Scene.opened <= MAX_SIMULATORS + 1
    made = driver.step(made, RIGHT)
    assert made.simulator is None and made.simulator_frames == () and len(made.frames) == 3


def test_the_least_recently_used_simulator_is_closed_first(driver):
    made = drive(driver)
    for seed in range(20):
        driver.start_simulated("toy", seed, "noisy", 1.0)
        made = driver.step(made, RIGHT if seed % 2 else LEFT)
    assert len(made.simulator_frames) == 21


def test_a_step_calls_the_controller_once(driver, monkeypatch):
    made, calls = drive(driver), []
    controller = driver.model.controllers["toy"]["noisy"]
    monkeypatch.setattr(controller, "forward", lambda *a, f=controller.forward: calls.append(1) or f(*a))
    driver.step(made, LEFT)
    assert len(calls) == 1


def test_actions_are_clamped_to_the_robots_limits_and_invalid_ones_raise(driver):
    made = drive(driver, (9.0, -9.0), simulated=False)
    assert made.robot_actions == ((1.0, -0.5),)
    for invalid in ((1.0,), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="2 numbers: dx, dy"):
            driver.step(made, invalid)


def test_a_drive_has_as_many_steps_as_a_script(driver):
    made = drive(driver, *[RIGHT] * MAX_STEPS, simulated=False)
    with pytest.raises(ValueError, match=f"at most {MAX_STEPS} steps"):
        driver.step(made, RIGHT)


def test_a_reset_replaces_the_models_prediction_and_nothing_else(driver):
    made = drive(driver, RIGHT, RIGHT, LEFT)
    state, reset = driver._rollout_state, driver.reset_to_simulator(made)
    assert reset.robot_actions == made.robot_actions and reset.simulator_frames == made.simulator_frames
    assert reset.frames[:-1] == made.frames[:-1]
    fresh = driver.start(unpack_picture(reset.frames[-1]), "toy", "noisy", 1.0)
    assert close(state(reset), state(fresh)) and not close(state(reset), state(made))
    assert driver.reset_to_simulator(reset) is reset
    later = driver.step(driver.step(reset, LEFT), RIGHT)
    assert later.simulator_frames[-2] == driver.step(made, LEFT).simulator_frames[-1]
    driver.states = ByteCache(driver.states.max_bytes)  # missing states are recomputed from the reset
    assert close(state(later), state(driver.step(driver.step(reset, LEFT), RIGHT)))
    back = driver.undo(driver.undo(later))
    assert back.resets == (3,) and close(state(back), state(reset))
    before = driver.undo(back)
    assert before.resets == () and before.frames == made.frames[:-1]


def test_a_goal_ahead_leaves_the_simulator_where_it_is_and_has_a_known_distance(driver):
    made = drive(driver, RIGHT)
    goal = driver.goal_ahead(made)
    assert goal.frame_CHW.shape == (3, 32, 32)
    scene = Scene()
    scene.reset(3)
    scene.step(np.array(RIGHT))
    x, y = goal.pose - scene.pose()
    away = driver.distance(made, goal)
    assert away.metres == pytest.approx(np.hypot(x, y)) and away.metres > 0 and away.radians is None
    here = dataclasses.replace(goal, pose=scene.pose(), packed=pack_picture(simulator_frame(made)))
    near = driver.distance(made, here)
    assert near.metres == 0 and near.state < 1e-3 < 0.1 * away.state
    assert driver.distance(drive(driver, simulated=False), goal).metres is None
    assert driver.step(made, LEFT).simulator_frames[-1] == drive(driver, RIGHT, LEFT).simulator_frames[-1]
    with pytest.raises(ValueError, match="no simulated scene"):
        driver.goal_ahead(drive(driver, RIGHT, simulated=False))


def test_a_search_yields_every_round_and_its_plan_leads_where_it_was_predicted_to(driver):
    made = drive(driver, simulated=False)
    goal = Goal(packed=pack_picture(torch.rand(3, 32, 32)), description="noise")
    rounds = list(driver.plan(made, goal, seconds=1e9))
    plan, frames = rounds[-1].plan, rounds[-1].end_frames
    assert [len(one.plan.cost_I) for one in rounds] == list(range(1, MAX_ROUNDS + 1))
    assert [one.seconds_left > 0 for one in rounds] == [True] * (MAX_ROUNDS - 1) + [False]
    assert {one.rounds for one in rounds} == {MAX_ROUNDS}
    (only,) = driver.plan(made, goal, seconds=0)  # there is always a plan
    assert only.rounds == 1 and only.seconds_left == 0
    assert plan.action_KR.shape == (8, 2) and (plan.action_KR.abs() <= torch.tensor([1.0, 0.5])).all()
    assert len(frames) == SHOWN_PLANS and frames[0].shape == (3, 32, 32)
    for action_R in plan.action_KR.tolist():
        made = driver.step(made, action_R)
    assert torch.allclose(unpack_picture(made.frames[-1]), frames[0], atol=0.05)


def test_a_long_drive_takes_a_predicted_frame_as_its_new_reference_and_undo_restores_the_old_one():
    model = build_tiny_model(noise=0.05, picture_size=64)
    model.add_robot("toy", TOY)
    with torch.no_grad():  # after a few steps, nothing is visible in the reference
        model.families["noisy"].world_model.local_motion[-1].bias[-1] = -4.2
    driver = Driver(model)
    made = driver.start(torch.rand(3, 64, 64), "toy", "noisy", 1.0)
    for _ in range(4):
        made = driver.step(made, LEFT)
    assert len(made.references) == len(made.frames) == 5 and made.references[-1] > 0
    assert all(reference <= number for number, reference in enumerate(made.references))
    back = driver.undo(driver.undo(made))
    assert back.references == made.references[:3]
    assert driver.step(driver.step(back, LEFT), LEFT).frames[-1] == made.frames[-1]
    kept = driver._rollout_state(made)
    driver.states = ByteCache(driver.states.max_bytes)
    again = driver._rollout_state(made)
    torch.testing.assert_close(again.state_BND, kept.state_BND, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.carry.flow_X2HW, kept.carry.flow_X2HW, atol=1e-5, rtol=0)
