"""The two lines between which every family moves: no action at all, and actions without a limit [LAWM §2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lawm_core.models.bottlenecks.base import BottleneckOutput


@dataclass(frozen=True, kw_only=True)
class DeterministicConfig:
    """No action at all: what the past alone foretells."""

    kind: str = "deterministic"
    action_width: int = 128


@dataclass(frozen=True, kw_only=True)
class UnconstrainedConfig:
    """Actions of full width at no cost: all that this width and this network can say."""

    kind: str = "unconstrained"
    action_width: int = 128


class ReferenceBottleneck(nn.Module):
    """Either end of every dial: actions pass as they are, or as zeros, and cost nothing."""

    batch_capacity = False
    raw_scale = 1.0

    def __init__(self, config: DeterministicConfig | UnconstrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.raw_width = config.action_width
        self.passes = isinstance(config, UnconstrainedConfig)

    def first_trust(self, capacity_K: Tensor, variance_A: Tensor | None = None) -> Tensor:
        """Nothing is lost on the way."""
        return torch.ones(len(capacity_K), self.config.action_width)

    def first_correction(self, capacity_K: Tensor) -> Tensor:
        """None at full capacity, where an action already says all that was read."""
        return 1 - capacity_K

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """There is no prior to sample from; zeros."""
        return torch.zeros(len(capacity_B), self.config.action_width, device=capacity_B.device)

    def settle(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """As they are, or zeros."""
        return action_BA * float(self.passes)

    def forward(self, raw_BUX: Tensor, capacity_B: Tensor) -> BottleneckOutput:
        """cost_BU is zero."""
        action_BUA = raw_BUX.float() * float(self.passes)
        return BottleneckOutput(action_BUA, torch.zeros_like(action_BUA[..., 0]))
