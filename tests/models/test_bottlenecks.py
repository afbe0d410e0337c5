"""Laws of the bottlenecks, against values worked out by hand."""

import math

import pytest
import torch

from lawm_core.models.bottlenecks import (
    BUILDERS,
    DeterministicConfig,
    DiscreteBottleneck,
    DiscreteConfig,
    NoisyBottleneck,
    NoisyConfig,
    SparseBottleneck,
    SparseConfig,
    UnconstrainedConfig,
    build_bottleneck,
)

HALF = torch.tensor([0.5])


@pytest.mark.parametrize("config", BUILDERS)
def test_every_kind_gives_actions_costs_and_fresh_trust_in_shape(config):
    bottleneck = build_bottleneck(config(action_width=6)).train()
    raw = torch.randn(3, 4, bottleneck.raw_width)
    out = bottleneck(raw, torch.full((3,), 0.5))
    assert out.action_BUA.shape == (3, 4, 6) and out.cost_BU.shape == (3, 4) and torch.isfinite(out.cost_BU).all()
    capacity = torch.linspace(0, 1, 9)
    assert bottleneck.first_trust(capacity).shape == (9, bottleneck.config.action_width)
    assert bottleneck.first_correction(capacity).shape == (9,)
    samples = bottleneck.sample(torch.full((5,), 0.5), torch.Generator().manual_seed(0))
    assert samples.shape == (5, 6) and bottleneck.settle(samples, torch.full((5,), 0.5)).shape == (5, 6)


# ---- noisy ----------------------------------------------------------------------------------------------------------


def raw(mean: float, variance: float, capacity: torch.Tensor, count: int = 1) -> torch.Tensor:
    """What inverse dynamics has to say for a q of this mean and variance, four numbers wide."""
    first = NoisyBottleneck(NoisyConfig()).first_variance(capacity).item()
    log_variance = math.log(variance / first)
    return torch.cat((torch.full((1, count, 4), mean), torch.full((1, count, 4), log_variance)), dim=-1)


def test_strength_runs_between_the_ends_of_the_dial():
    bottleneck = NoisyBottleneck(NoisyConfig())
    beta = bottleneck.beta(torch.linspace(0, 1, 9))
    assert beta[0].item() == pytest.approx(5e-2, rel=1e-4) and beta[-1].item() == pytest.approx(1e-6, rel=1e-3)
    assert (beta.diff() < 0).all()


def test_cost_is_beta_times_the_divergence_from_a_standard_normal():
    bottleneck = NoisyBottleneck(NoisyConfig(action_width=4))
    capacity = torch.tensor([0.0])
    assert bottleneck(raw(0.0, 1.0, capacity), capacity).cost_BU.item() == pytest.approx(0.0, abs=1e-8)
    q = torch.distributions.Normal(torch.full((4,), 1.5), torch.full((4,), 0.5))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum().item()
    cost = bottleneck(raw(1.5, 0.25, capacity), capacity).cost_BU.item()
    assert cost == pytest.approx(5e-2 * expected, rel=1e-4)


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
    assert (trust.diff(dim=0) > 0).all() and (trust[0] < 0.5).all()
    assert torch.allclose(trust[-1], torch.ones(()), atol=0.01)


def test_a_threshold_takes_what_is_not_worth_its_price():
    """Brute force over candidates agrees with the soft threshold; without a worth nothing is taken."""
    config = SparseConfig(action_width=2, worth=0.05, first_scale=2.0)
    bottleneck, capacity = SparseBottleneck(config).eval(), torch.tensor([0.6])
    raw_BUX = torch.tensor([[[0.9, -0.02]]])
    found = bottleneck(raw_BUX, capacity).action_BUA[0, 0]
    line = torch.linspace(-2, 2, 40001)
    for number in range(2):
        off = config.worth * ((line - 2 * raw_BUX[0, 0, number]) / config.first_scale) ** 2
        price = config.price * bottleneck.l1(capacity) * line.abs()
        assert found[number].item() == pytest.approx(line[(off + price).argmin()].item(), abs=2e-4)
    assert found[1] == 0 and 0 < found[0] < 1.8
    plain = SparseBottleneck(SparseConfig(action_width=2, first_scale=2.0)).eval()
    assert torch.equal(plain(raw_BUX, capacity).action_BUA, 2 * raw_BUX)


def test_a_dial_that_runs_backwards_is_refused():
    with pytest.raises(ValueError, match="the second no larger"):
        NoisyConfig(beta_low_capacity=1e-6, beta_high_capacity=1e-3)


# ---- sparse ---------------------------------------------------------------------------------------------------------


def test_energy_by_hand():
    bottleneck = SparseBottleneck(SparseConfig(action_width=4))
    action = torch.tensor([[1.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.0, 0.0]])
    # sqrt(4) - 1 = 1 short of the norm, and one times l1; then long enough, three times l1.
    low, high = bottleneck.energy(action, torch.tensor(0.0)), bottleneck.energy(action, torch.tensor(1.0))
    assert low.tolist() == pytest.approx([1 + 8.0, 3 * 8.0]) and high.tolist() == pytest.approx([1 + 0.01, 3 * 0.01])


def test_slope_is_the_energys_gradient():
    bottleneck, capacity = SparseBottleneck(SparseConfig(action_width=4)), torch.tensor([0.3, 0.3])
    action = torch.tensor([[0.3, -0.2, 0.1, 0.4], [2.0, -1.0, 0.5, 0.1]], requires_grad=True)
    (gradient,) = torch.autograd.grad(bottleneck.energy(action, capacity).sum(), action)
    torch.testing.assert_close(bottleneck.slope(action.detach(), capacity), gradient)


def test_spread_by_hand():
    bottleneck = SparseBottleneck(SparseConfig(action_width=2))
    action = torch.tensor([[1.0, 0.5], [-1.0, -0.5], [1.0, 0.5], [-1.0, -0.5]])
    # Unbiased variances 4/3 and 1/3, covariance 2/3 twice, means 0.
    expected = 0.1 * (0 + 1 - (1 / 3) ** 0.5) / 2 + 0.001 * 2 * (2 / 3) ** 2 / 2
    assert bottleneck.spread(action).item() == pytest.approx(expected, rel=1e-4)
    moved = bottleneck.spread(action + torch.tensor([3.0, 0.0])).item()
    assert moved == pytest.approx(expected + 0.1 * 9 / 2, rel=1e-4)


def test_langevin_samples_settle_at_the_energys_own_spread():
    """Where the norm is long enough, exp(-E) is a Laplace law: the mean of |z| is one over the weight of l1."""
    for l1 in (0.4, 4.0):
        bottleneck = SparseBottleneck(SparseConfig(l1_low_capacity=l1))
        samples = bottleneck.sample(torch.zeros(64), torch.Generator().manual_seed(0))
        assert samples.abs().mean().item() == pytest.approx(1 / l1, rel=0.12)


# ---- discrete -------------------------------------------------------------------------------------------------------


def filled(codes: torch.Tensor, least: int = 1) -> DiscreteBottleneck:
    """A codebook of these live codes."""
    bottleneck = DiscreteBottleneck(
        DiscreteConfig(action_width=codes.shape[1], least_codes=least, most_codes=len(codes), reset_after=3)
    )
    bottleneck.code_KA.copy_(codes)
    bottleneck.idle_K.zero_()
    return bottleneck


def test_the_nearest_code_goes_forward_and_the_gradient_straight_through():
    bottleneck = filled(torch.tensor([[0.0, 0.0], [1.0, 1.0]])).eval()
    raw = torch.tensor([[[0.9, 0.8], [0.1, -0.2]]], requires_grad=True)
    out = bottleneck(raw, torch.ones(1))
    torch.testing.assert_close(out.action_BUA, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]))
    out.action_BUA.mul(torch.tensor([2.0, 3.0])).sum().backward()
    torch.testing.assert_close(raw.grad, torch.tensor([[[2.0, 3.0], [2.0, 3.0]]]))
    assert out.cost_BU[0].tolist() == pytest.approx([0.25 * (0.01 + 0.04) / 2, 0.25 * (0.01 + 0.04) / 2], rel=1e-4)


def test_capacity_opens_the_codebook_from_its_first_codes_on():
    bottleneck = filled(torch.arange(64.0)[:, None], least=4)
    sizes = bottleneck.size(torch.linspace(0, 1, 5))
    assert sizes[0] == 4 and sizes[-1] == 64 and (sizes.diff() > 0).all()
    raw = torch.full((2, 1, 1), 50.0)
    assert bottleneck.choose(raw, torch.tensor([0.0, 1.0])).flatten().tolist() == [3, 50]


def test_a_dead_code_is_revived_at_a_live_proposal():
    bottleneck = filled(torch.tensor([[0.0], [100.0]])).train()
    for _ in range(3):
        bottleneck(torch.full((2, 3, 1), 0.5), torch.ones(2))
    assert bottleneck.dead_K().tolist() == [False, True]
    out = bottleneck(torch.full((2, 3, 1), 7.0), torch.ones(2))
    assert bottleneck.code_KA[1].item() == pytest.approx(7.0) and out.notes["used"].item() == 1.0


def test_codes_move_to_the_mean_of_what_chooses_them():
    bottleneck = filled(torch.tensor([[0.0], [10.0]])).train()
    torch.manual_seed(0)
    for _ in range(200):
        bottleneck(torch.cat((torch.randn(8, 2, 1) + 1, torch.randn(8, 2, 1) + 8)), torch.ones(16))
    assert bottleneck.code_KA.flatten().tolist() == pytest.approx([1.0, 8.0], abs=0.3)
    assert bottleneck.usage()["perplexity"].item() == pytest.approx(2.0, abs=0.05)


# ---- reference lines ------------------------------------------------------------------------------------------------


def test_reference_lines_pass_all_or_nothing_at_no_cost():
    raw = torch.randn(2, 3, 5)
    for config, expected in ((DeterministicConfig, torch.zeros_like(raw)), (UnconstrainedConfig, raw)):
        out = build_bottleneck(config(action_width=5))(raw, HALF.expand(2))
        assert torch.equal(out.action_BUA, expected) and out.cost_BU.abs().max() == 0
