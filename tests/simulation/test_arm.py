"""The arm executes actions within its limits and reach; scenes depend on the seed only."""

import numpy as np
import pytest
import torch

from lawm_core.simulation.arm import (
    FORE,
    HAND,
    HIGH,
    LOW,
    MAX_GAP,
    SHOULDER,
    UPPER,
    ArmConfig,
    ArmSimulator,
    clamp_to_reach,
    joint_angles,
)


@pytest.fixture
def simulator():
    simulator = ArmSimulator(ArmConfig(frame_size=32))
    yield simulator
    simulator.close()


def tip_position(angles):
    """Forward kinematics, independent of the implementation."""
    turret, shoulder, elbow, wrist = angles
    tilts, lengths = np.cumsum((shoulder, elbow, wrist)), np.array((UPPER, FORE, HAND))
    radius, height = (lengths * np.sin(tilts)).sum(), SHOULDER + (lengths * np.cos(tilts)).sum()
    return np.array((radius * np.cos(turret), radius * np.sin(turret), height))


def test_joint_angles_invert_forward_kinematics_everywhere_in_reach():
    rng = np.random.default_rng(0)
    for _ in range(200):
        tip = clamp_to_reach(rng.uniform(LOW, HIGH))
        angles = joint_angles(tip)
        assert np.allclose(tip_position(angles), tip, atol=1e-9)
        assert np.isclose(angles[1:].sum(), np.pi)  # the gripper points down


def test_position_out_of_reach_moves_towards_the_base():
    far = np.array((0.58, 0.32, 0.4))
    near = clamp_to_reach(far)
    assert np.allclose(tip_position(joint_angles(near)), near)
    assert np.allclose(near[:2] / near[0], far[:2] / far[0]) and near[0] < far[0]


def test_tip_moves_by_the_action(simulator):
    simulator.reset(3)
    simulator.target_R[:3] = (0.4, 0.0, 0.25)
    simulator.step(np.zeros(4))
    simulator.step(np.zeros(4))
    before = simulator.pose()
    for _ in range(4):
        simulator.step(np.array((0.01, -0.03, 0.02, 0)))
    simulator.step(np.zeros(4))
    assert np.allclose(simulator.pose()[:3] - before[:3], (0.04, -0.12, 0.08), atol=0.006)


def test_actions_are_clipped_to_limits_and_workspace(simulator):
    simulator.reset(0)
    for _ in range(30):
        before = simulator.target_R.copy()
        simulator.step(np.array((5.0, 5.0, -5.0, 5.0)))
        limits = [dim.limit for dim in simulator.action_dims]
        assert (np.abs(simulator.target_R - before) <= np.array(limits) + 1e-9).all()
    target = simulator.target_R
    assert (target[:3] <= HIGH + 1e-9).all() and (target[:3] >= LOW - 1e-9).all() and target[3] <= MAX_GAP


def test_same_seed_gives_the_same_episode(simulator):
    def episode(seed):
        frames, actions = [simulator.reset(seed)], []
        for action in simulator.demonstrate(3):
            actions.append(action)
            frames.append(simulator.step(action))
        return torch.stack(frames), np.stack(actions)

    (first, actions), (again, actions_again), (other, _) = episode(5), episode(5), episode(6)
    assert np.array_equal(actions, actions_again) and torch.equal(first, again)
    assert first.shape == (4, 3, 32, 32) and 0 <= first.min() and first.max() <= 1
    assert (first - other).abs().mean() > 0.02


def test_restore_returns_to_the_saved_state(simulator):
    simulator.reset(2)
    action = np.array((0.03, 0.02, -0.02, -0.02))
    simulator.step(action)
    saved_state = simulator.save()
    first, first_pose = simulator.step(action), simulator.pose()
    simulator.step(-action)
    simulator.restore(saved_state)
    second, second_pose = simulator.step(action), simulator.pose()
    assert np.allclose(first_pose, second_pose, atol=1e-6) and (first - second).abs().max() < 0.02


def test_demonstrations_move_objects():
    simulator, moved = ArmSimulator(ArmConfig(frame_size=16)), 0
    for seed in range(6):
        simulator.reset(seed)
        before = simulator.object_positions()
        for action in simulator.demonstrate(30):
            simulator.step(action)
        moved += np.abs(simulator.object_positions() - before).max() > 0.03
    simulator.close()
    assert moved >= 2
