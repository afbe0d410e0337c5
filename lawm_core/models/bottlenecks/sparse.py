"""The sparse bottleneck: an energy that favours sparse actions, and penalties on batch statistics that keep actions
different from each other [LAWM §2].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckConfig, BottleneckOutput, geometric
from lawm_core.runtime import gather_rows


@dataclass(frozen=True, kw_only=True)
class SparseConfig(BottleneckConfig):
    """Weights of the energy and of the variance, covariance and mean (VCM) penalties [LAWM §2].

    l1_low_capacity, l1_high_capacity: weight of |z|_1 at capacity 0 and 1, interpolated geometrically between them. The
        default at capacity 1 is the paper's smallest weight. The default at capacity 0 is 20 times the paper's
        largest, 0.4; an action without any information then minimises the energy.
    l2: weight of the penalty on actions whose squared norm is below sqrt(A).
    variance, covariance, mean: weights of the VCM penalties.
    loss_weight: factor of the whole cost; below 1 because prediction errors are smaller here than in the paper.
    noise: standard deviation of the noise added to actions in training. Without it, the world model could amplify
        arbitrarily small actions, and |z|_1 would have no effect (the scale ambiguity of sparse coding).
    noise_cost: estimate of the prediction error caused by a squared error of 1 in one dimension of the input. Above 0,
        it sets the threshold of a soft-thresholding of actions, the proximal step of sparse coding (ISTA, Daubechies
        et al. 2004). At 0, actions are not thresholded.
    init_scale: factor from the bottleneck's input to actions. It gives actions a norm at which the energy is small
        already before training.
    langevin_steps, langevin_rate: number and size of the steps of `SparseBottleneck.sample`.
    """

    kind: str = "sparse"
    l1_low_capacity: float = 8.0
    l1_high_capacity: float = 0.01
    l2: float = 1.0
    variance: float = 0.1
    covariance: float = 0.001
    mean: float = 0.1
    loss_weight: float = 0.05
    noise: float = 0.1
    noise_cost: float = 0.0
    init_scale: float = 2.0
    langevin_steps: int = 600
    langevin_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.l1_high_capacity <= self.l1_low_capacity:
            raise ValueError(
                "The l1 weights must be positive and must not increase with capacity, got "
                f"l1_low_capacity={self.l1_low_capacity} and l1_high_capacity={self.l1_high_capacity}."
            )
        if self.action_width < 2 or self.init_scale <= 0:
            raise ValueError(
                f"action_width must be at least 2 and init_scale above 0, "
                f"got action_width={self.action_width} and init_scale={self.init_scale}."
            )

    def build(self) -> SparseBottleneck:
        """Return an untrained bottleneck."""
        return SparseBottleneck(self)


class SparseBottleneck(Bottleneck):
    """Makes actions sparse by the energy of each action and the VCM penalties over the batch.

    Actions are deterministic in evaluation; in training, noise is added to them.
    """

    config: SparseConfig
    shared_capacity = True

    def __init__(self, config: SparseConfig) -> None:
        super().__init__(config)
        self.input_scale = config.init_scale

    def forward(self, input_BUX: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH) -> BottleneckOutput:
        """Return latent actions and their cost: the energy of each action and, in training, the VCM cost of the batch.

        The metric `used` is the fraction of action dimensions that are not close to 0.
        """
        full_BUA = input_BUX.float() * self.input_scale
        action_BUA = full_BUA.sign() * (full_BUA.abs() - self.threshold(capacity_B)[:, None, None]).clamp_min(0)
        cost_BU = self.energy(action_BUA, capacity_B[:, None])
        used = (action_BUA.abs() > 0.05).float().mean().detach()
        if self.training:
            cost_BU = cost_BU + self.vcm(gather_rows(action_BUA.flatten(0, 1)))
            action_BUA = action_BUA + self.config.noise * batch_slice.randn(*input_BUX.shape, device=input_BUX.device)
        return BottleneckOutput(action_BUA, self.config.loss_weight * cost_BU, {"used": used})

    def l1(self, capacity: Tensor) -> Tensor:
        """Return the weight of |z|_1 at a capacity."""
        return geometric(self.config.l1_low_capacity, self.config.l1_high_capacity, capacity)

    def threshold(self, capacity: Tensor) -> Tensor:
        """Return the soft threshold that minimises the cost of |z|_1 plus the prediction error from `noise_cost`."""
        if not self.config.noise_cost:
            return torch.zeros_like(capacity)
        return self.config.loss_weight * self.l1(capacity) * self.config.init_scale**2 / (2 * self.config.noise_cost)

    def energy(self, action_XA: Tensor, capacity: Tensor) -> Tensor:
        """Return the energy E(z) = l2 * max(sqrt(A) - |z|_2^2, 0) + l1 * |z|_1 of each action z.

        Norms are over the last axis. The shape of capacity must broadcast to the other axes.
        """
        square = action_XA.square().sum(dim=-1)
        short = (self.config.action_width**0.5 - square).clamp_min(0)
        return self.config.l2 * short + self.l1(capacity) * action_XA.abs().sum(dim=-1)

    def vcm(self, action_XA: Tensor) -> Tensor:
        """Return the VCM cost of X actions.

        It penalises dimensions with a variance below 1, covariances of different dimensions, and means other than 0.
        The mean is squared: with a signed mean, as printed in the paper, the cost would have no lower bound.
        """
        centred_XA = action_XA - action_XA.mean(dim=0)
        covariance_AA = centred_XA.T @ centred_XA / max(1, len(action_XA) - 1)
        variance_A = covariance_AA.diagonal()
        width = self.config.action_width
        correlated = (covariance_AA.square().sum() - variance_A.square().sum()) / (width * (width - 1))
        narrow = (1 - (variance_A + 1e-8).sqrt()).clamp_min(0).mean()
        shifted = action_XA.mean(dim=0).square().mean()
        return self.config.variance * narrow + self.config.covariance * correlated + self.config.mean * shifted

    @torch.no_grad()
    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Sample by Langevin dynamics on the energy, as in the paper: z <- z - (a / 2) grad E(z) + N(0, a).

        The rate a is `langevin_rate`, divided by the weight of |z|_1 where this weight is above 1, because the energy
        is steep there.
        """
        config, shape = self.config, (len(capacity_B), self.config.action_width)
        rate_B1 = config.langevin_rate / self.l1(capacity_B).clamp_min(1)[:, None]
        action_BA = torch.randn(shape, generator=generator, device=capacity_B.device)
        for _ in range(config.langevin_steps):
            noise_BA = torch.randn(shape, generator=generator, device=capacity_B.device)
            step_BA = rate_B1 / 2 * self.energy_gradient(action_BA, capacity_B)
            action_BA = action_BA - step_BA + rate_B1.sqrt() * noise_BA
        return action_BA

    def energy_gradient(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """Return the gradient of `energy`. It is in closed form because inference mode has no autograd."""
        short_B1 = action_BA.square().sum(dim=-1, keepdim=True) < self.config.action_width**0.5
        return self.l1(capacity_B)[:, None] * action_BA.sign() - 2 * self.config.l2 * action_BA * short_B1

    def init_gain(self, capacity_K: Tensor, variance_A: Tensor) -> Tensor:
        """Return 1 / init_scale everywhere, so that the world model undoes the scale of the actions."""
        return torch.full((len(capacity_K), self.config.action_width), 1 / self.config.init_scale)
