"""The loss of the decoder: what each term may change, and what a right answer costs."""

import dataclasses

import pytest
import torch

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.data.motion_labels import Motion
from lawm_core.models.decoder import DecodedFrames, Reference
from lawm_core.training.decoder_loss import DecoderLoss, DecoderLossConfig, visible_from_start
from tests.training.toy_stages import CPU, PICTURES, build_model, draw


def compute(**config: object):
    """Return a model and the losses of its decoder on a batch."""
    model = build_model(shaken=True)
    torch.manual_seed(0)
    return model, DecoderLoss(model, DecoderLossConfig(**config)).losses(draw(PICTURES), 0.0)


@pytest.mark.parametrize("pixels", ["carried", "generated", "no_reference"])
def test_pixel_errors_do_not_change_the_mask(pixels):
    """A mask trained on pixels fades to the generated frame wherever motion may be wrong."""
    model, losses = compute()
    assert losses[pixels] > 0
    losses[pixels].backward()
    rows = model.decoder.head.weight.grad
    assert rows is None or rows[-(model.decoder.ratio**2) :].abs().max() == 0


def test_visibility_changes_the_mask():
    model, losses = compute()
    losses["mask"].backward()
    assert model.decoder.head.weight.grad[-(model.decoder.ratio**2) :].abs().max() > 0


def test_only_the_decoder_is_trained():
    model, losses = compute()
    losses["loss"].backward()
    trained = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"decoder"}


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_fraction_without_a_reference(fraction):
    _, losses = compute(no_reference_fraction=fraction)
    assert (losses["no_reference"] > 0) == (fraction > 0)
    for name in ("carried", "generated", "mask", "carried_fraction"):
        assert (losses[name] > 0) == (fraction < 1)
    total = losses["no_reference"] + 2 * losses["carried"] + losses["generated"] + 0.1 * losses["mask"]
    torch.testing.assert_close(losses["loss"], total)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_clip_weights_do_not_depend_on_the_split(count):
    loss, parts = DecoderLoss(build_model(), DecoderLossConfig()), []
    for index in range(count):
        torch.manual_seed(3)
        parts.append(loss.draw_clip_weights(8 // count, CPU, BatchSlice(index, count)))
    alone_B, with_B = (torch.cat(weights).flatten() for weights in zip(*parts, strict=True))
    assert sorted(alone_B.tolist()) == [0.0] * 6 + [4.0] * 2 and alone_B.mean() == 1
    torch.testing.assert_close(with_B, torch.where(alone_B > 0, 0.0, 8 / 6))
    torch.manual_seed(3)
    whole_B, _ = loss.draw_clip_weights(8, CPU, WHOLE_BATCH)
    assert torch.equal(whole_B.flatten(), alone_B)


def test_reference_of_which_nothing_is_visible_is_no_reference():
    """Clips with and without a reference can therefore be decoded in one pass."""
    decoder = build_model(shaken=True).decoder
    state, picture = torch.randn(2, 3, 16, 64), torch.rand(2, 3, 64, 64)
    nothing = Reference(picture, torch.zeros(2, 3, 2, 16, 16), torch.zeros(2, 3, 1, 16, 16))
    torch.testing.assert_close(decoder(state, nothing).generated_BTCHW, decoder(state).generated_BTCHW)


def decoded(**changes: torch.Tensor) -> DecodedFrames:
    """Black frames of one clip, entirely carried over."""
    black = torch.zeros(1, 1, 3, 64, 64)
    fields = {"frame_BTCHW": black, "generated_BTCHW": black, "carried_BTCHW": black}
    return DecodedFrames(**fields | {"carried_logit_BT1HW": torch.full((1, 1, 1, 64, 64), 20.0)} | changes)


def compare(frames: DecodedFrames, motion: Motion) -> dict[str, torch.Tensor]:
    """Return the losses of decoded frames of one clip with a reference, whose true frames are black."""
    loss = DecoderLoss(build_model(), DecoderLossConfig(structural=0.0))
    one = torch.ones(1, 1, 1, 1, 1)
    return loss.compare(frames, torch.zeros(1, 1, 3, 64, 64), motion, 0 * one, one)


def half_visible() -> Motion:
    """No motion; the left half is visible in the reference and the right half is not."""
    visible = torch.zeros(1, 1, 1, 64, 64)
    visible[..., :32] = 1
    return Motion(torch.zeros(1, 1, 2, 64, 64), visible, torch.ones_like(visible))


def half_wrong(left: bool) -> torch.Tensor:
    """Frames that are wrong in the left or the right half."""
    frame = torch.zeros(1, 1, 3, 64, 64)
    frame[..., slice(32) if left else slice(32, None)] = 0.5
    return frame


def test_carried_frame_is_judged_where_it_was_visible():
    left, right = (compare(decoded(carried_BTCHW=half_wrong(side)), half_visible()) for side in (True, False))
    assert left["carried"] == 0.5 and right["carried"] == 0


def test_carried_frame_is_not_judged_where_visibility_is_unknown():
    motion = dataclasses.replace(half_visible(), known_BU1HW=torch.zeros(1, 1, 1, 64, 64))
    assert compare(decoded(carried_BTCHW=half_wrong(left=True)), motion)["carried"] == 0


def test_generated_frame_is_judged_mainly_where_it_is_needed():
    left, right = (compare(decoded(generated_BTCHW=half_wrong(side)), half_visible()) for side in (True, False))
    torch.testing.assert_close(right["generated"] / left["generated"], torch.tensor(1.1 / 0.1))
    torch.testing.assert_close(right["generated"] + left["generated"], torch.tensor(0.5))


def test_right_mask_costs_nothing():
    logit = torch.where(half_visible().visible_BU1HW > 0, 20.0, -20.0)
    right, wrong = (compare(decoded(carried_logit_BT1HW=sign * logit), half_visible()) for sign in (1, -1))
    assert right["mask"] < 1e-6 < wrong["mask"]


def test_what_was_hidden_once_stays_hidden():
    still = torch.zeros(1, 3, 2, 4, 4)
    visible, known = torch.ones(1, 3, 1, 4, 4), torch.ones(1, 3, 1, 4, 4)
    visible[:, 1, :, :2] = 0
    known[:, 2, :, :, :1] = 0
    seen, sure = visible_from_start(Motion(still, visible, known))
    assert seen[0, 0].min() == 1 and seen[0, 2, 0, :2].max() == 0 and seen[0, 2, 0, 2:].min() == 1
    assert sure[0, 1].min() == 1 and sure[0, 2, 0, :, 0].max() == 0
