"""Laws of driving: a drive is a value, undo goes all the way back, the simulator keeps step, limits hold."""

import dataclasses

import numpy as np
import pytest
import torch

import lawm_core as lawm
from app.cache import ByteCache
from app.driving import MOST_STEPS, ROUNDS, SHOWN_ENDS, WORLDS_OPEN, DrivingSchool, Goal, Simulators
from app.pictures import pack_picture, unpack_picture
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from tests.conftest import TINY_BLOCK, shake, tiny_config
from tests.models.test_flow_world_model import build
from tests.worlds.test_lerobot import ToyWorld

TOY = ControllerConfig(names=("dx", "dy"), units=("m", "m"), limits=(1.0, 0.5), spread=(0.5, 0.5), block=TINY_BLOCK)
LEFT, RIGHT = (-1.0, 0.0), (1.0, 0.0)


class Scene(ToyWorld):
    """The toy, whose moments can be kept."""

    opened = 0

    def __init__(self, *_):
        Scene.opened += 1

    def save(self):
        return self.at.copy()

    def restore(self, moment):
        self.at = moment.copy()

    def close(self):
        Scene.opened -= 1


@pytest.fixture
def school():
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config()).eval().requires_grad_(False)
    model.add_robot("toy", TOY)
    model.add_robot("toy_action_only", dataclasses.replace(TOY, kind="action"))
    shake(model, 0.07)  # more is chaotic: rounding would grow from step to step
    school = DrivingSchool(model.eval(), Simulators(Scene))
    yield school
    school.simulators.close()


def drive(school, *told, world=True):
    made = (
        school.begin_simulated("toy", 3, "noisy", 1.0)
        if world
        else school.begin(torch.rand(3, 32, 32), "toy", "noisy", 1.0)
    )
    for action in told:
        made = school.step(made, action)
    return made


def truth(made):
    """What the simulator shows, at the drawing size."""
    return lawm.enlarge(unpack_picture(made.truth[-1])[None], 32)[0]


def same(one, other, atol=1e-4):
    """Whether two moments are one; encoding a picture again rounds otherwise."""
    return torch.allclose(one.state_BND, other.state_BND, atol=atol)


def test_only_robots_that_see_are_offered(school):
    assert school.robots == ("toy",)


def test_a_drive_is_what_the_world_model_foretells(school):
    school.model.precision, frame_CHW = "float32", unpack_picture(pack_picture(torch.rand(3, 32, 32)))
    made = school.begin(frame_CHW, "toy", "noisy", 0.6)
    for action in (LEFT, RIGHT, LEFT):
        made = school.step(made, action)
    model = school.model
    state_11ND = model.encode(frame_CHW[None, None])
    future_1UND = model.rollout(state_11ND, torch.stack(made.latent)[None], "noisy", 0.6).state_BUND
    assert torch.allclose(school._present(made).state_BND, future_1UND[:, -1], atol=1e-4)
    assert len(made.frames) == 4 and len(made.latent) == 3 and made.told == (LEFT, RIGHT, LEFT)


def test_a_step_leaves_the_drive_before_it_as_it_was(school):
    once = drive(school, LEFT, RIGHT)
    left, right = school.step(once, LEFT), school.step(once, RIGHT)
    again = school.step(once, LEFT)
    assert (left.frames[-1] == again.frames[-1]) and (left.truth[-1] == again.truth[-1])
    assert not (left.truth[-1] == right.truth[-1])


def test_undo_goes_back_all_the_way(school):
    steps = [LEFT, RIGHT] * 3
    on_the_way = [drive(school)]
    for action in steps:
        on_the_way.append(school.step(on_the_way[-1], action))
    back = on_the_way[-1]
    for before in reversed(on_the_way[:-1]):
        back = school.undo(back)
        assert back.told == before.told and len(back.truth) == len(before.truth)
        assert torch.allclose(school._present(back).state_BND, school._present(before).state_BND, atol=0.02)
    assert school.undo(back).told == ()
    assert school.step(back, LEFT).truth[-1] == on_the_way[1].truth[-1]


def test_moments_are_bounded_in_bytes_and_driven_again_where_forgotten(school):
    steps = [LEFT, RIGHT, RIGHT, LEFT, RIGHT]
    remembered = school._present(drive(school, *steps, world=False))
    torch.manual_seed(1)
    frame_CHW, ends = torch.rand(3, 32, 32), []
    for most in (10**9, 0):  # nothing is ever kept
        school.presents = ByteCache(most)
        made = school.begin(frame_CHW, "toy", "noisy", 1.0)
        for action in steps:
            made = school.step(made, action)
            assert school.presents.used_bytes <= most
        assert len(school.presents) == (len(steps) + 1 if most else 0)  # and the start
        ends.append(school._present(made))
    assert same(*ends)
    assert ends[0].past.frames == remembered.past.frames == len(steps)


def test_the_simulator_keeps_step(school):
    made = drive(school, RIGHT, RIGHT, LEFT)
    world = Scene()
    frames = [world.reset(3), *(world.step(torch.tensor(a).numpy()) for a in (RIGHT, RIGHT, LEFT))]
    assert all(a == pack_picture(b) for a, b in zip(made.truth, frames, strict=True))


def test_a_world_that_is_gone_leaves_the_model_driving(school):
    made = drive(school, LEFT)
    for seed in range(20):
        school.begin_simulated("toy", seed, "noisy", 1.0)
    assert Scene.opened <= WORLDS_OPEN + 1
    made = school.step(made, RIGHT)
    assert made.world is None and made.truth == () and len(made.frames) == 3


def test_the_longest_unused_world_goes_first(school):
    """A drive that goes on keeps its scene, however many others begin."""
    made = drive(school)
    for seed in range(20):
        school.begin_simulated("toy", seed, "noisy", 1.0)
        made = school.step(made, RIGHT if seed % 2 else LEFT)
    assert len(made.truth) == 21


def test_a_controller_is_asked_once_a_step(school, monkeypatch):
    made, asked = drive(school), []
    controller = school.model.controllers["toy"]["noisy"]
    monkeypatch.setattr(controller, "forward", lambda *a, f=controller.forward: asked.append(1) or f(*a))
    school.step(made, LEFT)
    assert len(asked) == 1


def test_actions_are_cut_to_the_robots_limits_and_nonsense_is_named(school):
    made = drive(school, (9.0, -9.0), world=False)
    assert made.told == ((1.0, -0.5),)
    for told in ((1.0,), (float("nan"), 0.0)):
        with pytest.raises(ValueError, match="2 numbers: dx, dy"):
            school.step(made, told)


def test_a_drive_ends_where_a_script_would(school):
    made = drive(school, *[RIGHT] * MOST_STEPS, world=False)
    with pytest.raises(ValueError, match=f"at most {MOST_STEPS} steps"):
        school.step(made, RIGHT)


def test_a_look_replaces_the_models_prediction_and_keeps_the_drive(school):
    made = drive(school, RIGHT, RIGHT, LEFT)
    seen = school.look(made)
    assert seen.told == made.told and seen.truth == made.truth and seen.frames[:-1] == made.frames[:-1]
    fresh = school.begin(unpack_picture(seen.frames[-1]), "toy", "noisy", 1.0)
    assert same(school._present(seen), school._present(fresh))
    assert not same(school._present(seen), school._present(made))
    assert school.look(seen) is seen  # there is nothing new to see
    on = school.step(school.step(seen, LEFT), RIGHT)
    assert on.truth[-2] == school.step(made, LEFT).truth[-1]
    school.presents = ByteCache(school.presents.max_bytes)  # what is forgotten is driven again from the look
    assert same(school._present(on), school._present(school.step(school.step(seen, LEFT), RIGHT)))
    back = school.undo(school.undo(on))
    assert back.looks == (3,) and same(school._present(back), school._present(seen))
    before = school.undo(back)
    assert before.looks == () and before.frames == made.frames[:-1]


def test_looking_ahead_moves_nothing_and_knows_how_far_it_is(school):
    made = drive(school, RIGHT)
    goal = school.look_ahead(made)
    assert goal.frame_CHW.shape == (3, 32, 32)
    away = school.distance(made, goal)
    x, y = goal.pose_K - (Scene.reset(world := Scene(), 3), world.step(np.array(RIGHT)), world.pose())[-1]
    assert away.metres == pytest.approx(np.hypot(x, y)) and away.metres > 0 and away.radians is None
    there = dataclasses.replace(goal, pose_K=goal.pose_K - np.array((x, y)), packed=pack_picture(truth(made)))
    near = school.distance(made, there)
    assert near.metres == 0 and near.picture < 1e-3 < 0.1 * away.picture
    assert school.distance(drive(school, world=False), goal).metres is None
    assert school.step(made, LEFT).truth[-1] == drive(school, RIGHT, LEFT).truth[-1]
    with pytest.raises(ValueError, match="no simulated scene"):
        school.look_ahead(drive(school, RIGHT, world=False))


def test_a_plan_comes_round_by_round_and_within_limits(school):
    made = drive(school, world=False)
    goal = Goal(packed=pack_picture(torch.rand(3, 32, 32)), about="noise")
    rounds = list(school.plan(made, goal, seconds=1e9))
    found, ends = rounds[-1].plan, rounds[-1].ends
    assert [len(one.plan.cost_I) for one in rounds] == list(range(1, ROUNDS + 1))
    assert [one.seconds_left > 0 for one in rounds] == [True] * (ROUNDS - 1) + [False]
    assert len(list(school.plan(made, goal, seconds=0))) == 1  # there is always a plan
    assert found.action_HK.shape == (8, 2) and (found.action_HK.abs() <= torch.tensor([1.0, 0.5])).all()
    assert len(ends) == SHOWN_ENDS and ends[0].shape == (3, 32, 32)
    for told_K in found.action_HK.tolist():
        made = school.step(made, told_K)
    assert torch.allclose(
        unpack_picture(made.frames[-1]), ends[0], atol=0.05
    )  # what was planned is what is then driven


def test_a_long_drive_takes_a_drawn_frame_as_its_new_reference_and_can_be_taken_back():
    model = build()
    model.add_robot("toy", TOY)
    world_model = model.member("noisy").world_model
    with torch.no_grad():  # everything is hidden by and by
        world_model.local_motion[-1].bias[-1] = -4.2
    school, action = DrivingSchool(model), LEFT
    made = school.begin(torch.rand(3, 64, 64), "toy", "noisy", 1.0)
    for _ in range(4):
        made = school.step(made, action)
    assert len(made.references) == len(made.frames) == 5 and made.references[-1] > 0
    assert all(reference <= number for number, reference in enumerate(made.references))
    kept = school._present(made)
    school.presents = ByteCache(school.presents.max_bytes)
    again = school._present(made)
    torch.testing.assert_close(again.state_BND, kept.state_BND, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.carry.flow_X2HW, kept.carry.flow_X2HW, atol=1e-5, rtol=0)
    back = school.undo(school.undo(made))
    assert back.references == made.references[:3]
    assert school.step(school.step(back, action), action).frames[-1] == made.frames[-1]
