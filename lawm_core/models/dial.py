"""What the dial, `capacity` in [0, 1], says inside a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CapacityEmbedding(nn.Module):
    """The dial as a vector: smooth waves of capacity through a small MLP."""

    def __init__(self, width: int, waves: int = 8) -> None:
        super().__init__()
        self.register_buffer("wave_W", torch.pi * torch.arange(1, waves + 1, dtype=torch.float32), persistent=False)
        self.widen = nn.Linear(2 * waves + 1, width)
        self.mix = nn.Linear(width, width)

    def forward(self, capacity_B: Tensor) -> Tensor:
        """(B,) in [0, 1] to (B, width)."""
        angle_BW = capacity_B[:, None] * self.wave_W
        wave_BW = torch.cat((capacity_B[:, None], angle_BW.cos(), angle_BW.sin()), dim=-1)
        return self.mix(F.silu(self.widen(wave_BW)))


class CapacityGain(nn.Module):
    """A gain for each of an action's numbers, learned at a few settings of the dial and linear between them.

    Settings far apart on the dial learn apart: what noise drowns at low capacity stays loud at high capacity.
    """

    def __init__(self, first_K: Tensor, width: int) -> None:
        """first_K, or first_KA: the gain at each setting before training, from capacity 0 to 1 in even steps."""
        super().__init__()
        self.gain_KA = nn.Parameter(first_K.unsqueeze(-1).repeat(1, width) if first_K.ndim == 1 else first_K.clone())

    def forward(self, capacity_B: Tensor) -> Tensor:
        """(B,) in [0, 1] to gain_BA."""
        last = len(self.gain_KA) - 1
        place_B = capacity_B.float() * last
        below_B = place_B.floor().clamp(max=last - 1)
        share_B1 = (place_B - below_B)[:, None]
        index_B = below_B.long()
        return self.gain_KA[index_B] * (1 - share_B1) + self.gain_KA[index_B + 1] * share_B1


def dial_settings(count: int = 9) -> Tensor:
    """Even settings of the dial, capacity_K."""
    return torch.linspace(0, 1, count)
