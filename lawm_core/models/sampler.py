"""Latent actions from nothing: a small flow-matching model of what inferred actions look like after a given state.

The paper samples from each bottleneck's own prior and finds that this separates from inferred actions at high capacity
[LAWM Fig. S1]. A flow (Lipman et al., arXiv 2210.02747) learns the inferred actions themselves, from the state and the
dial: it starts at Gaussian noise and follows the velocity it has learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.models.blocks import Mlp
from lawm_core.models.dial import CapacityEmbedding
from lawm_core.runtime import whole_batch
from lawm_core.shares import even_rows, normal_rows, pace


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """steps: of the way from noise to an action. readout: how many numbers a token may say about its state."""

    width: int = 256
    depth: int = 3
    readout: int = 4
    steps: int = 24


class ActionSampler(nn.Module):
    """Velocity of an action on its way from noise, given the state before it and the dial."""

    def __init__(self, config: SamplerConfig, tokens: int, state_width: int, action_width: int) -> None:
        super().__init__()
        self.config, self.action_width = config, action_width
        width = config.width
        self.read = nn.Linear(state_width, config.readout)
        self.state = nn.Sequential(nn.LayerNorm(tokens * config.readout), nn.Linear(tokens * config.readout, width))
        self.capacity = CapacityEmbedding(width)
        self.time = CapacityEmbedding(width)  # a moment in [0, 1] is embedded as the dial is
        self.widen = nn.Linear(action_width, width)
        self.layers = nn.ModuleList(Mlp(width, 2 * width) for _ in range(config.depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(config.depth))
        self.modulations = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(config.depth))
        self.out = nn.Linear(width, action_width)
        for layer in (*self.modulations, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Inferred actions differ in size from number to number and along the dial; the flow sees them at unit size.
        self.register_buffer("mean_A", torch.zeros(action_width))
        self.register_buffer("std_A", torch.ones(action_width))

    def forward(self, noised_BA: Tensor, time_B: Tensor, state_BND: Tensor, capacity_B: Tensor) -> Tensor:
        """velocity_BA at unit size: the exact one of independent normal numbers, and what is learned beside it.

        A network narrower than an action could not even pass the noised numbers on.
        """
        condition_BC = F.silu(
            self.state(self.read(state_BND).flatten(1)) + self.capacity(capacity_B) + self.time(time_B)
        )
        x_BC = self.widen(noised_BA)
        for layer, norm, modulation in zip(self.layers, self.norms, self.modulations, strict=True):
            shift, scale, gate = modulation(condition_BC).chunk(3, dim=-1)
            x_BC = x_BC + gate * layer(norm(x_BC) * (1 + scale) + shift)
        time_B1 = time_B[:, None].float()
        normal_BA = noised_BA * (2 * time_B1 - 1) / (time_B1.square() + (1 - time_B1).square())
        return self.out(x_BC) + normal_BA

    def loss(self, action_BA: Tensor, state_BND: Tensor, capacity_B: Tensor, momentum: float = 0.02) -> Tensor:
        """Mean squared error of the velocity on the straight way from noise to each action."""
        if self.training:
            with torch.no_grad():
                all_BA = whole_batch(action_BA.float())
                self.mean_A.lerp_(all_BA.mean(dim=0), momentum * pace())
                self.std_A.lerp_(all_BA.std(dim=0, correction=0).clamp_min(1e-3), momentum * pace())
        unit_BA = (action_BA.float() - self.mean_A) / self.std_A
        rows, width = unit_BA.shape
        noise_BA = normal_rows(rows, width, device=unit_BA.device)
        time_B = even_rows(rows, device=unit_BA.device)
        noised_BA = noise_BA + time_B[:, None] * (unit_BA - noise_BA)
        velocity_BA = self(noised_BA, time_B, state_BND, capacity_B)
        return (velocity_BA.float() - (unit_BA - noise_BA)).square().mean()

    @torch.no_grad()
    def sample(self, state_BND: Tensor, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """action_BA, one for each state; the same for the same generator state. Heun's method."""
        device, steps = state_BND.device, self.config.steps
        x_BA = torch.randn(len(state_BND), self.action_width, generator=generator, device=device)
        for step in range(steps):
            time_B = torch.full((len(x_BA),), step / steps, device=device)
            velocity_BA = self(x_BA, time_B, state_BND, capacity_B)
            if step + 1 < steps:
                ahead_BA = self(x_BA + velocity_BA / steps, time_B + 1 / steps, state_BND, capacity_B)
                velocity_BA = (velocity_BA + ahead_BA) / 2
            x_BA = x_BA + velocity_BA / steps
        return x_BA * self.std_A + self.mean_A
