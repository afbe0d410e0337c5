"""The rover's poses follow from its actions exactly, and its frames from its poses."""

import math

import numpy as np
import pytest
import torch

from lawm_core.simulation.rover import RoverConfig, RoverSimulator, next_pose, relative_action


@pytest.fixture
def simulator():
    simulator = RoverSimulator(RoverConfig(frame_size=32))
    yield simulator
    simulator.close()


def test_poses_integrate_exactly():
    pose = np.array((1.0, -2.0, 0.3))
    for _ in range(8):  # an octagon closes
        pose = next_pose(pose, np.array((0.4, 0.0, math.pi / 4)))
    assert np.allclose(pose, (1.0, -2.0, 0.3 + 2 * math.pi), atol=1e-12)
    assert np.allclose(next_pose(np.array((0, 0, math.pi / 2)), np.array((1.0, 0.25, 0))), (-0.25, 1.0, math.pi / 2))


def test_relative_action_inverts_next_pose():
    rng = np.random.default_rng(1)
    for _ in range(50):
        pose, action = rng.normal(size=3) * 3, rng.normal(size=3)
        assert np.allclose(relative_action(pose, next_pose(pose, action)), action, atol=1e-12)


def test_actions_are_executed_within_their_limits(simulator):
    simulator.reset(4)
    before = simulator.pose()
    simulator.step(np.array((0.2, -0.1, 0.05)))
    assert np.allclose(simulator.action_between(before, simulator.pose()), (0.2, -0.1, 0.05))
    before = simulator.pose()
    simulator.step(np.array((9.0, 0.0, -9.0)))
    assert np.allclose(simulator.action_between(before, simulator.pose()), (0.4, 0.0, -0.25))


def test_frames_depend_on_the_pose_only(simulator):
    first = simulator.reset(7)
    saved_state = simulator.save()
    turned = simulator.step(np.array((0, 0, 0.25)))
    simulator.restore(saved_state)
    again = simulator.step(np.zeros(3))
    assert torch.equal(first, again) and (first - turned).abs().mean() > 0.01


def test_left_turn_moves_the_image_to_the_right(simulator):
    """By tan(angle) / tan(field of view / 2) of half its width."""
    first = simulator.reset(11)
    field_of_view = math.radians(simulator.scene.model.cam_fovy[0])
    shift = round(16 * math.tan(0.2) / math.tan(field_of_view / 2))
    turned = simulator.step(np.array((0, 0, 0.2)))
    right = (turned[..., shift:] - first[..., :-shift]).abs().mean()
    left = (turned[..., :-shift] - first[..., shift:]).abs().mean()
    assert right < 0.6 * left


def test_demonstrations_travel_and_avoid_obstacles(simulator):
    distances = []
    for seed in range(5):
        simulator.reset(seed)
        start = simulator.pose()
        for action in simulator.demonstrate(24):
            simulator.step(action)
            offset_X2 = simulator.obstacle_X3[:, :2] - simulator.pose()[:2]
            assert (np.hypot(*offset_X2.T) - simulator.obstacle_X3[:, 2]).min() > 0.1
        distances.append(np.hypot(*(simulator.pose() - start)[:2]))
    assert np.median(distances) > 0.5
