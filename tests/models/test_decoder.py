"""Properties of decoding with and without a reference picture."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.model import LatentActionModel
from lawm_core.models.decoder import FrameDecoder, Reference
from lawm_core.models.flow import visibility, warp
from lawm_core.training.recipes import find_recipe
from tests.conftest import build_tiny_model
from tests.models.test_world_model import random_inputs

SIZE = 64  # pixels of a decoded frame, twice the size of an encoded one


def build(noise: float = 0.05) -> LatentActionModel:
    return build_tiny_model(noise, picture_size=SIZE)


def random_states(frames: int = 3) -> Tensor:
    return random_inputs(frames)[0]


def pan(picture_BCHW: Tensor, frames: int, distance: float = 0.0, visible: float = 1.0) -> Reference:
    """Return a reference that is moved by `distance` frame widths in every frame, and visible everywhere or nowhere."""
    flow_BT2HW = torch.zeros(len(picture_BCHW), frames, 2, 8, 8)
    flow_BT2HW[:, :, 0] = distance
    return Reference(picture_BCHW, flow_BT2HW, torch.full((len(picture_BCHW), frames, 1, 8, 8), visible))


def test_an_untrained_decoder_shows_the_warped_reference_where_it_is_visible():
    decoder, picture_BCHW = build(noise=0).decoder, torch.rand(2, 3, SIZE, SIZE)
    reference = pan(picture_BCHW, 3, 0.1)
    decoded = decoder(random_states(), reference)
    warped_BCHW = warp(picture_BCHW, reference.flow_BT2HW[:, 0])
    inside = slice(0, 56)  # a pan to the right moves the last columns out of the reference
    assert (decoded.frame_BTCHW[:, 0] - warped_BCHW)[..., inside].abs().mean() < 0.05
    torch.testing.assert_close(decoded.carried_BTCHW[:, 0], warped_BCHW, atol=1e-5, rtol=0)


def test_nothing_is_carried_from_outside_the_reference():
    decoder, picture_BCHW = build(noise=0).decoder, torch.rand(2, 3, SIZE, SIZE)
    decoded = decoder(random_states(), pan(picture_BCHW, 3, 0.25))
    outside = slice(SIZE * 3 // 4 + 1, None)
    assert torch.equal(decoded.frame_BTCHW[..., outside], decoded.generated_BTCHW[..., outside])


def test_nothing_is_carried_where_nothing_is_visible():
    decoder, picture_BCHW = build(noise=0).decoder, torch.rand(2, 3, SIZE, SIZE)
    hidden = decoder(random_states(), pan(picture_BCHW, 3, visible=0.0))
    assert hidden.carried_logit_BT1HW.sigmoid().max() < 0.03
    assert torch.equal(hidden.frame_BTCHW, hidden.generated_BTCHW)


def test_all_pixels_are_generated_without_a_reference():
    decoded = build(noise=0).decoder(random_states())
    assert torch.equal(decoded.frame_BTCHW, decoded.generated_BTCHW)
    assert decoded.frame_BTCHW.shape == (2, 3, 3, SIZE, SIZE)
    assert decoded.carried_BTCHW.abs().max() == 0 and decoded.carried_logit_BT1HW.sigmoid().max() < 1e-6


def test_decoding_is_causal():
    decoder, picture_BCHW, state_BTND = build().decoder, torch.rand(2, 3, SIZE, SIZE), random_states(5)
    changed_BTND = state_BTND.clone()
    changed_BTND[:, 3:] += 1.0
    before, after = (decoder(s, pan(picture_BCHW, 5)).frame_BTCHW for s in (state_BTND, changed_BTND))
    torch.testing.assert_close(before[:, :3], after[:, :3], atol=1e-5, rtol=0)
    assert (before[:, 3:] - after[:, 3:]).abs().max() > 1e-4


def test_errors_of_pixels_have_no_gradient_to_the_mask():
    decoder, picture_BCHW = build().decoder.requires_grad_(True), torch.rand(2, 3, SIZE, SIZE)
    decoded = decoder(random_states(2), pan(picture_BCHW, 2, visible=0.5))
    (decoded.frame_BTCHW - 0.3).abs().mean().backward()
    gradient_by_channel = decoder.head.weight.grad.unflatten(0, (4, -1)).abs().amax(dim=(1, 2, 3, 4))
    assert gradient_by_channel[3] == 0 and (gradient_by_channel[:3] > 0).all()


def test_rendered_frames_and_carried_fractions_are_in_range():
    model, picture_BCHW = build(), torch.rand(2, 3, SIZE, SIZE)
    state_BTND, action_BTA, _ = random_inputs()
    rollout = model.at().rollout(state_BTND[:, :1], action_BTA)
    frame_BUCHW, carried_BU = model.render_parts(rollout, picture_BCHW)
    assert frame_BUCHW.shape == (2, 9, 3, SIZE, SIZE) and frame_BUCHW.min() >= 0 and frame_BUCHW.max() <= 1
    assert carried_BU.shape == (2, 9) and (carried_BU >= 0).all() and (carried_BU <= 1).all()
    assert torch.equal(frame_BUCHW, model.render(rollout, picture_BCHW))


def test_rendering_in_chunks_equals_decoding_at_once(monkeypatch):
    decoder, picture_BCHW, state_BTND = build().decoder, torch.rand(2, 3, SIZE, SIZE), random_states(5)
    monkeypatch.setattr("lawm_core.models.decoder.FRAMES_AT_ONCE", 3)
    for reference in (None, pan(picture_BCHW, 5, 0.1, visible=0.6)):
        decoded = decoder(state_BTND, reference)
        frame_BTCHW, carried_BT = decoder.render(state_BTND, reference)
        torch.testing.assert_close(frame_BTCHW, decoded.frame_BTCHW.clamp(0, 1), atol=1e-5, rtol=1e-5)
        expected_BT = visibility(decoded.carried_logit_BT1HW).mean(dim=(2, 3, 4))
        torch.testing.assert_close(carried_BT, expected_BT, atol=1e-5, rtol=1e-5)


def test_a_rollout_is_rendered_with_its_start_as_context():
    """The start is decoded as well, without motion and all visible, and then left out."""
    model, picture_BCHW = build(), torch.rand(2, 3, SIZE, SIZE)
    state_BTND, action_BTA, _ = random_inputs(3)
    rollout = model.at().rollout(state_BTND[:, :1], action_BTA)
    flow_BT2HW = torch.cat((torch.zeros(2, 1, 2, 16, 16), rollout.flow_BU2HW), dim=1)
    visible_BT1HW = torch.cat((torch.ones(2, 1, 1, 16, 16), rollout.visible_BU1HW), dim=1)
    all_states_BTND = torch.cat((state_BTND[:, :1], rollout.state_BUND), dim=1)
    expected = model.decoder(all_states_BTND, Reference(picture_BCHW, flow_BT2HW, visible_BT1HW)).frame_BTCHW
    found_BUCHW = model.render(rollout, picture_BCHW)
    torch.testing.assert_close(found_BUCHW, expected[:, 1:].clamp(0, 1), atol=1e-5, rtol=1e-5)


def test_frames_of_the_picture_size_are_averaged_down_before_they_are_encoded():
    model = build()
    large_BTCHW = torch.rand(1, 2, 3, SIZE, SIZE)
    small_BTCHW = F.avg_pool2d(large_BTCHW.flatten(0, 1), 2).unflatten(0, (1, 2))
    assert torch.equal(model.encode(large_BTCHW), model.encode(small_BTCHW))
    assert model.downscale(small_BTCHW) is small_BTCHW
    with pytest.raises(ValueError, match=r"frames must have shape \(B, T, 3, 32, 32\)"):
        model.encode(torch.rand(1, 2, 3, 48, 48))


def test_the_default_recipes_decoder_takes_at_most_1_5_gflop_per_frame():
    from torch.utils.flop_counter import FlopCounterMode

    config = find_recipe("nano256").model
    decoder = FrameDecoder(config.decoder, config.encoder)
    state_BTND, picture_BCHW = torch.randn(1, 4, 64, 256), torch.rand(1, 3, 256, 256)
    flow_BT2HW = torch.zeros(1, 4, 2, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(state_BTND, Reference(picture_BCHW, flow_BT2HW, flow_BT2HW[:, :, :1] + 1))
    assert counter.get_total_flops() / 4 <= 1.5e9
