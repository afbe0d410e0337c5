"""Noise limits what an action may carry: a Gaussian held near a standard normal [LAWM §2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lawm_core.models.bottlenecks.base import BottleneckOutput, between
from lawm_core.shares import normal_rows


@dataclass(frozen=True, kw_only=True)
class NoisyConfig:
    """beta weighs KL(q || N(0, I)); capacity 1 takes the paper's smallest [LAWM §2].

    Capacity 0 takes ten times the paper's largest, 5e-3: our states' errors are smaller, and there the dial should say
    hardly more than nothing.
    """

    kind: str = "noisy"
    action_width: int = 128
    beta_low_capacity: float = 5e-2
    beta_high_capacity: float = 1e-6
    worth: float = 5e-3  # prediction error that a unit of variance in one number costs, before training
    first_spread: float = 0.1  # variance of an action's numbers before training, where they are not a flow's

    def __post_init__(self) -> None:
        if not 0 < self.beta_high_capacity <= self.beta_low_capacity:
            raise ValueError(
                f"beta runs from {self.beta_low_capacity} at capacity 0 to {self.beta_high_capacity} at capacity 1; "
                "both must be positive and the second no larger."
            )


class NoisyBottleneck(nn.Module):
    """A Gaussian q(z | s_t, s_{t+1}) held near N(0, I); sampled while training, its mean otherwise."""

    batch_capacity = False
    raw_scale = 1.0

    def __init__(self, config: NoisyConfig) -> None:
        super().__init__()
        self.config = config
        self.raw_width = 2 * config.action_width

    def beta(self, capacity: Tensor) -> Tensor:
        """The KL's weight."""
        return between(self.config.beta_low_capacity, self.config.beta_high_capacity, capacity)

    def first_variance(self, capacity: Tensor) -> Tensor:
        """The variance of a fresh q, the one at which noise costs in prediction what it saves in KL.

        Signal must come before noise, or the world model learns to ignore actions before they say anything.
        """
        beta = self.beta(capacity)
        return beta / (beta + self.config.worth)

    def first_trust(self, capacity_K: Tensor, variance_A: Tensor | None = None) -> Tensor:
        """The share of a fresh action's variance that is signal: the best linear guess's gain."""
        noise_K1 = self.first_variance(capacity_K)[:, None]
        signal_A = noise_K1.new_tensor(self.config.first_spread) if variance_A is None else variance_A
        return (signal_A / (signal_A + noise_K1)).expand(-1, self.config.action_width)

    def first_correction(self, capacity_K: Tensor) -> Tensor:
        """None at full capacity, where an action already says all that was read."""
        return 1 - capacity_K

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """action_BA from N(0, I), the paper's sampler."""
        return torch.randn(len(capacity_B), self.config.action_width, generator=generator, device=capacity_B.device)

    def settle(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """Any numbers are an action."""
        return action_BA

    def forward(self, raw_BUX: Tensor, capacity_B: Tensor) -> BottleneckOutput:
        """cost_BU = beta * KL, the KL summed over the action's dimensions."""
        mean, log_variance = raw_BUX.float().chunk(2, dim=-1)
        log_variance = (log_variance + self.first_variance(capacity_B)[:, None, None].log()).clamp(-12, 4)
        kl_BU = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
        action = mean
        if self.training:
            action = mean + normal_rows(*mean.shape, device=mean.device) * (0.5 * log_variance).exp()
        return BottleneckOutput(action, self.beta(capacity_B)[:, None] * kl_BU, {"nats": kl_BU.mean().detach()})
