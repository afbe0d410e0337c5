"""The hallway: shapes and errors that people meet."""

import pytest
import torch


def test_a_clip_walks_through_every_room(tiny_model, frames):
    state = tiny_model.encode(frames)
    action = tiny_model.infer_actions(state, family="noisy", capacity=0.7)
    rollout = tiny_model.rollout(state[:, :1], action, family="noisy", capacity=0.7)
    picture = tiny_model.render(rollout, frames[:, 0])
    assert state.shape == (2, 6, 16, 64) and action.shape == (2, 5, 8)
    assert rollout.state_BUND.shape == (2, 5, 16, 64) and picture.shape == frames[:, 1:].shape
    assert picture.min() >= 0 and picture.max() <= 1


def test_context_actions_lead_between_the_contexts_own_frames(tiny_model, frames):
    state = tiny_model.encode(frames)
    action = tiny_model.infer_actions(state)
    assert tiny_model.rollout(state[:, :3], action).state_BUND.shape[1] == 5 - 3 + 1


def test_capacity_conditions_actions_and_predictions(tiny_model, frames):
    state = tiny_model.encode(frames)
    low, high = (tiny_model.infer_actions(state, capacity=c) for c in (0.1, 0.9))
    assert not torch.equal(low, high)
    one, other = (tiny_model.rollout(state[:, :1], low, capacity=c).state_BUND for c in (0.1, 0.9))
    assert not torch.equal(one, other)


def test_capacity_may_differ_from_clip_to_clip(tiny_model, frames):
    state = tiny_model.encode(frames)
    both = tiny_model.infer_actions(state, capacity=torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(both[:1], tiny_model.infer_actions(state[:1], capacity=0.1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("capacity", [-0.1, 1.5, float("nan")])
def test_capacity_out_of_range_is_refused(tiny_model, frames, capacity):
    with pytest.raises(ValueError, match="from 0"):
        tiny_model.infer_actions(tiny_model.encode(frames), capacity=capacity)


def test_unknown_family_is_refused_with_those_there_are(tiny_model, frames):
    with pytest.raises(ValueError, match=r"'vivid'.*noisy"):
        tiny_model.infer_actions(tiny_model.encode(frames), family="vivid")


def test_frames_of_another_size_are_refused(tiny_model):
    with pytest.raises(ValueError, match="needed: \\(clips, frames, 3, 32, 32\\)"):
        tiny_model.encode(torch.rand(1, 2, 3, 64, 64))


def test_one_state_has_no_action(tiny_model, frames):
    with pytest.raises(ValueError, match="at least 2"):
        tiny_model.infer_actions(tiny_model.encode(frames)[:, :1])
