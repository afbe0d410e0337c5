"""The interface of bottlenecks, which limit how much information a latent action carries; capacity sets how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.registry import Registered


@dataclass(frozen=True)
class BottleneckOutput:
    """Output of a bottleneck.

    action_BUA: the latent actions.
    cost_BU: cost of each action, to be added to the prediction loss.
    metrics: scalars to log.
    """

    action_BUA: Tensor
    cost_BU: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BottleneckConfig(Registered):
    """Base class of bottleneck configs. action_width: A, the number of dimensions of a latent action."""

    action_width: int = 128

    def build(self) -> Bottleneck:
        """Return an untrained bottleneck."""
        raise NotImplementedError


class Bottleneck(nn.Module):
    """Base class of bottlenecks, which map the output of inverse dynamics to latent actions.

    input_width: number of input dimensions for each transition. The first A of them correspond to those of the action.
    input_scale: factor from the input to the action.
    shared_capacity: whether all clips of a training batch must have the same capacity, because the cost is computed
        from statistics of the batch.
    ema_scale: factor of all updates of moving averages. The trainer sets it to 1 / gradient accumulation steps, because
        every micro-batch updates them.
    """

    input_width: int
    input_scale = 1.0
    shared_capacity = False
    ema_scale = 1.0

    def __init__(self, config: BottleneckConfig) -> None:
        super().__init__()
        self.config = config
        self.input_width = config.action_width

    def forward(self, input_BUX: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH) -> BottleneckOutput:
        """Return latent actions and their cost. In training mode, the actions can be random."""
        raise NotImplementedError

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Return action_BA, one action for each capacity, sampled from the prior of the bottleneck."""
        raise NotImplementedError

    def project(self, action_XA: Tensor, capacity_X: Tensor) -> Tensor:
        """Return, for each action, the nearest one that the bottleneck can produce at its capacity."""
        return action_XA

    def init_gain(self, capacity_K: Tensor, variance_A: Tensor) -> Tensor:
        """Return gain_KA, the initial factor of each action dimension in the world model at K capacities.

        variance_A: expected variance of each action dimension without noise.
        """
        return torch.ones(len(capacity_K), self.config.action_width)

    def init_correction_gain(self, capacity_K: Tensor) -> Tensor:
        """Return gain_K, the initial factor of what networks add to the flow and to its coefficients, at K capacities.

        It is 0 at capacity 1, where the flow coefficients alone generalise best.
        """
        return 1 - capacity_K


def geometric(low: float, high: float, capacity: Tensor) -> Tensor:
    """Interpolate geometrically from `low` at capacity 0 to `high` at capacity 1."""
    return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * capacity)
