"""Laws of the perceptual loss, and of what the latent-action objective asks for."""

import pytest
import torch

from lawm_core.training.batches import Pairs
from lawm_core.training.losses import LatentActionConfig, LatentActionObjective, structural_loss


def test_structure_is_measured_in_full_precision_under_autocast():
    """In bf16 the variance of a bright flat picture is noise, and training then paints dots on it."""
    true = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.9
    true = torch.nn.functional.interpolate(true, size=64, mode="bicubic")
    plain = structural_loss(true + 0.001, true)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = structural_loss(true + 0.001, true)
    assert torch.equal(plain, mixed) and plain < 0.01


def test_structure_prefers_sharp_to_blurred_and_is_zero_for_the_same():
    true = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1)
    assert structural_loss(true, true).abs() < 1e-5
    assert structural_loss(blurred, true) > structural_loss((true + 0.05).clamp(0, 1), true)


@pytest.mark.parametrize(("frames", "single_share"), [(2, 0.0), (5, 0.0), (5, 1.0)])
def test_actions_and_world_learn_from_any_length_and_context(tiny_model, frames, single_share):
    tiny_model.train().requires_grad_(True)
    objective = LatentActionObjective(tiny_model, LatentActionConfig(single_share=single_share))
    torch.manual_seed(0)
    pairs = Pairs(*torch.rand(2, 3, frames, 3, 32, 32))
    losses = objective.losses(pairs, 1.0)
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx((losses["error"] + losses["cost"]).item())
    family = objective.trained()
    for part in (family.inverse_dynamics.coarse, family.inverse_dynamics.loudness, family.world_model.trust):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())
