"""Conditioning on capacity, a number in [0, 1] that sets how much information a latent action may carry."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CapacityEmbedding(nn.Module):
    """Embeds a number in [0, 1] by Fourier features and a small MLP: (B,) to (B, width)."""

    frequency: Tensor

    def __init__(self, width: int, frequencies: int = 8) -> None:
        super().__init__()
        frequency = torch.pi * torch.arange(1, frequencies + 1, dtype=torch.float32)
        self.register_buffer("frequency", frequency, persistent=False)
        self.widen = nn.Linear(2 * frequencies + 1, width)
        self.mix = nn.Linear(width, width)

    def forward(self, capacity_B: Tensor) -> Tensor:
        """Embed capacity_B in [0, 1] as (B, width)."""
        angle = capacity_B[:, None] * self.frequency
        features = torch.cat((capacity_B[:, None], angle.cos(), angle.sin()), dim=-1)
        return self.mix(F.silu(self.widen(features)))


class CapacityGain(nn.Module):
    """A learned gain for each dimension of an action, piecewise linear in capacity.

    Gains at distant capacities are separate parameters. A dimension that is mostly noise at low capacity can therefore
    have a small gain there and a large one at high capacity.
    """

    def __init__(self, init_K: Tensor, width: int) -> None:
        """init_K: gains before training at K evenly spaced capacities from 0 to 1, as init_K or init_KA."""
        super().__init__()
        self.gain_KA = nn.Parameter(init_K.unsqueeze(-1).repeat(1, width) if init_K.ndim == 1 else init_K.clone())

    def forward(self, capacity_B: Tensor) -> Tensor:
        """Return the interpolated gains gain_BA at capacity_B in [0, 1]."""
        last = len(self.gain_KA) - 1
        position_B = capacity_B.float() * last
        below_B = position_B.floor().clamp(max=last - 1)
        fraction_B1 = (position_B - below_B)[:, None]
        index_B = below_B.long()
        return self.gain_KA[index_B] * (1 - fraction_B1) + self.gain_KA[index_B + 1] * fraction_B1


def capacity_grid(count: int = 9) -> Tensor:
    """Return `count` evenly spaced capacities from 0 to 1, capacity_K."""
    return torch.linspace(0, 1, count)
