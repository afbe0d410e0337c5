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

from lawm_core.models.blocks import Block, BlockConfig, grid_positions, rotary_angles
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.motion import MotionConfig, MotionReader, coarse_reading


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """readout: how many numbers a token may say to the action."""

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    depth: int = 2
    motion: MotionConfig = field(default_factory=MotionConfig)
    readout: int = 16


class InverseDynamics(nn.Module):
    """(state_t, state_t+1) to the bottleneck's raw numbers, conditioned on capacity by AdaLN-zero."""

    def __init__(
        self, config: InverseDynamicsConfig, encoder: EncoderConfig, raw_width: int, action_width: int
    ) -> None:
        super().__init__()
        self.config, self.grid = config, encoder.grid
        width = config.block.width
        self.motion = MotionReader(config.motion, encoder)
        self.embed_states = nn.Linear(2 * encoder.width, width)
        self.embed_scores = nn.Linear(self.motion.scores, width)
        self.embed_flow = nn.Linear(2, width)
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.capacity = CapacityEmbedding(width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, config.readout)
        self.out = nn.Linear(encoder.tokens * config.readout, raw_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.coarse = coarse_reading(encoder, action_width)

    def forward(self, state_BTND: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX for the U = T - 1 transitions of each clip; each sees its own two frames only."""
        batch = state_BTND.shape[0]
        before_XND = rearrange(state_BTND[:, :-1], "b u n d -> (b u) n d")
        after_XND = rearrange(state_BTND[:, 1:], "b u n d -> (b u) n d")
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1))
        score_XNK, flow_XN2 = self.motion(before_XND, after_XND)
        x_XND = x_XND + self.embed_scores(score_XNK) + self.embed_flow(flow_XN2) + self.place_ND
        capacity_BC = self.capacity(capacity_B)
        condition_X1C = capacity_BC.repeat_interleave(x_XND.shape[0] // batch, dim=0)[:, None]
        head_width = self.config.block.width // self.config.block.heads
        position_X3 = grid_positions(1, self.grid, device=x_XND.device)
        rotary = rotary_angles(position_X3, head_width, self.config.block.rotary_base)
        for block in self.blocks:
            x_XND, _ = block(x_XND, rotary, condition_BFC=condition_X1C)
        said_XN = self.readout(self.norm(x_XND)).flatten(1)
        coarse_XA = self.coarse(rearrange(flow_XN2, "x n two -> x (two n)"))
        raw_XX = F.pad(coarse_XA, (0, self.out.out_features - coarse_XA.shape[-1])) + self.out(said_XN)
        return rearrange(raw_XX, "(b u) x -> b u x", b=batch)


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
