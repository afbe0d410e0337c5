"""Muon, the assignment of weights to optimizers, gradient clipping and the learning-rate schedule."""

import pytest
import torch

from lawm_core.training.optimizers import (
    GAIN_LR_SCALE,
    Muon,
    OptimizerConfig,
    build_optimizers,
    clip_gradients,
    learning_rate_scale,
    orthogonalize,
)
from tests.training.toy_stages import build_model


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_muon_equals_pytorchs(precision):
    """PyTorch orthogonalises in bf16, one matrix after another; ours, matrices of one shape together."""
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((6, 4), (4, 9), (6, 4), (5, 5))]
    ours, theirs = ([torch.nn.Parameter(m.clone()) for m in start] for _ in range(2))
    pair = (
        Muon(ours, lr=0.02, weight_decay=0.1, precision=precision),
        torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95),
    )
    for _ in range(3):
        for matrices, optimizer in zip((ours, theirs), pair, strict=True):
            torch.manual_seed(7)
            for matrix in matrices:
                matrix.grad = torch.randn_like(matrix)
            optimizer.step()
    for one, other, begun in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(one - begun, other - begun, atol=1e-3, rtol=0.05)  # three steps of 0.02


def test_muon_refuses_tensors_that_are_not_matrices():
    with pytest.raises(ValueError, match=r"Muon optimizes matrices, got a tensor of shape \(3,\)"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1, weight_decay=0.0)


@pytest.mark.parametrize("shape", [(3, 8, 5), (3, 5, 8)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.min() > 0.4 and values.max() < 1.5


def test_muon_takes_the_matrices_of_blocks_and_adamw_all_other_weights():
    family = build_model().families["noisy"]
    muon, adam = build_optimizers(family, OptimizerConfig())
    in_muon = {id(p) for group in muon.param_groups for p in group["params"]}
    in_adam = {id(p) for group in adam.param_groups for p in group["params"]}
    assert not in_muon & in_adam and in_muon | in_adam == {id(p) for p in family.parameters()}
    assert all((id(p) in in_muon) == (".blocks." in n and p.ndim == 2) for n, p in family.named_parameters())


def test_gains_of_actions_learn_more_slowly():
    family = build_model().families["noisy"]
    _, adam = build_optimizers(family, OptimizerConfig())
    slow = {id(p) for group in adam.param_groups if group.get("lr_scale") == GAIN_LR_SCALE for p in group["params"]}
    assert slow == {id(p) for n, p in family.named_parameters() if n.endswith("gain_KA")} and slow


def test_module_without_blocks_has_no_muon_and_frozen_weights_are_left_out():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    (adam,) = build_optimizers(layer, OptimizerConfig())
    assert [p for group in adam.param_groups for p in group["params"]] == [layer.weight]


def test_gradients_are_clipped_to_the_norm_and_the_norm_before_is_returned():
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])  # the third has none
    assert clip_gradients(weights, 1.0) == 5.0
    torch.testing.assert_close(weights[0].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(clip_gradients(weights, 10.0), torch.tensor(1.0))
    torch.testing.assert_close(weights[1].grad, torch.tensor([0.0, 0.8]))


def test_learning_rate_warms_up_and_falls_to_its_floor():
    config = OptimizerConfig(warm_up=0.1, floor=0.02)
    scale = [learning_rate_scale(step, 100, config) for step in range(101)]
    assert scale[0] == pytest.approx(0.1) and max(scale) == pytest.approx(1.0)
    assert scale[:10] == sorted(scale[:10]) and scale[10:] == sorted(scale[10:], reverse=True)
    assert scale[100] == pytest.approx(0.02)
