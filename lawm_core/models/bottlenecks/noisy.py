"""The noisy bottleneck: Gaussian actions with a penalty on their KL divergence from a standard normal [LAWM §2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckConfig, BottleneckOutput, geometric


@dataclass(frozen=True, kw_only=True)
class NoisyConfig(BottleneckConfig):
    """Config of the noisy bottleneck, whose cost is beta * KL(q(z) || N(0, I)).

    beta_low_capacity, beta_high_capacity: beta at capacity 0 and 1, interpolated geometrically between them. The
        default at capacity 1 is the paper's smallest beta [LAWM §2]. The default at capacity 0 is ten times the
        paper's largest, 5e-3, because prediction errors are smaller here.
    noise_cost: estimate, for an untrained model, of how fast the prediction error grows with the variance of the noise
        in one dimension. It sets the initial variance.
    """

    kind: str = "noisy"
    beta_low_capacity: float = 5e-2
    beta_high_capacity: float = 1e-6
    noise_cost: float = 5e-3

    def __post_init__(self) -> None:
        if not 0 < self.beta_high_capacity <= self.beta_low_capacity:
            raise ValueError(
                "beta must be positive and must not increase with capacity, got "
                f"beta_low_capacity={self.beta_low_capacity} and beta_high_capacity={self.beta_high_capacity}."
            )

    def build(self) -> NoisyBottleneck:
        """Return an untrained bottleneck."""
        return NoisyBottleneck(self)


class NoisyBottleneck(Bottleneck):
    """Actions with a Gaussian distribution q(z | s_t, s_t+1) and a KL penalty.

    An action is a sample of q in training mode, and the mean of q otherwise.
    """

    config: NoisyConfig

    def __init__(self, config: NoisyConfig) -> None:
        super().__init__(config)
        self.input_width = 2 * config.action_width  # mean, and log variance relative to the initial variance

    def forward(self, input_BUX: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH) -> BottleneckOutput:
        """Return latent actions and their cost, beta * KL, where KL is summed over the dimensions of an action.

        The metric `nats` is the mean KL divergence of an action.
        """
        mean, log_variance = input_BUX.float().chunk(2, dim=-1)
        log_variance = (log_variance + self.init_variance(capacity_B)[:, None, None].log()).clamp(-12, 4)
        kl_BU = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
        action = mean
        if self.training:
            action = mean + batch_slice.randn(*mean.shape, device=mean.device) * (0.5 * log_variance).exp()
        return BottleneckOutput(action, self.beta(capacity_B)[:, None] * kl_BU, {"nats": kl_BU.mean().detach()})

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Sample N(0, I), as in the paper."""
        return torch.randn(len(capacity_B), self.config.action_width, generator=generator, device=capacity_B.device)

    def beta(self, capacity: Tensor) -> Tensor:
        """Return the weight of the KL divergence at a capacity."""
        return geometric(self.config.beta_low_capacity, self.config.beta_high_capacity, capacity)

    def init_variance(self, capacity: Tensor) -> Tensor:
        """Return the variance of q before training, at which less noise would cost more KL than it saves in error.

        The prediction error is estimated from `noise_cost`. With much more noise than this at the start, the world
        model would learn to ignore actions.
        """
        beta = self.beta(capacity)
        return beta / (beta + self.config.noise_cost)

    def init_gain(self, capacity_K: Tensor, variance_A: Tensor) -> Tensor:
        """Return gain_KA, the initial gain of each action dimension in the world model at K capacities.

        variance_A: expected variance of each dimension without noise. Multiplied by its gain, a noisy action is the
        best linear estimate of the action without noise: gain = variance_A / (variance_A + variance of the noise).
        """
        noise_K1 = self.init_variance(capacity_K)[:, None]
        return variance_A / (variance_A + noise_K1)
