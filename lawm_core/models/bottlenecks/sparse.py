"""Sparsity limits what an action may carry: an energy for each, the spread of all [LAWM §2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lawm_core.models.bottlenecks.base import BottleneckOutput, between
from lawm_core.runtime import whole_batch
from lawm_core.shares import normal_rows


@dataclass(frozen=True, kw_only=True)
class SparseConfig:
    """Weights of the energy and of the batch's variance, covariance and mean (VCM) [LAWM §2].

    The weight of |z|_1 runs to the paper's smallest at capacity 1. It starts at twenty times the paper's largest, 0.4,
    at capacity 0, where all ways down the energy end at saying nothing: the dial begins at the deterministic line.
    price: of all of it beside the prediction error; the paper's weights are for its states' errors, which are larger
    than ours.
    first_scale: fresh actions are this much larger than motion's first words, so that their norm starts where the
    energy wants it. noise: added to actions in training; without it |z|_1 has no price, since a world model can amplify
    ever smaller numbers (sparse coding's ambiguity of scale). worth: prediction error that a unit of variance in one
    number costs before it is scaled; above 0, numbers are soft-thresholded where |z|_1 then costs more than they are
    worth, which is the proximal step of sparse coding (ISTA, Daubechies et al. 2004). 0: no threshold.
    """

    kind: str = "sparse"
    action_width: int = 128
    l1_low_capacity: float = 8.0
    l1_high_capacity: float = 0.01
    l2: float = 1.0
    variance: float = 0.1
    covariance: float = 0.001
    mean: float = 0.1
    price: float = 0.05
    noise: float = 0.1
    worth: float = 0.0
    first_scale: float = 2.0
    langevin_steps: int = 600
    langevin_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.l1_high_capacity <= self.l1_low_capacity or self.action_width < 2 or self.first_scale <= 0:
            raise ValueError(
                f"l1 runs from {self.l1_low_capacity} at capacity 0 to {self.l1_high_capacity} at capacity 1 over "
                f"{self.action_width} numbers, first_scale {self.first_scale}; both l1 and first_scale must be "
                "positive, the second l1 no larger, and at least two numbers."
            )


class SparseBottleneck(nn.Module):
    """Actions held sparse by an energy, spread out by the statistics of the whole batch. Nothing is sampled."""

    batch_capacity = True

    def __init__(self, config: SparseConfig) -> None:
        super().__init__()
        self.config = config
        self.raw_width, self.raw_scale = config.action_width, config.first_scale

    def l1(self, capacity: Tensor) -> Tensor:
        """The weight of |z|_1."""
        return between(self.config.l1_low_capacity, self.config.l1_high_capacity, capacity)

    def first_trust(self, capacity_K: Tensor, variance_A: Tensor | None = None) -> Tensor:
        """Undoes first_scale."""
        return torch.full((len(capacity_K), self.config.action_width), 1 / self.config.first_scale)

    def first_correction(self, capacity_K: Tensor) -> Tensor:
        """None at full capacity, where an action already says all that was read."""
        return 1 - capacity_K

    def threshold(self, capacity: Tensor) -> Tensor:
        """The size up to which a number is not worth its price: the minimiser of worth |z - z_0|^2 + price l1 |z|."""
        if not self.config.worth:
            return torch.zeros_like(capacity)
        return self.config.price * self.l1(capacity) * self.config.first_scale**2 / (2 * self.config.worth)

    def energy(self, action_XA: Tensor, capacity: Tensor) -> Tensor:
        """E(z) = l2 * max(sqrt(D) - |z|_2^2, 0) + l1 * |z|_1, for (..., A) and a capacity that broadcasts to (...)."""
        square = action_XA.square().sum(dim=-1)
        short = (self.config.action_width**0.5 - square).clamp_min(0)
        return self.config.l2 * short + self.l1(capacity) * action_XA.abs().sum(dim=-1)

    def spread(self, action_XA: Tensor) -> Tensor:
        """VCM: each number wants unit spread, no correlation with others and zero mean, over all X actions.

        The mean enters squared: as printed, signed, it would have no lower bound.
        """
        centred_XA = action_XA - action_XA.mean(dim=0)
        covariance_AA = centred_XA.T @ centred_XA / max(1, len(action_XA) - 1)
        variance_A = covariance_AA.diagonal()
        width = self.config.action_width
        others = (covariance_AA.square().sum() - variance_A.square().sum()) / (width * (width - 1))
        narrow = (1 - (variance_A + 1e-8).sqrt()).clamp_min(0).mean()
        middle = action_XA.mean(dim=0).square().mean()
        return self.config.variance * narrow + self.config.covariance * others + self.config.mean * middle

    @torch.no_grad()
    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """action_BA by Langevin dynamics on the energy, the paper's sampler: z - (a / 2) grad E(z) + N(0, a).

        a is langevin_rate, and less where the slope is steep and actions are small.
        """
        config, shape = self.config, (len(capacity_B), self.config.action_width)
        rate_B1 = config.langevin_rate / self.l1(capacity_B).clamp_min(1)[:, None]
        action_BA = torch.randn(shape, generator=generator, device=capacity_B.device)
        for _ in range(config.langevin_steps):
            noise_BA = torch.randn(shape, generator=generator, device=capacity_B.device)
            step_BA = rate_B1 / 2 * self.slope(action_BA, capacity_B)
            action_BA = action_BA - step_BA + rate_B1.sqrt() * noise_BA
        return action_BA

    def slope(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """The gradient of `energy`, written out so that it is there in inference mode too."""
        short_B1 = action_BA.square().sum(dim=-1, keepdim=True) < self.config.action_width**0.5
        return self.l1(capacity_B)[:, None] * action_BA.sign() - 2 * self.config.l2 * action_BA * short_B1

    def settle(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """Any numbers are an action."""
        return action_BA

    def forward(self, raw_BUX: Tensor, capacity_B: Tensor) -> BottleneckOutput:
        """cost_BU: the price of each action's energy and of its batch's VCM, which all share."""
        full_BUA = raw_BUX.float() * self.raw_scale
        action_BUA = full_BUA.sign() * (full_BUA.abs() - self.threshold(capacity_B)[:, None, None]).clamp_min(0)
        cost_BU = self.energy(action_BUA, capacity_B[:, None])
        heard_BUA = action_BUA
        if self.training:
            cost_BU = cost_BU + self.spread(whole_batch(action_BUA.flatten(0, 1)))
            heard_BUA = action_BUA + self.config.noise * normal_rows(*raw_BUX.shape, device=raw_BUX.device)
        used = (action_BUA.abs() > 0.05).float().mean()
        return BottleneckOutput(heard_BUA, self.config.price * cost_BU, {"used": used.detach()})
