"""Laws of the noisy bottleneck."""

import pytest
import torch

from lawm_core.models.bottlenecks import NoisyBottleneck, NoisyConfig


def raw(mean: float, log_variance: float, width: int = 4, count: int = 1) -> torch.Tensor:
    return torch.cat((torch.full((1, count, width), mean), torch.full((1, count, width), log_variance)), dim=-1)


def test_strength_runs_between_the_ends_of_the_dial():
    bottleneck = NoisyBottleneck(NoisyConfig())
    beta = bottleneck.beta(torch.linspace(0, 1, 9))
    assert beta[0].item() == pytest.approx(5e-3, rel=1e-4) and beta[-1].item() == pytest.approx(1e-6, rel=1e-3)
    assert (beta.diff() < 0).all()


def test_cost_is_beta_times_the_divergence_from_a_standard_normal():
    bottleneck = NoisyBottleneck(NoisyConfig(action_width=4))
    capacity = torch.tensor([0.0])
    assert bottleneck(raw(0.0, 4.0), capacity).cost_BU.item() == pytest.approx(0.0, abs=1e-9)
    q = torch.distributions.Normal(torch.full((4,), 1.5), torch.full((4,), 0.5))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum().item()
    cost = bottleneck(raw(1.5, 2 * torch.tensor(0.5).log().item() + 4), capacity).cost_BU.item()
    assert cost == pytest.approx(5e-3 * expected, rel=1e-4)


def test_training_samples_and_use_takes_the_mean():
    bottleneck, capacity = NoisyBottleneck(NoisyConfig(action_width=4)), torch.tensor([0.5])
    torch.manual_seed(0)
    sampled = bottleneck.train()(raw(2.0, 4.0, count=4000), capacity).action_BUA
    assert sampled.mean().item() == pytest.approx(2.0, abs=0.05) and sampled.std().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(bottleneck.eval()(raw(2.0, 0.0), capacity).action_BUA, torch.full((1, 1, 4), 2.0))


def test_a_dial_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match="the second smaller"):
        NoisyConfig(beta_low_capacity=1e-6, beta_high_capacity=1e-3)
