"""The arm goes where it is told, as far as it reaches; scenes differ by seed and repeat for the same one."""

import numpy as np
import pytest
import torch

from lawm_core.worlds.arm import (
    FORE,
    GAP,
    HAND,
    HIGH,
    LOW,
    SHOULDER,
    UPPER,
    ArmConfig,
    ArmWorld,
    joint_angles,
    within_reach,
)


@pytest.fixture
def world():
    world = ArmWorld(ArmConfig(frame_size=32))
    yield world
    world.close()


def tip_of(angles):
    """Forward kinematics, by hand."""
    turret, shoulder, elbow, wrist = angles
    out = UPPER * np.sin(shoulder) + FORE * np.sin(shoulder + elbow) + HAND * np.sin(shoulder + elbow + wrist)
    up = SHOULDER + UPPER * np.cos(shoulder) + FORE * np.cos(shoulder + elbow) + HAND * np.cos(shoulder + elbow + wrist)
    return np.array((out * np.cos(turret), out * np.sin(turret), up))


def test_joint_angles_lead_the_tip_to_every_place_in_reach():
    rng = np.random.default_rng(0)
    for _ in range(200):
        tip = within_reach(rng.uniform(LOW, HIGH))
        angles = joint_angles(tip)
        assert np.allclose(tip_of(angles), tip, atol=1e-9)
        assert np.isclose(angles[1:].sum(), np.pi)  # the gripper points down


def test_a_place_out_of_reach_becomes_the_nearest_in_its_direction():
    far = np.array((0.58, 0.32, 0.4))
    near = within_reach(far)
    assert np.allclose(tip_of(joint_angles(near)), near) and np.allclose(near[:2] / near[0], far[:2] / far[0])


def test_the_tip_moves_by_the_action(world):
    world.reset(3)
    world.aim[:3] = (0.4, 0.0, 0.25)
    world.step(np.zeros(4))
    world.step(np.zeros(4))
    before = world.pose()
    for _ in range(4):
        world.step(np.array((0.01, -0.03, 0.02, 0)))
    world.step(np.zeros(4))
    assert np.allclose(world.pose()[:3] - before[:3], (0.04, -0.12, 0.08), atol=0.006)


def test_actions_beyond_the_limit_are_cut_and_the_workspace_holds(world):
    world.reset(0)
    for _ in range(30):
        world.step(np.array((5.0, 5.0, -5.0, 5.0)))
    assert (world.aim[:3] <= HIGH + 1e-9).all() and (world.aim[:3] >= LOW - 1e-9).all() and world.aim[3] <= GAP


def test_the_same_seed_gives_the_same_episode(world):
    def episode(seed):
        frames = [world.reset(seed)]
        actions = []
        for action in world.demonstrate(3):
            actions.append(action)
            frames.append(world.step(action))
        return torch.stack(frames), np.stack(actions)

    (first, told), (again, told_again), (other, _) = episode(5), episode(5), episode(6)
    assert np.array_equal(told, told_again) and torch.equal(first, again)
    assert first.shape == (4, 3, 32, 32) and 0 <= first.min() and first.max() <= 1
    assert (first - other).abs().mean() > 0.02


def test_a_saved_moment_comes_back(world):
    world.reset(2)
    action = np.array((0.03, 0.02, -0.02, -0.02))
    world.step(action)
    moment = world.save()
    first, first_pose = world.step(action), world.pose()
    world.step(-action)
    world.restore(moment)
    second, second_pose = world.step(action), world.pose()
    assert np.allclose(first_pose, second_pose, atol=1e-6) and (first - second).abs().max() < 0.02


def test_demonstrations_touch_things():
    world, moved = ArmWorld(ArmConfig(frame_size=16)), 0
    for seed in range(6):
        world.reset(seed)
        before = world.object_places()
        for action in world.demonstrate(30):
            world.step(action)
        moved += np.abs(world.object_places() - before).max() > 0.03
    world.close()
    assert moved >= 2
