"""A generative model of latent actions, trained by flow matching on inferred actions.

The paper samples from each bottleneck's own prior and finds that the samples differ from inferred actions at high
capacity [LAWM Fig. S1]. Flow matching (Lipman et al., arXiv 2210.02747) learns the distribution of inferred actions,
conditioned on state and capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.capacity import CapacityEmbedding
from lawm_core.models.encoder import zero_init
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.transformer import Mlp
from lawm_core.runtime import gather_rows


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Sizes of the network. readout: features read from each token of the state. steps: steps of the ODE solver."""

    width: int = 256
    depth: int = 3
    readout: int = 4
    steps: int = 24


class ActionSampler(nn.Module):
    """The velocity field that transports Gaussian noise to latent actions, given the previous state and capacity."""

    mean_A: Tensor
    std_A: Tensor
    ema_scale = 1.0  # factor of updates of the statistics; the trainer sets it to 1 / gradient accumulation steps

    def __init__(self, config: SamplerConfig, encoder: FrameGeometry, action_width: int) -> None:
        super().__init__()
        self.config, self.action_width = config, action_width
        width, features = config.width, encoder.tokens * config.readout
        self.read = nn.Linear(encoder.width, config.readout)
        self.state = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
        self.capacity = CapacityEmbedding(width)
        self.time = CapacityEmbedding(width)  # time in [0, 1] is embedded in the same way
        self.widen = nn.Linear(action_width, width)
        self.layers = nn.ModuleList(Mlp(width, 2 * width) for _ in range(config.depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(config.depth))
        self.modulations = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(config.depth))
        self.out = nn.Linear(width, action_width)
        zero_init(*self.modulations, self.out)
        # Action dimensions differ in scale; flow matching works on standardised actions.
        self.register_buffer("mean_A", torch.zeros(action_width))
        self.register_buffer("std_A", torch.ones(action_width))

    def forward(self, noisy_BA: Tensor, time_B: Tensor, state_BND: Tensor, capacity_B: Tensor) -> Tensor:
        """Return velocity_BA, the velocity of standardised actions at time_B, from 0 (noise) to 1 (actions).

        It is the exact velocity for independent standard normal dimensions plus a learned residual. The exact part is
        needed because the network may be narrower than an action and would then lose part of the noisy action.
        """
        condition_BD = F.silu(
            self.state(self.read(state_BND).flatten(1)) + self.capacity(capacity_B) + self.time(time_B)
        )
        x_BD = self.widen(noisy_BA)
        for layer, norm, modulation in zip(self.layers, self.norms, self.modulations, strict=True):
            shift, scale, gate = modulation(condition_BD).chunk(3, dim=-1)
            x_BD = x_BD + gate * layer(norm(x_BD) * (1 + scale) + shift)
        time_B1 = time_B[:, None].float()
        normal_BA = noisy_BA * (2 * time_B1 - 1) / (time_B1.square() + (1 - time_B1).square())
        return self.out(x_BD) + normal_BA

    def loss(
        self,
        action_BA: Tensor,
        state_BND: Tensor,
        capacity_B: Tensor,
        batch_slice: BatchSlice = WHOLE_BATCH,
        momentum: float = 0.02,
    ) -> Tensor:
        """Return the mean squared error of the velocity on straight paths from noise to actions.

        In training mode, this also updates the mean and standard deviation by which actions are standardised, as
        exponential moving averages. momentum: weight of the current batch in them.
        """
        if self.training:
            with torch.no_grad():
                all_XA = gather_rows(action_BA.float())
                self.mean_A.lerp_(all_XA.mean(dim=0), momentum * self.ema_scale)
                self.std_A.lerp_(all_XA.std(dim=0, correction=0).clamp_min(1e-3), momentum * self.ema_scale)
        unit_BA = (action_BA.float() - self.mean_A) / self.std_A
        rows, width = unit_BA.shape
        noise_BA = batch_slice.randn(rows, width, device=unit_BA.device)
        time_B = batch_slice.rand(rows, device=unit_BA.device)
        noisy_BA = noise_BA + time_B[:, None] * (unit_BA - noise_BA)
        velocity_BA = self(noisy_BA, time_B, state_BND, capacity_B)
        return (velocity_BA.float() - (unit_BA - noise_BA)).square().mean()

    @torch.no_grad()
    def sample(self, state_BND: Tensor, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Return one sampled action for each state, action_BA. The ODE is solved by Heun's method.

        The result is deterministic given the generator's state.
        """
        device, steps = state_BND.device, self.config.steps
        x_BA = torch.randn(len(state_BND), self.action_width, generator=generator, device=device)
        for step in range(steps):
            time_B = torch.full((len(x_BA),), step / steps, device=device)
            velocity_BA = self(x_BA, time_B, state_BND, capacity_B)
            if step + 1 < steps:
                next_BA = self(x_BA + velocity_BA / steps, time_B + 1 / steps, state_BND, capacity_B)
                velocity_BA = (velocity_BA + next_BA) / 2
            x_BA = x_BA + velocity_BA / steps
        return x_BA * self.std_A + self.mean_A
