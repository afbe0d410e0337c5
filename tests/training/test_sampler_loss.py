"""The loss of action samplers."""

import dataclasses
import math

import pytest
import torch

from lawm_core.model import LatentActionModel
from lawm_core.training.sampler_loss import SamplerLoss
from tests.training.toy_stages import FAMILIES, build_model, draw


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_sampler_is_trained(family):
    model = build_model(shaken=True)
    loss = SamplerLoss(model, family)
    losses = loss.losses(draw(), 0.0)
    losses["loss"].backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained and all(name.startswith(f"families.{family}.sampler.") for name in trained)
    assert losses["loss"] == losses["velocity"]


def test_untrained_sampler_has_the_exact_velocity_of_independent_normal_actions():
    """Its error is then that of noise alone, pi / 2, which only structure in the actions can reduce."""
    model = build_model()
    sampler = model.families["noisy"].sampler.eval()
    generator = torch.Generator().manual_seed(0)
    action, state = torch.randn(4000, 8, generator=generator), torch.randn(4000, 16, 64, generator=generator)
    torch.manual_seed(0)
    error = sampler.loss(action, state, torch.full((4000,), 0.5))
    assert error.item() == pytest.approx(math.pi / 2, rel=0.03)


def test_family_without_a_sampler_is_refused():
    config = build_model().config
    family = dataclasses.replace(config.families["noisy"], sampler=None)
    model = LatentActionModel(dataclasses.replace(config, families={"noisy": family}))
    with pytest.raises(ValueError, match="family 'noisy' has no sampler to train"):
        SamplerLoss(model)
