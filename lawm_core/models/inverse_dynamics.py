"""What changed between two frames, as numbers for a bottleneck to limit [LAWM §2].

Motion is the slow part to learn, so finding it is built in (`motion.py`). It is read twice: coarsely, straight into
the action, and finely, by a transformer beside the states themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, grid_rotary
from lawm_core.models.bottlenecks.base import Bottleneck
from lawm_core.models.dial import CapacityEmbedding, CapacityGain, dial_settings
from lawm_core.models.flow import flow_coefficients, wave_count
from lawm_core.models.flow_reader import token_flow
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.motion import MotionConfig, MotionReader, coarse_reading

CORRECTION_UNIT = 0.03  # of what is added to the cosines of a flow


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """readout: how many numbers a token may say to the action."""

    kind: str = "states"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    depth: int = 2
    motion: MotionConfig = field(default_factory=MotionConfig)
    readout: int = 16


class TokenTransformer(nn.Module):
    """What inverse dynamics models have in common: a transformer over one transition's tokens, and its read-out."""

    def build_transformer(
        self, config: InverseDynamicsConfig | FlowInverseDynamicsConfig, encoder: FrameGeometry, raw_width: int
    ) -> None:
        """Create positions, blocks and read-out; the read-out is zero at first."""
        width = config.block.width
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.capacity = CapacityEmbedding(width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, config.readout)
        self.out = nn.Linear(encoder.tokens * config.readout, raw_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def correction_gains(self, capacity_B: Tensor) -> Tensor:
        """How much a read-out of 1 adds to the coarse action, (B, 1)."""
        return torch.ones_like(capacity_B)[:, None]

    def read(self, x_XND: Tensor, coarse_XA: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX from embedded tokens without positions, and from the coarse action of each of X transitions."""
        clips = len(capacity_B)
        condition_X1C = self.capacity(capacity_B).repeat_interleave(len(x_XND) // clips, dim=0)[:, None]
        rotary = grid_rotary(self.config.block, 1, self.grid, device=x_XND.device)
        x_XND = x_XND + self.place_ND
        for block in self.blocks:
            x_XND, _ = block(x_XND, rotary, condition_BFC=condition_X1C)
        raw_BUX = self.out(self.readout(self.norm(x_XND)).flatten(1)).unflatten(0, (clips, -1))
        raw_BUX = raw_BUX * self.correction_gains(capacity_B)[:, None]
        coarse_BUA = coarse_XA.unflatten(0, (clips, -1)) * self.loudness(capacity_B)[:, None]
        return raw_BUX + F.pad(coarse_BUA, (0, raw_BUX.shape[-1] - coarse_BUA.shape[-1]))


class InverseDynamics(TokenTransformer):
    """(state_t, state_t+1) to the bottleneck's raw numbers, conditioned on capacity by AdaLN-zero."""

    def __init__(self, config: InverseDynamicsConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        super().__init__()
        raw_width, action_width = bottleneck.raw_width, bottleneck.config.action_width
        self.config, self.grid = config, encoder.grid
        width = config.block.width
        self.motion = MotionReader(config.motion, encoder)
        self.embed_states = nn.Linear(2 * encoder.width, width)
        self.embed_scores = nn.Linear(self.motion.scores, width)
        self.embed_flow = nn.Linear(2, width)
        self.build_transformer(config, encoder, raw_width)
        self.coarse = coarse_reading(encoder, action_width)
        self.loudness = CapacityGain(torch.ones_like(dial_settings()), action_width)

    def forward(self, state_BTND: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX for the U = T - 1 transitions of each clip; each sees its own two frames only."""
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1))
        score_XNK, flow_XN2 = self.motion(before_XND, after_XND)
        x_XND = x_XND + self.embed_scores(score_XNK) + self.embed_flow(flow_XN2)
        return self.read(x_XND, self.coarse(rearrange(flow_XN2, "x n two -> x (two n)")), capacity_B)


@dataclass(frozen=True, kw_only=True)
class FlowInverseDynamicsConfig:
    """readout: how many numbers each token contributes to the action."""

    kind: str = "flow"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    depth: int = 2
    flow_places: int = 4
    readout: int = 16


class FlowInverseDynamics(TokenTransformer):
    """Two states and the flow between them to the bottleneck's raw numbers, conditioned on capacity by AdaLN-zero.

    The action is the flow's slowest cosines. A transformer that sees flow and states adds what limited actions need
    beside them, the less the higher the capacity: at full capacity the cosines alone generalise better.
    """

    def __init__(self, config: FlowInverseDynamicsConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.config, self.grid, self.action_width = config, encoder.grid, bottleneck.config.action_width
        width = config.block.width
        self.embed_states = nn.Linear(2 * encoder.width, width)
        self.embed_flow = nn.Linear(2 * config.flow_places**2, width)
        self.build_transformer(config, encoder, bottleneck.raw_width)
        self.waves = wave_count(self.action_width, encoder.grid * encoder.cells)
        self.loudness = CapacityGain(torch.ones_like(dial_settings()), self.action_width)
        self.correction_gain = CapacityGain(bottleneck.first_correction(dial_settings()), 1)

    def correction_gains(self, capacity_B: Tensor) -> Tensor:
        """Small: AdamW changes each weight by its learning rate, whatever the gradient."""
        return self.correction_gain(capacity_B) * CORRECTION_UNIT

    def forward(self, state_BTND: Tensor, flow_BU2HW: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX for the U = T - 1 transitions of each clip; each depends on its own two frames only."""
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        flow_X2HW = flow_BU2HW.flatten(0, 1)
        places = self.grid * self.config.flow_places
        token_XNK = token_flow(F.adaptive_avg_pool2d(flow_X2HW, places), self.grid) * places
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1)) + self.embed_flow(token_XNK)
        return self.read(x_XND, action_from_flow(flow_X2HW, self.waves, self.action_width), capacity_B)


def action_from_flow(flow_X2HW: Tensor, waves: int, action_width: int) -> Tensor:
    """The action whose first numbers are the flow's slowest cosines, waves x waves of them for each axis: (X, A)."""
    coefficient_XK = flow_coefficients(flow_X2HW, waves)
    return F.pad(coefficient_XK, (0, action_width - coefficient_XK.shape[-1]))
