"""Laws of the main job."""

import pytest
import torch

from lawm_core.contracts import Clip
from lawm_core.evaluation.transfer import still_actions, transfer


@pytest.fixture
def clips(frames):
    return [Clip(frame_TCHW=f, frames_per_second=6.0, name=str(i)) for i, f in enumerate(frames)]


def test_own_actions_reproduce_the_own_rollout(tiny_model, clips):
    clip = clips[0]
    result = transfer(tiny_model, clip, clip, capacity=0.6)
    state = tiny_model.encode(clip.frame_TCHW[None])
    action = tiny_model.infer_actions(state, capacity=0.6)
    future = tiny_model.rollout(state[:, :1], action, capacity=0.6).state_BUND
    expected = tiny_model.decode(torch.cat((state[:, :1], future), dim=1))[0]
    expected[0] = clip.frame_TCHW[0]  # what is given is shown as it is
    torch.testing.assert_close(result.frame_TCHW, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result.action_UA, action[0])


def test_result_has_the_sources_frames_and_named_scores(tiny_model, clips):
    short = Clip(frame_TCHW=clips[1].frame_TCHW[:2], frames_per_second=6.0)
    result = transfer(tiny_model, clips[0], short)
    assert result.frame_TCHW.shape == result.control_TCHW.shape == clips[0].frame_TCHW.shape
    assert set(result.scores) == {"prediction_gain", "action_effect", "cycle_ratio"}
    assert all(torch.isfinite(torch.tensor(v)) for v in result.scores.values())


def test_source_decides_what_happens_and_target_what_is_seen(tiny_model, clips):
    a, b = clips
    other = Clip(frame_TCHW=b.frame_TCHW.flip(0), frames_per_second=6.0)
    same_target = [transfer(tiny_model, s, a).frame_TCHW for s in (b, other)]
    assert torch.equal(same_target[0][0], same_target[1][0]) and not torch.equal(same_target[0][1:], same_target[1][1:])


def test_only_the_targets_context_matters(tiny_model, clips):
    a, b = clips
    edited = b.frame_TCHW.clone()
    edited[2:] = 0
    results = [
        transfer(tiny_model, a, Clip(frame_TCHW=f, frames_per_second=6.0), context_frames=2).frame_TCHW
        for f in (b.frame_TCHW, edited)
    ]
    assert torch.equal(*results)


def test_control_is_the_rollout_under_a_still_clips_actions(tiny_model, clips):
    state = tiny_model.encode(clips[1].frame_TCHW[None, :1])
    action = still_actions(tiny_model, state, 5, family="noisy", capacity=1.0)
    assert torch.equal(action[:, 0], action[:, 4])
    expected = tiny_model.decode(torch.cat((state, tiny_model.rollout(state, action).state_BUND), dim=1))[0]
    expected[0] = clips[1].frame_TCHW[0]
    result = transfer(tiny_model, clips[0], clips[1])
    torch.testing.assert_close(result.control_TCHW, expected, atol=1e-5, rtol=1e-5)


def test_progress_rises_to_one(tiny_model, clips):
    seen = []
    transfer(tiny_model, *clips, progress=lambda fraction, what: seen.append(fraction))
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 3


@pytest.mark.parametrize("context", [0, 6, 9])
def test_context_out_of_range_is_refused(tiny_model, clips, context):
    with pytest.raises(ValueError, match="needed: 1 to 5"):
        transfer(tiny_model, *clips, context_frames=context)


def test_frames_of_another_size_are_refused(tiny_model, clips):
    large = Clip(frame_TCHW=torch.rand(3, 3, 64, 64), frames_per_second=6.0)
    with pytest.raises(ValueError, match="the target has frames of"):
        transfer(tiny_model, clips[0], large)
