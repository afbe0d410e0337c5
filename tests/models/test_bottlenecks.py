"""Properties of the bottlenecks, against values worked out by hand."""

import math

import pytest
import torch

from lawm_core.models.bottlenecks import (
    DeterministicConfig,
    DiscreteBottleneck,
    DiscreteConfig,
    NoisyBottleneck,
    NoisyConfig,
    SparseBottleneck,
    SparseConfig,
    UnconstrainedConfig,
)

CONFIGS = (NoisyConfig, SparseConfig, DiscreteConfig, DeterministicConfig, UnconstrainedConfig)
HALF = torch.tensor([0.5])


@pytest.mark.parametrize("config", CONFIGS)
def test_every_bottleneck_has_the_shapes_of_its_interface(config):
    bottleneck = config(action_width=6).build().train()
    out = bottleneck(torch.randn(3, 4, bottleneck.input_width), torch.full((3,), 0.5))
    assert out.action_BUA.shape == (3, 4, 6) and out.cost_BU.shape == (3, 4) and torch.isfinite(out.cost_BU).all()
    capacity_K = torch.linspace(0, 1, 9)
    assert bottleneck.init_gain(capacity_K, torch.full((6,), 0.1)).shape == (9, 6)
    assert bottleneck.init_correction_gain(capacity_K).shape == (9,)
    samples = bottleneck.sample(torch.full((5,), 0.5), torch.Generator().manual_seed(0))
    assert samples.shape == (5, 6) and bottleneck.project(samples, torch.full((5,), 0.5)).shape == (5, 6)


@pytest.mark.parametrize("config", CONFIGS)
def test_corrections_of_the_flow_start_at_zero_at_full_capacity(config):
    gain_K = config().build().init_correction_gain(torch.linspace(0, 1, 9))
    assert gain_K[-1] == 0 and (gain_K >= 0).all()


# ---- noisy ----------------------------------------------------------------------------------------------------------


def posterior(mean: float, variance: float, capacity_B: torch.Tensor, transitions: int = 1) -> torch.Tensor:
    """Return the input of a noisy bottleneck for a posterior of this mean and variance in 4 dimensions."""
    initial = NoisyBottleneck(NoisyConfig()).init_variance(capacity_B).item()
    log_variance = math.log(variance / initial)
    shape = (1, transitions, 4)
    return torch.cat((torch.full(shape, mean), torch.full(shape, log_variance)), dim=-1)


def test_beta_decreases_from_low_to_high_capacity():
    beta_K = NoisyBottleneck(NoisyConfig()).beta(torch.linspace(0, 1, 9))
    assert beta_K[0].item() == pytest.approx(5e-2, rel=1e-4) and beta_K[-1].item() == pytest.approx(1e-6, rel=1e-3)
    assert (beta_K.diff() < 0).all()


def test_noisy_cost_is_beta_times_the_divergence_from_a_standard_normal():
    bottleneck, capacity_B = NoisyBottleneck(NoisyConfig(action_width=4)), torch.tensor([0.0])
    assert bottleneck(posterior(0.0, 1.0, capacity_B), capacity_B).cost_BU.item() == pytest.approx(0.0, abs=1e-8)
    q = torch.distributions.Normal(torch.full((4,), 1.5), torch.full((4,), 0.5))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum().item()
    cost = bottleneck(posterior(1.5, 0.25, capacity_B), capacity_B).cost_BU.item()
    assert cost == pytest.approx(5e-2 * expected, rel=1e-4)


def test_noisy_actions_are_sampled_in_training_and_are_the_mean_in_evaluation():
    bottleneck = NoisyBottleneck(NoisyConfig(action_width=4))
    torch.manual_seed(0)
    sampled = bottleneck.train()(posterior(2.0, 1.0, HALF, transitions=4000), HALF).action_BUA
    assert sampled.mean().item() == pytest.approx(2.0, abs=0.05) and sampled.std().item() == pytest.approx(1, abs=0.05)
    mean = bottleneck.eval()(posterior(2.0, 0.01, HALF), HALF).action_BUA
    assert torch.equal(mean, torch.full((1, 1, 4), 2.0))


def test_initial_noise_decreases_and_initial_gain_increases_with_capacity():
    bottleneck, capacity_K = NoisyBottleneck(NoisyConfig()), torch.linspace(0, 1, 9)
    variance_K = bottleneck.init_variance(capacity_K)
    gain_KA = bottleneck.init_gain(capacity_K, torch.tensor([1e-3, 0.02, 0.2]))
    assert (variance_K.diff() < 0).all() and 0 < variance_K[-1] < 1e-3 < variance_K[0] < 1
    assert (gain_KA.diff(dim=0) > 0).all() and (gain_KA[0] < 0.5).all() and (gain_KA[-1] > 0.8).all()
    assert (gain_KA.diff(dim=1) > 0).all(), "dimensions with more signal have a higher gain"


def test_initial_gain_is_that_of_the_optimal_linear_estimate():
    """Regress a signal on the signal plus the initial noise."""
    bottleneck, capacity_K = NoisyBottleneck(NoisyConfig()), torch.tensor([0.4])
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(200_000, generator=generator) * 0.3
    noisy = signal + torch.randn(200_000, generator=generator) * bottleneck.init_variance(capacity_K).sqrt()
    gain_KA = bottleneck.init_gain(capacity_K, torch.tensor([0.09]))
    assert gain_KA.item() == pytest.approx(((signal * noisy).mean() / noisy.square().mean()).item(), rel=0.01)


def test_beta_that_increases_with_capacity_raises():
    with pytest.raises(ValueError, match="beta must be positive and must not increase with capacity, got"):
        NoisyConfig(beta_low_capacity=1e-6, beta_high_capacity=1e-3)


# ---- sparse ---------------------------------------------------------------------------------------------------------


def test_energy_by_hand():
    bottleneck = SparseBottleneck(SparseConfig(action_width=4))
    action = torch.tensor([[1.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.0, 0.0]])
    # The first is sqrt(4) - 1 = 1 short of the norm and has an l1 norm of 1; the second is long enough and has 3.
    low, high = bottleneck.energy(action, torch.tensor(0.0)), bottleneck.energy(action, torch.tensor(1.0))
    assert low.tolist() == pytest.approx([1 + 8.0, 3 * 8.0]) and high.tolist() == pytest.approx([1 + 0.01, 3 * 0.01])


def test_energy_gradient_equals_autograd():
    bottleneck, capacity_B = SparseBottleneck(SparseConfig(action_width=4)), torch.tensor([0.3, 0.3])
    action = torch.tensor([[0.3, -0.2, 0.1, 0.4], [2.0, -1.0, 0.5, 0.1]], requires_grad=True)
    (expected,) = torch.autograd.grad(bottleneck.energy(action, capacity_B).sum(), action)
    torch.testing.assert_close(bottleneck.energy_gradient(action.detach(), capacity_B), expected)


def test_vcm_cost_by_hand():
    bottleneck = SparseBottleneck(SparseConfig(action_width=2))
    action = torch.tensor([[1.0, 0.5], [-1.0, -0.5], [1.0, 0.5], [-1.0, -0.5]])
    # Unbiased variances 4/3 and 1/3, covariance 2/3 twice, means 0.
    expected = 0.1 * (0 + 1 - (1 / 3) ** 0.5) / 2 + 0.001 * 2 * (2 / 3) ** 2 / 2
    assert bottleneck.vcm(action).item() == pytest.approx(expected, rel=1e-4)
    shifted = bottleneck.vcm(action + torch.tensor([3.0, 0.0])).item()
    assert shifted == pytest.approx(expected + 0.1 * 9 / 2, rel=1e-4)


def test_soft_threshold_minimises_error_plus_cost():
    """A brute-force search agrees. Without a noise cost, actions are scaled only."""
    config = SparseConfig(action_width=2, noise_cost=0.05, init_scale=2.0)
    bottleneck, capacity_B = SparseBottleneck(config).eval(), torch.tensor([0.6])
    input_BUX = torch.tensor([[[0.9, -0.02]]])
    found = bottleneck(input_BUX, capacity_B).action_BUA[0, 0]
    candidates = torch.linspace(-2, 2, 40001)
    for index in range(2):
        error = config.noise_cost * ((candidates - 2 * input_BUX[0, 0, index]) / config.init_scale) ** 2
        cost = config.loss_weight * bottleneck.l1(capacity_B) * candidates.abs()
        assert found[index].item() == pytest.approx(candidates[(error + cost).argmin()].item(), abs=2e-4)
    assert found[1] == 0 and 0 < found[0] < 1.8
    scaled = SparseBottleneck(SparseConfig(action_width=2, init_scale=2.0)).eval()
    assert torch.equal(scaled(input_BUX, capacity_B).action_BUA, 2 * input_BUX)


def test_initial_gain_undoes_the_initial_scale():
    bottleneck = SparseBottleneck(SparseConfig(action_width=4, init_scale=4.0)).eval()
    input_BUX = torch.randn(1, 3, 4)
    gain_KA = bottleneck.init_gain(HALF, torch.full((4,), 0.1))
    torch.testing.assert_close(bottleneck(input_BUX, HALF).action_BUA * gain_KA, input_BUX)


def test_langevin_samples_have_the_scale_of_the_energy():
    """Where the norm is long enough, exp(-E) is a Laplace distribution: the mean of |z| is 1 / l1."""
    for l1 in (0.4, 4.0):
        bottleneck = SparseBottleneck(SparseConfig(l1_low_capacity=l1))
        samples = bottleneck.sample(torch.zeros(64), torch.Generator().manual_seed(0))
        assert samples.abs().mean().item() == pytest.approx(1 / l1, rel=0.12)


# ---- discrete -------------------------------------------------------------------------------------------------------


def with_codes(code_ZA: torch.Tensor, min_codes: int = 1) -> DiscreteBottleneck:
    """Return a bottleneck whose codes are these, all live."""
    bottleneck = DiscreteBottleneck(
        DiscreteConfig(action_width=code_ZA.shape[1], min_codes=min_codes, max_codes=len(code_ZA), reset_after=3)
    )
    bottleneck.code_ZA.copy_(code_ZA)
    bottleneck.idle_Z.zero_()
    return bottleneck


def test_actions_are_the_nearest_codes_with_straight_through_gradients():
    bottleneck = with_codes(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).eval()
    input_BUX = torch.tensor([[[0.9, 0.8], [0.1, -0.2]]], requires_grad=True)
    out = bottleneck(input_BUX, torch.ones(1))
    torch.testing.assert_close(out.action_BUA, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]))
    out.action_BUA.mul(torch.tensor([2.0, 3.0])).sum().backward()
    torch.testing.assert_close(input_BUX.grad, torch.tensor([[[2.0, 3.0], [2.0, 3.0]]]))
    assert out.cost_BU[0].tolist() == pytest.approx([0.25 * (0.01 + 0.04) / 2, 0.25 * (0.01 + 0.04) / 2], rel=1e-4)


def test_the_number_of_available_codes_increases_with_capacity():
    bottleneck = with_codes(torch.arange(64.0)[:, None], min_codes=4)
    size_K = bottleneck.size(torch.linspace(0, 1, 5))
    assert size_K[0] == 4 and size_K[-1] == 64 and (size_K.diff() > 0).all()
    input_BUX = torch.full((2, 1, 1), 50.0)
    assert bottleneck.assign(input_BUX, torch.tensor([0.0, 1.0])).flatten().tolist() == [3, 50]


def test_projections_and_samples_are_available_codes():
    bottleneck = with_codes(torch.arange(64.0)[:, None], min_codes=4)
    projected = bottleneck.project(torch.tensor([[-5.0], [50.2]]), torch.tensor([0.0, 1.0]))
    assert projected.flatten().tolist() == [0, 50]
    samples = bottleneck.sample(torch.zeros(200), torch.Generator().manual_seed(0))
    assert set(samples.flatten().tolist()) == {0, 1, 2, 3}


def test_an_unused_code_is_reset_to_an_input_of_the_batch():
    bottleneck = with_codes(torch.tensor([[0.0], [100.0]])).train()
    for _ in range(3):
        bottleneck(torch.full((2, 3, 1), 0.5), torch.ones(2))
    assert bottleneck.dead().tolist() == [False, True]
    out = bottleneck(torch.full((2, 3, 1), 7.0), torch.ones(2))
    assert bottleneck.code_ZA[1].item() == pytest.approx(7.0) and out.metrics["used"].item() == 1.0


def test_codes_move_to_the_mean_of_the_inputs_assigned_to_them():
    bottleneck = with_codes(torch.tensor([[0.0], [10.0]])).train()
    torch.manual_seed(0)
    for _ in range(200):
        bottleneck(torch.cat((torch.randn(8, 2, 1) + 1, torch.randn(8, 2, 1) + 8)), torch.ones(16))
    assert bottleneck.code_ZA.flatten().tolist() == pytest.approx([1.0, 8.0], abs=0.3)
    assert bottleneck.usage()["perplexity"].item() == pytest.approx(2.0, abs=0.05)


# ---- reference lines ------------------------------------------------------------------------------------------------


def test_references_pass_everything_or_nothing_at_no_cost():
    input_BUX = torch.randn(2, 3, 5)
    for config, expected in ((DeterministicConfig, torch.zeros_like(input_BUX)), (UnconstrainedConfig, input_BUX)):
        bottleneck = config(action_width=5).build()
        out = bottleneck(input_BUX, HALF.expand(2))
        assert torch.equal(out.action_BUA, expected) and out.cost_BU.abs().max() == 0
        projected = bottleneck.project(input_BUX.flatten(0, 1), HALF.expand(6))
        assert torch.equal(projected, expected.flatten(0, 1))
