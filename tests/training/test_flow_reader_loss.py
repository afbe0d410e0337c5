"""The loss of the flow reader."""

import torch

from lawm_core.training.flow_reader_loss import FlowReaderLoss, flow_error
from tests.training.toy_stages import build_model, draw


def test_true_flow_costs_nothing_and_unknown_regions_cost_nothing():
    true, weight = torch.rand(2, 2, 8, 8) * 0.1, torch.ones(2, 1, 8, 8)
    assert flow_error(true, true, weight) < 0.02
    weight[:, :, :4] = 0
    wrong = true.clone()
    wrong[:, :, :4] += 1.0
    assert flow_error(wrong, true, weight) < 0.02 < flow_error(wrong, true, 1 - weight)


def test_large_errors_count_less_than_linearly():
    true, weight = torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4)
    small, large = (flow_error(true + error, true, weight) for error in (0.01, 0.1))
    assert 5 * small < large < 9 * small


def test_flow_reader_is_supervised_at_every_level_and_the_encoder_is_frozen():
    model = build_model(shaken=True)
    FlowReaderLoss(model).losses(draw(), 0.0)["loss"].backward()
    reader = model.flow_reader
    for refinement in (reader.coarse_refinement, reader.middle_refinement, reader.fine_refinement):
        assert refinement[-1].weight.grad.abs().max() > 0
    trained = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"flow_reader"}
