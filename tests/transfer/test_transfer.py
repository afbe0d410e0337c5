"""Properties of transfers."""

import pytest
import torch

from lawm_core.transfer.transfer import transfer_actions, try_actions
from lawm_core.types import Clip


@pytest.fixture
def clips(frames):
    return [Clip(frame_TCHW=f, frames_per_second=6.0, name=str(i)) for i, f in enumerate(frames)]


@torch.no_grad()
def test_a_clips_own_actions_reproduce_its_own_rollout(tiny_model, clips):
    clip, bound = clips[0], tiny_model.at(capacity=0.6)
    result = transfer_actions(tiny_model, clip, clip, capacity=0.6)
    state_BTND = tiny_model.encode(clip.frame_TCHW[None])
    action_BUA = bound.infer_actions(state_BTND)
    state_B1ND = tiny_model.encode(clip.frame_TCHW[None, :1])  # as the target is, since rounding depends on the batch
    both_BUA = torch.cat((action_BUA, bound.infer_rest(state_B1ND, 5)))
    rollout = bound.rollout(state_B1ND.expand(2, -1, -1, -1), both_BUA)
    future_BUCHW = tiny_model.render(rollout, clip.frame_TCHW[:1].expand(2, -1, -1, -1))
    assert torch.equal(result.frame_TCHW[1:], future_BUCHW[0])
    assert torch.equal(result.frame_TCHW[0], clip.frame_TCHW[0])  # given frames are not re-rendered
    torch.testing.assert_close(result.action_UA, action_BUA[0])


def test_result_has_the_sources_frames_and_the_requested_scores(tiny_model, clips):
    short = Clip(frame_TCHW=clips[1].frame_TCHW[:2], frames_per_second=6.0)
    result = transfer_actions(tiny_model, clips[0], short, scores=True)
    assert result.frame_TCHW.shape == result.control_TCHW.shape == clips[0].frame_TCHW.shape
    assert set(result.scores) == {"prediction_gain", "action_effect", "cycle_ratio", "carried_fraction"}
    assert all(torch.isfinite(torch.tensor(v)) for v in result.scores.values())
    assert 0 <= result.scores["carried_fraction"] <= 1
    unscored = transfer_actions(tiny_model, clips[0], short)
    assert not unscored.scores and torch.equal(unscored.frame_TCHW, result.frame_TCHW)


def test_source_changes_the_motion_and_not_the_first_frame(tiny_model, clips):
    a, b = clips
    reversed_b = Clip(frame_TCHW=b.frame_TCHW.flip(0), frames_per_second=6.0)
    one, other = (transfer_actions(tiny_model, source, a).frame_TCHW for source in (b, reversed_b))
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1:], other[1:])


def test_only_the_context_frames_of_the_target_are_used(tiny_model, clips):
    a, b = clips
    edited = b.frame_TCHW.clone()
    edited[2:] = 0
    results = [
        transfer_actions(tiny_model, a, Clip(frame_TCHW=f, frames_per_second=6.0), context_frames=2).frame_TCHW
        for f in (b.frame_TCHW, edited)
    ]
    assert torch.equal(*results)


@torch.no_grad()
def test_control_is_the_rollout_under_rest_actions(tiny_model, clips):
    bound, first_BCHW = tiny_model.at("noisy", 1.0), clips[1].frame_TCHW[:1]
    state_B1ND = tiny_model.encode(first_BCHW[None])
    rest_BUA = bound.infer_rest(state_B1ND, 5)
    assert torch.equal(rest_BUA[:, 0], rest_BUA[:, 4])
    expected_BUCHW = tiny_model.render(bound.rollout(state_B1ND, rest_BUA), first_BCHW)
    result = transfer_actions(tiny_model, clips[0], clips[1])
    torch.testing.assert_close(result.control_TCHW[1:], expected_BUCHW[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(result.control_TCHW[0], first_BCHW[0])


def test_several_actions_are_tried_beside_no_motion(tiny_model, clips):
    action_UA = tiny_model.at().infer_actions(tiny_model.encode(clips[0].frame_TCHW[None]))[0]
    tried = try_actions(tiny_model, clips[1], torch.stack((action_UA, -action_UA)))
    result = transfer_actions(tiny_model, clips[0], clips[1])
    assert tried.shape == (3, *result.frame_TCHW.shape)
    torch.testing.assert_close(tried[0], result.control_TCHW, atol=2e-4, rtol=0)  # rounding depends on the batch
    torch.testing.assert_close(tried[1], result.frame_TCHW, atol=2e-4, rtol=0)
    assert (tried[1] - tried[2]).abs().max() > 1e-2


def test_progress_rises_to_one(tiny_model, clips):
    fractions = []
    transfer_actions(tiny_model, *clips, progress=lambda fraction, _: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 3


@pytest.mark.parametrize("context", [0, 6, 9])
def test_context_frames_out_of_range_are_rejected(tiny_model, clips, context):
    with pytest.raises(ValueError, match=rf"context_frames must be in \[1, 5\].*got {context}"):
        transfer_actions(tiny_model, *clips, context_frames=context)


def test_source_with_one_frame_is_rejected(tiny_model, clips):
    short = Clip(frame_TCHW=clips[0].frame_TCHW[:1], frames_per_second=6.0)
    with pytest.raises(ValueError, match="an action needs 2"):
        transfer_actions(tiny_model, short, clips[1])


def test_frames_of_another_size_are_rejected(tiny_model, clips):
    large = Clip(frame_TCHW=torch.rand(3, 3, 64, 64), frames_per_second=6.0)
    with pytest.raises(ValueError, match="frames of the target must have shape"):
        transfer_actions(tiny_model, clips[0], large)
