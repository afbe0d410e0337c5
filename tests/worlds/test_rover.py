"""The rover's poses follow from its actions exactly, and its picture follows from its pose."""

import math

import numpy as np
import pytest
import torch

from lawm_core.worlds.rover import RoverConfig, RoverWorld, moved, relative


@pytest.fixture
def world():
    world = RoverWorld(RoverConfig(frame_size=32))
    yield world
    world.close()


def test_poses_integrate_exactly():
    pose = np.array((1.0, -2.0, 0.3))
    for _ in range(8):  # an octagon closes
        pose = moved(pose, np.array((0.4, 0.0, math.pi / 4)))
    assert np.allclose(pose, (1.0, -2.0, 0.3 + 2 * math.pi), atol=1e-12)
    assert np.allclose(moved(np.array((0, 0, math.pi / 2)), np.array((1.0, 0.25, 0))), (-0.25, 1.0, math.pi / 2))


def test_relative_undoes_moved():
    rng = np.random.default_rng(1)
    for _ in range(50):
        pose, action = rng.normal(size=3) * 3, rng.normal(size=3)
        assert np.allclose(relative(pose, moved(pose, action)), action, atol=1e-12)


def test_the_world_does_what_it_is_told_up_to_its_limits(world):
    world.reset(4)
    before = world.pose()
    world.step(np.array((0.2, -0.1, 0.05)))
    assert np.allclose(world.action_between(before, world.pose()), (0.2, -0.1, 0.05))
    before = world.pose()
    world.step(np.array((9.0, 0.0, -9.0)))
    assert np.allclose(world.action_between(before, world.pose()), (0.4, 0.0, -0.25))


def test_pictures_follow_from_poses(world):
    first = world.reset(7)
    moment = world.save()
    turned = world.step(np.array((0, 0, 0.25)))
    world.restore(moment)
    again = world.step(np.zeros(3))
    assert torch.equal(first, again) and (first - turned).abs().mean() > 0.01


def test_a_turn_to_the_left_moves_the_picture_to_the_right(world):
    """By a known part of its width: the tangent of the angle over that of half the field of view."""
    first = world.reset(11)
    view = math.radians(world.stage.model.cam_fovy[0])
    shift = round(16 * math.tan(0.2) / math.tan(view / 2))
    turned = world.step(np.array((0, 0, 0.2)))
    right = (turned[..., shift:] - first[..., :-shift]).abs().mean()
    left = (turned[..., :-shift] - first[..., shift:]).abs().mean()
    assert right < 0.6 * left


def test_demonstrations_drive_and_stay_clear(world):
    ways = []
    for seed in range(5):
        world.reset(seed)
        start = world.pose()
        for action in world.demonstrate(24):
            world.step(action)
            apart = np.hypot(*(world.thing_X3[:, :2] - world.pose()[:2]).T) - world.thing_X3[:, 2]
            assert apart.min() > 0.1
        ways.append(np.hypot(*(world.pose() - start)[:2]))
    assert np.median(ways) > 0.5
