"""Laws of the noisy bottleneck."""

import math

import pytest
import torch

from lawm_core.models.bottlenecks import NoisyBottleneck, NoisyConfig


def raw(mean: float, variance: float, capacity: torch.Tensor, count: int = 1) -> torch.Tensor:
    """What inverse dynamics has to say for a q of this mean and variance, four numbers wide."""
    first = NoisyBottleneck(NoisyConfig()).first_variance(capacity).item()
    log_variance = math.log(variance / first)
    return torch.cat((torch.full((1, count, 4), mean), torch.full((1, count, 4), log_variance)), dim=-1)


def test_strength_runs_between_the_ends_of_the_dial():
    bottleneck = NoisyBottleneck(NoisyConfig())
    beta = bottleneck.beta(torch.linspace(0, 1, 9))
    assert beta[0].item() == pytest.approx(5e-3, rel=1e-4) and beta[-1].item() == pytest.approx(1e-6, rel=1e-3)
    assert (beta.diff() < 0).all()


def test_cost_is_beta_times_the_divergence_from_a_standard_normal():
    bottleneck = NoisyBottleneck(NoisyConfig(action_width=4))
    capacity = torch.tensor([0.0])
    assert bottleneck(raw(0.0, 1.0, capacity), capacity).cost_BU.item() == pytest.approx(0.0, abs=1e-8)
    q = torch.distributions.Normal(torch.full((4,), 1.5), torch.full((4,), 0.5))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum().item()
    cost = bottleneck(raw(1.5, 0.25, capacity), capacity).cost_BU.item()
    assert cost == pytest.approx(5e-3 * expected, rel=1e-4)


def test_training_samples_and_use_takes_the_mean():
    bottleneck, capacity = NoisyBottleneck(NoisyConfig(action_width=4)), torch.tensor([0.5])
    torch.manual_seed(0)
    sampled = bottleneck.train()(raw(2.0, 1.0, capacity, count=4000), capacity).action_BUA
    assert sampled.mean().item() == pytest.approx(2.0, abs=0.05) and sampled.std().item() == pytest.approx(1, abs=0.05)
    used = bottleneck.eval()(raw(2.0, 0.01, capacity), capacity).action_BUA
    assert torch.equal(used, torch.full((1, 1, 4), 2.0))


def test_a_fresh_dial_gives_less_noise_and_more_trust_as_capacity_grows():
    bottleneck, capacity = NoisyBottleneck(NoisyConfig()), torch.linspace(0, 1, 9)
    variance, trust = bottleneck.first_variance(capacity), bottleneck.first_trust(capacity)
    assert (variance.diff() < 0).all() and 0 < variance[-1] < 1e-3 < variance[0] < 1
    assert (trust.diff() > 0).all() and trust[0] < 0.5 and trust[-1] == pytest.approx(1, abs=0.01)


def test_a_dial_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match="the second smaller"):
        NoisyConfig(beta_low_capacity=1e-6, beta_high_capacity=1e-3)
