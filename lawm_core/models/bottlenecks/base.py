"""What every bottleneck is: inverse dynamics proposes, the bottleneck limits, the dial says how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class BottleneckOutput:
    """Latent actions and what they cost: action_BUA, cost_BU (in units of the prediction loss); notes for the log."""

    action_BUA: Tensor
    cost_BU: Tensor
    notes: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(Protocol):
    """Inverse dynamics proposes, the bottleneck limits."""

    raw_width: int  # numbers it needs for each transition; an action's own come first
    raw_scale: float  # how much larger an action's numbers are than those
    batch_capacity: bool  # one setting of the dial for a whole batch, where the cost is of the batch's statistics

    def first_trust(self, capacity_K: Tensor, variance_A: Tensor | None = None) -> Tensor:
        """How far a fresh world model should believe each number of an action, (K, A). variance_A: of the numbers."""
        ...

    def first_correction(self, capacity_K: Tensor) -> Tensor:
        """How much fresh networks add to what an action's flow says by itself, (K,)."""
        ...

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor: ...  # action_BA, from a prior

    def settle(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor: ...  # the nearest actions that may be

    def __call__(self, raw_BUX: Tensor, capacity_B: Tensor) -> BottleneckOutput: ...


def between(low: float, high: float, capacity: Tensor) -> Tensor:
    """From `low` at capacity 0 to `high` at capacity 1 by equal factors."""
    return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * capacity)
