"""A live transfer equals a transfer of the same frames at once."""

import pytest
import torch

from lawm_core.transfer.live import LiveTransfer
from tests.conftest import build_tiny_model


@pytest.fixture(scope="module")
def model():
    return build_tiny_model(families=("noisy", "sparse"))


@pytest.fixture
def stream_TCHW(frames):
    return frames[0]


@pytest.fixture
def picture_CHW(frames):
    return frames[1, 0]


def expected_frames(bound, stream_TCHW, picture_CHW, strength=1.0):
    with torch.inference_mode():
        action_1UA = bound.project(strength * bound.infer_actions(bound.model.encode(stream_TCHW[None])))
        rollout = bound.rollout(bound.model.encode(picture_CHW[None, None]), action_1UA)
        return bound.model.render(rollout, picture_CHW[None])[0]


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_frames_equal_those_of_a_rollout(model, stream_TCHW, picture_CHW, strength, monkeypatch):
    monkeypatch.setattr("lawm_core.planning.rollout_state.MIN_VISIBLE_FRACTION", 0.0)
    bound = model.at("noisy", 1.0)
    live = LiveTransfer(bound, picture_CHW)
    shown = [live.push(frame_CHW, strength=strength) for frame_CHW in stream_TCHW]
    assert shown[0].action_A is None
    # The decoder's context is the picture and the current state here, and all states there; states are the same.
    expected_UCHW = expected_frames(bound, stream_TCHW, picture_CHW, strength)
    torch.testing.assert_close(shown[1].frame_CHW, expected_UCHW[0], atol=1e-5, rtol=1e-5)
    assert all(0 <= frame.carried_fraction <= 1 for frame in shown)


def test_restart_returns_to_the_picture(model, stream_TCHW, picture_CHW):
    live = LiveTransfer(model.at("noisy", 1.0), picture_CHW)
    first = [live.push(frame_CHW).frame_CHW for frame_CHW in stream_TCHW[:3]]
    assert torch.equal(live.restart().frame_CHW, picture_CHW)
    again = [live.push(frame_CHW).frame_CHW for frame_CHW in stream_TCHW[:3]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_smoothing_averages_actions(model, stream_TCHW, picture_CHW):
    bound = model.at("noisy", 1.0)
    with torch.inference_mode():
        action_UA = bound.infer_actions(model.encode(stream_TCHW[None]))[0]
    live = LiveTransfer(bound, picture_CHW)
    found = [live.push(frame_CHW, smoothing=0.75).action_A for frame_CHW in stream_TCHW]
    torch.testing.assert_close(found[1], action_UA[0])
    torch.testing.assert_close(found[2], 0.25 * action_UA[1] + 0.75 * action_UA[0])


def test_the_setting_can_change_while_it_runs(model, stream_TCHW, picture_CHW):
    live = LiveTransfer(model.at("noisy", 1.0), picture_CHW)
    for frame_CHW in stream_TCHW[:3]:
        shown = live.push(frame_CHW)
    live.rebind(model.at("sparse", 0.5))
    after = live.push(stream_TCHW[3])
    assert after.frame_CHW.shape == shown.frame_CHW.shape and torch.isfinite(after.frame_CHW).all()
    assert after.action_A.shape == (model.at("sparse", 0.5).action_width,)


def test_a_frame_that_has_moved_away_becomes_the_reference(model, stream_TCHW, picture_CHW, monkeypatch):
    monkeypatch.setattr("lawm_core.planning.rollout_state.MIN_VISIBLE_FRACTION", 2.0)  # after every step
    live = LiveTransfer(model.at("noisy", 1.0), picture_CHW)
    shown = [live.push(frame_CHW) for frame_CHW in stream_TCHW]
    assert live._now.visible_fraction == 1.0
    assert torch.equal(live._reference_1CHW[0], shown[-1].frame_CHW)
