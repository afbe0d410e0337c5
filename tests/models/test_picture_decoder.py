"""Properties of drawing with a reference picture."""

import pytest
import torch

from lawm_core.models.flow import resample
from lawm_core.models.picture_decoder import Reference
from lawm_core.training.recipes import find_recipe
from tests.models.test_flow_world_model import build, inputs


def reference(picture, frames, distance=0.0, visible=1.0):
    """The whole picture moved by a pan of `distance` frame widths in every frame."""
    flow = torch.zeros(len(picture), frames, 2, 8, 8)
    flow[:, :, 0] = distance
    return Reference(picture, flow, torch.full((len(picture), frames, 1, 8, 8), visible))


def test_a_fresh_decoder_draws_the_moved_reference_where_it_is_visible():
    decoder = build(shaken=False).decoder
    picture, (state, _, _) = torch.rand(2, 3, 64, 64), inputs(3)
    drawn = decoder(state, reference(picture, 3, 0.1))
    moved = resample(picture, reference(picture, 3, 0.1).flow_BT2HW[:, 0])
    seen = slice(0, 56)  # what a pan to the right leaves inside
    assert (drawn.picture_BTCHW[:, 0] - moved)[..., seen].abs().mean() < 0.05
    torch.testing.assert_close(drawn.carried_BTCHW[:, 0], moved, atol=1e-5, rtol=0)


def test_nothing_is_carried_where_nothing_is_visible_and_without_a_reference():
    decoder = build(shaken=False).decoder
    picture, (state, _, _) = torch.rand(2, 3, 64, 64), inputs(3)
    hidden = decoder(state, reference(picture, 3, visible=0.0))
    assert hidden.carried_logit_BT1HW.sigmoid().max() < 0.03
    plain = decoder(state)
    assert torch.equal(plain.picture_BTCHW, plain.generated_BTCHW) and plain.picture_BTCHW.shape[-1] == 64


def test_drawing_is_causal():
    decoder = build().decoder
    picture, (state, _, _) = torch.rand(2, 3, 64, 64), inputs(5)
    changed = state.clone()
    changed[:, 3:] += 1.0
    before, after = (decoder(s, reference(picture, 5)).picture_BTCHW for s in (state, changed))
    torch.testing.assert_close(before[:, :3], after[:, :3], atol=1e-5, rtol=0)
    assert (before[:, 3:] - after[:, 3:]).abs().max() > 1e-4


def test_pixel_errors_do_not_move_the_mask():
    decoder = build().decoder.requires_grad_(True)
    picture, (state, _, _) = torch.rand(2, 3, 64, 64), inputs(2)
    drawn = decoder(state, reference(picture, 2, visible=0.5))
    (drawn.picture_BTCHW - 0.3).abs().mean().backward()
    by_channel = decoder.head.weight.grad.unflatten(0, (4, -1)).abs().amax(dim=(1, 2, 3, 4))
    assert by_channel[3] == 0 and (by_channel[:3] > 0).all()


def test_rendering_shows_the_start_moved_by_the_rollouts_flow():
    model = build()
    state, action, _ = inputs()
    picture = torch.rand(2, 3, 64, 64)
    frame, share = model.draw(model.rollout(state[:, :1], action), picture)
    assert frame.shape == (2, 9, 3, 64, 64) and frame.min() >= 0 and frame.max() <= 1
    assert share.shape == (2, 9) and (share >= 0).all() and (share <= 1).all()
    assert torch.equal(frame, model.render(model.rollout(state[:, :1], action), picture))


def test_frames_of_both_sizes_are_encoded():
    model = build()
    large = torch.rand(1, 2, 3, 64, 64)
    small = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).unflatten(0, (1, 2))
    assert torch.equal(model.encode(large), model.encode(small))
    with pytest.raises(ValueError):
        model.encode(torch.rand(1, 2, 3, 48, 48))


def test_the_recipes_decoder_costs_at_most_one_and_a_half_gflop_a_frame():
    from torch.utils.flop_counter import FlopCounterMode

    from lawm_core.models.picture_decoder import PictureDecoder

    config = find_recipe("nano256").model
    decoder = PictureDecoder(config.decoder, config.encoder)
    state, picture = torch.randn(1, 4, 64, 256), torch.rand(1, 3, 256, 256)
    flow = torch.zeros(1, 4, 2, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(state, Reference(picture, flow, flow[:, :, :1] + 1))
    assert counter.get_total_flops() / 4 <= 1.5e9
