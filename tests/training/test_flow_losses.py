"""Laws of the objectives of models with optical flow: what each loss may move, and what a right answer costs."""

import dataclasses

import pytest
import torch

from lawm_core.training.batches import BatchConfig, PairSource
from lawm_core.training.flow_losses import (
    FlowReaderObjective,
    ReferencePictureConfig,
    ReferencePictureObjective,
    flow_error,
    seen_from_start,
)
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.true_motion import Motion
from tests.models.test_flow_world_model import build

PICTURES = BatchConfig(clips=4, frames=3, twin_share=1.0, motion_grid=8, twins=TwinConfig(frame_size=64))


def pictures(seed: int = 0):
    return PairSource(PICTURES, None, torch.device("cpu"), seed).draw(0)


def decoder_losses(**config):
    model = build().requires_grad_(True)
    torch.manual_seed(0)
    losses = ReferencePictureObjective(model, ReferencePictureConfig(**config)).losses(pictures(), 0.0)
    return model, losses


def test_the_true_flow_costs_nothing_and_unknown_places_cost_nothing():
    true, weight = torch.rand(2, 2, 8, 8) * 0.1, torch.ones(2, 1, 8, 8)
    assert flow_error(true, true, weight) < 0.02
    weight[:, :, :4] = 0
    wrong = true.clone()
    wrong[:, :, :4] += 1.0
    assert flow_error(wrong, true, weight) < 0.02 < flow_error(wrong, true, 1 - weight)


@pytest.mark.parametrize("pixels", ["carried", "generated", "plain"])
def test_pixel_errors_do_not_move_the_mask(pixels):
    """A mask that pixels may choose fades to the generated picture wherever motion may be wrong."""
    model, losses = decoder_losses()
    losses[pixels].backward()
    rows = model.decoder.head.weight.grad
    assert rows is None or rows[-(model.decoder.ratio**2) :].abs().max() == 0


def test_the_mask_is_moved_by_visibility():
    model, losses = decoder_losses()
    losses["mask"].backward()
    assert model.decoder.head.weight.grad[-(model.decoder.ratio**2) :].abs().max() > 0


def test_only_the_decoder_learns_pictures():
    model, losses = decoder_losses()
    losses["loss"].backward()
    learned = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert learned == {"decoder"}


def test_all_plain_and_none_plain_draw_what_they_say():
    assert decoder_losses(plain_share=1.0)[1]["carried"] == 0 < decoder_losses(plain_share=1.0)[1]["plain"]
    assert decoder_losses(plain_share=0.0)[1]["plain"] == 0 < decoder_losses(plain_share=0.0)[1]["carried"]


def test_the_generated_picture_is_judged_where_it_is_needed():
    model, _ = decoder_losses()
    objective = ReferencePictureObjective(model, ReferencePictureConfig(structural=0.0))
    true, needed = torch.zeros(1, 1, 3, 64, 64), torch.zeros(1, 1, 1, 64, 64)
    needed[..., :16] = 1.0
    wrong = true.clone()
    wrong[..., 16:] = 0.5
    assert objective.pixel_loss(wrong, true, needed) == 0 < objective.pixel_loss(wrong, true)


def test_what_was_hidden_once_stays_hidden():
    still = torch.zeros(1, 3, 2, 4, 4)
    visible, known = torch.ones(1, 3, 1, 4, 4), torch.ones(1, 3, 1, 4, 4)
    visible[:, 1, :, :2] = 0
    known[:, 2, :, :, :1] = 0
    seen, sure = seen_from_start(Motion(still, visible, known), torch.tensor([True]))
    assert seen[0, 0].min() == 1 and seen[0, 2, 0, :2].max() == 0 and seen[0, 2, 0, 2:].min() == 1
    assert sure[0, 1].min() == 1 and sure[0, 2, 0, :, 0].max() == 0


def test_the_flow_reader_is_supervised_at_every_level():
    model = build().requires_grad_(True)
    batch = dataclasses.replace(PICTURES, twins=TwinConfig(frame_size=32))
    losses = FlowReaderObjective(model).losses(PairSource(batch, None, torch.device("cpu"), 0).draw(0), 0.0)
    losses["loss"].backward()
    reader = model.flow_reader
    for refinement in (reader.coarse_refinement, reader.middle_refinement, reader.fine_refinement):
        assert refinement[-1].weight.grad.abs().max() > 0
    assert all(weight.grad is None for weight in model.encoder.parameters())
