"""Reference lines for the bottlenecks: actions of zeros, and actions without a limit [LAWM §2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckConfig, BottleneckOutput


@dataclass(frozen=True, kw_only=True)
class DeterministicConfig(BottleneckConfig):
    """All actions are zero, so that the world model predicts from the past alone."""

    kind: str = "deterministic"

    def build(self) -> ReferenceBottleneck:
        """Return the bottleneck."""
        return ReferenceBottleneck(self, scale=0.0)


@dataclass(frozen=True, kw_only=True)
class UnconstrainedConfig(BottleneckConfig):
    """Actions are the unchanged output of inverse dynamics, at no cost."""

    kind: str = "unconstrained"

    def build(self) -> ReferenceBottleneck:
        """Return the bottleneck."""
        return ReferenceBottleneck(self, scale=1.0)


class ReferenceBottleneck(Bottleneck):
    """Multiplies the output of inverse dynamics by `scale`, 0 or 1. It has no cost and no prior."""

    def __init__(self, config: BottleneckConfig, scale: float) -> None:
        super().__init__(config)
        self.scale = scale

    def forward(self, input_BUX: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH) -> BottleneckOutput:
        """Return latent actions and costs of zero."""
        action_BUA = input_BUX.float() * self.scale
        return BottleneckOutput(action_BUA, torch.zeros_like(action_BUA[..., 0]))

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Return actions of zeros, because there is no prior to sample from."""
        return torch.zeros(len(capacity_B), self.config.action_width, device=capacity_B.device)

    def project(self, action_XA: Tensor, capacity_X: Tensor) -> Tensor:
        """Return the actions multiplied by `scale`: unchanged, or zeros."""
        return action_XA * self.scale
