"""`LatentActionModel` and `model.at`: shapes, capacities and errors."""

import pytest
import torch

from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.policy import PolicyConfig
from tests.conftest import TINY_BLOCK, build_tiny_model, tiny_config


def test_a_clip_is_encoded_inferred_rolled_out_and_rendered(tiny_model, frames):
    noisy = tiny_model.at("noisy", capacity=0.7)
    state_BTND = tiny_model.encode(frames)
    action_BUA = noisy.infer_actions(state_BTND)
    rollout = noisy.rollout(state_BTND[:, :1], action_BUA)
    frame_BUCHW = tiny_model.render(rollout, frames[:, 0])
    assert state_BTND.shape == (2, 6, 16, 64) and action_BUA.shape == (2, 5, noisy.action_width)
    assert rollout.state_BUND.shape == (2, 5, 16, 64) and frame_BUCHW.shape == frames[:, 1:].shape
    assert rollout.flow_BU2HW.shape == (2, 5, 2, 16, 16) and rollout.visible_BU1HW.shape == (2, 5, 1, 16, 16)
    assert torch.equal(rollout.start_BND, state_BTND[:, 0])
    assert frame_BUCHW.min() >= 0 and frame_BUCHW.max() <= 1


def test_the_first_actions_lead_between_the_context_states(tiny_model, frames):
    noisy, state_BTND = tiny_model.at(), tiny_model.encode(frames)
    action_BUA = noisy.infer_actions(state_BTND)
    rollout = noisy.rollout(state_BTND[:, :3], action_BUA)
    assert rollout.state_BUND.shape[1] == 5 - 3 + 1
    assert torch.equal(rollout.start_BND, state_BTND[:, 2])


@torch.inference_mode()
def test_a_flow_that_has_been_read_before_gives_the_same_actions(tiny_model, frames):
    noisy, state_BTND = tiny_model.at(), tiny_model.encode(frames)
    flow_BU2HW = tiny_model.read_flow(state_BTND)
    assert flow_BU2HW.shape == (2, 5, 2, 16, 16)
    assert torch.equal(noisy.infer_actions(state_BTND, flow_BU2HW), noisy.infer_actions(state_BTND))


def test_actions_at_rest_are_those_between_equal_states(tiny_model, frames):
    noisy, state_BTND = tiny_model.at("noisy", 0.3), tiny_model.encode(frames)
    rest_BUA = noisy.infer_rest(state_BTND[:, :1], transitions=4)
    expected_B1A = noisy.infer_actions(state_BTND[:, [0, 0]])
    assert torch.equal(rest_BUA, expected_B1A.expand(-1, 4, -1))


# ---- families and capacity ------------------------------------------------------------------------------------------


def test_the_default_is_the_first_family_at_full_capacity():
    model = build_tiny_model(families=("sparse", "noisy", "deterministic"))
    bound = model.at()
    assert (bound.name, bound.capacity, bound.action_width) == ("sparse", 1.0, 8)
    assert bound.model is model and bound.family is model.families["sparse"]
    assert model.at("deterministic").name == "deterministic"


@pytest.mark.parametrize("family", ["vivid", "", "encoder"])
def test_an_unknown_family_raises(family):
    model = LatentActionModel(tiny_config(families=("noisy", "deterministic")))
    with pytest.raises(ValueError, match=f"family must be one of noisy, deterministic for tiny, got '{family}'"):
        model.at(family)


@pytest.mark.parametrize("capacity", [-0.1, 1.5, 2, float("nan"), float("inf"), torch.tensor([0.5, 1.1])])
def test_a_capacity_out_of_range_raises(tiny_model, capacity):
    with pytest.raises(ValueError, match=r"capacity must be in \[0, 1\], got"):
        tiny_model.at("noisy", capacity)


def test_actions_and_predictions_depend_on_capacity(tiny_model, frames):
    state_BTND = tiny_model.encode(frames)
    low, high = (tiny_model.at("noisy", capacity) for capacity in (0.1, 0.9))
    action_BUA = low.infer_actions(state_BTND)
    assert not torch.equal(action_BUA, high.infer_actions(state_BTND))
    first, second = (bound.rollout(state_BTND[:, :1], action_BUA).state_BUND for bound in (low, high))
    assert not torch.equal(first, second)


def test_each_clip_can_have_its_own_capacity(tiny_model, frames):
    """Results equal those of the clip alone at its capacity."""
    state_BTND, both = tiny_model.encode(frames), tiny_model.at("noisy", torch.tensor([0.1, 0.9]))
    action_BUA = both.infer_actions(state_BTND)
    state_BUND = both.rollout(state_BTND[:, :1], action_BUA).state_BUND
    stepped_BND = both.start_rollout(state_BTND[:, :1]).apply(action_BUA[:, 0]).state_BND
    sample_BA = both.sample_actions(state_BTND[:, 0], "prior", torch.Generator().manual_seed(0))
    assert sample_BA.shape == (2, 8)
    for index, capacity in enumerate((0.1, 0.9)):
        alone, clip = tiny_model.at("noisy", capacity), slice(index, index + 1)
        expected_BUA = alone.infer_actions(state_BTND[clip])
        torch.testing.assert_close(action_BUA[clip], expected_BUA, atol=1e-5, rtol=1e-5)
        expected_BUND = alone.rollout(state_BTND[clip, :1], expected_BUA).state_BUND
        torch.testing.assert_close(state_BUND[clip], expected_BUND, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(stepped_BND[clip], expected_BUND[:, 0], atol=1e-4, rtol=1e-4)


def test_projection_applies_each_clips_capacity_to_all_its_actions():
    bound = build_tiny_model(families=("discrete",)).at("discrete", torch.tensor([0.0, 1.0]))
    bottleneck = bound.family.bottleneck
    bottleneck.code_ZA.copy_(torch.arange(8.0)[:, None].expand(8, 8))
    bottleneck.idle_Z.zero_()
    projected_BUA = bound.project(torch.full((2, 3, 8), 6.2))
    assert projected_BUA[:, :, 0].tolist() == [[1.0] * 3, [6.0] * 3]  # 2 of 8 codes at capacity 0, all at capacity 1


# ---- robots ---------------------------------------------------------------------------------------------------------


def test_robots_and_policies_are_added_to_model_and_config(tiny_model):
    tiny_model.add_robot("arm", ControllerConfig(block=TINY_BLOCK))
    tiny_model.add_robot("arm_action_only", ControllerConfig(kind="action", block=TINY_BLOCK))
    tiny_model.add_policy("arm", PolicyConfig(steps=3, block=TINY_BLOCK, depth=1))
    assert tiny_model.robots == ("arm",) and set(tiny_model.controllers) == {"arm", "arm_action_only"}
    state_BND, goal_BND = torch.randn(2, 2, 16, 64).unbind(0)
    assert tiny_model.policies["arm"](state_BND, goal_BND).shape == (2, 3, 2)
    rebuilt = LatentActionModel(tiny_model.config)
    assert rebuilt.state_dict().keys() == tiny_model.state_dict().keys()


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_frames_of_another_size_raise(tiny_model):
    with pytest.raises(ValueError, match=r"frames must have shape \(B, T, 3, 32, 32\), got \(1, 2, 3, 64, 64\)"):
        tiny_model.encode(torch.rand(1, 2, 3, 64, 64))


def test_one_state_has_no_action(tiny_model, frames):
    with pytest.raises(ValueError, match="at least 2 frames are needed to infer an action, got 1"):
        tiny_model.at().infer_actions(tiny_model.encode(frames)[:, :1])


def test_a_picture_size_that_is_not_a_multiple_of_the_frame_size_raises():
    with pytest.raises(ValueError, match="picture_size=48 must be a multiple of frame_size=32"):
        tiny_config(picture_size=48)
