"""What changed between two frames, as numbers for a bottleneck to limit [LAWM §2].

Motion is the slow part to learn, so frame-to-frame matching is built in: every spot of the earlier state is compared
with the spots around it in the later one, and the transformer reads those scores beside the states themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, grid_positions, rotary_angles
from lawm_core.models.cells import cells_from_tokens
from lawm_core.models.encoder import EncoderConfig, ResidualConv


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """match_radius in match cells, each two state cells wide; readout is what a token may say to the action."""

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    depth: int = 2
    match_channels: int = 32
    match_radius: int = 3
    readout: int = 16


class Matching(nn.Module):
    """Similarity of each spot of one state with its neighbourhood in another: cells to scores a token."""

    def __init__(self, config: InverseDynamicsConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config, self.cells = config, encoder.cells
        channels = config.match_channels
        self.features = nn.Sequential(
            nn.Conv2d(encoder.cell_channels, channels, 4, stride=2, padding=1, padding_mode="replicate"),
            ResidualConv(channels),
        )
        self.side = encoder.grid * encoder.cells // 2  # match cells a side
        self.scores = (encoder.cells // 2) ** 2 * (2 * config.match_radius + 1) ** 2  # a token
        self.register_buffer("neighbour_XK", self._neighbours(), persistent=False)
        self.register_buffer("outside_XK", self.neighbour_XK < 0, persistent=False)

    def _neighbours(self) -> Tensor:
        """Index of each match cell's K neighbours in reading order, -1 outside the frame."""
        side, radius = self.side, self.config.match_radius
        offset = torch.arange(-radius, radius + 1)
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        rows = row.flatten()[:, None, None] + offset[None, :, None]
        columns = column.flatten()[:, None, None] + offset[None, None, :]
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        return torch.where(inside, rows * side + columns, -1).flatten(1)

    def forward(self, before_XND: Tensor, after_XND: Tensor) -> Tensor:
        """score_XNK: cosine similarities in [-1, 1] sharpened by a fixed factor; 0 outside the frame."""
        both = cells_from_tokens(torch.cat((before_XND, after_XND)), self.cells)
        feature = F.normalize(self.features(both), dim=1)
        before, after = rearrange(feature, "(two x) c h w -> two x (h w) c", two=2)
        score_XQK = torch.einsum("x q c, x k c -> x q k", before, after)
        index = self.neighbour_XK.clamp_min(0).expand(score_XQK.shape[0], -1, -1)
        near = score_XQK.gather(2, index).masked_fill(self.outside_XK, 0.0) * 4.0
        side = self.cells // 2
        return rearrange(near, "x (h i w j) k -> x (h w) (i j k)", h=self.side // side, i=side, j=side)


class InverseDynamics(nn.Module):
    """(state_t, state_t+1) to the bottleneck's raw numbers, conditioned on capacity by AdaLN-zero."""

    def __init__(self, config: InverseDynamicsConfig, encoder: EncoderConfig, raw_width: int) -> None:
        super().__init__()
        self.config, self.grid = config, encoder.grid
        width = config.block.width
        self.matching = Matching(config, encoder)
        self.embed_states = nn.Linear(2 * encoder.width, width)
        self.embed_scores = nn.Linear(self.matching.scores, width)
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.capacity = CapacityEmbedding(width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, config.readout)
        self.out = nn.Linear(encoder.tokens * config.readout, raw_width)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, state_BTND: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX for the U = T - 1 transitions of each clip; each sees its own two frames only."""
        batch = state_BTND.shape[0]
        before_XND = rearrange(state_BTND[:, :-1], "b u n d -> (b u) n d")
        after_XND = rearrange(state_BTND[:, 1:], "b u n d -> (b u) n d")
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1))
        x_XND = x_XND + self.embed_scores(self.matching(before_XND, after_XND)) + self.place_ND
        capacity_BC = self.capacity(capacity_B)
        condition_X1C = capacity_BC.repeat_interleave(x_XND.shape[0] // batch, dim=0)[:, None]
        head_width = self.config.block.width // self.config.block.heads
        position_X3 = grid_positions(1, self.grid, device=x_XND.device)
        rotary = rotary_angles(position_X3, head_width, self.config.block.rotary_base)
        for block in self.blocks:
            x_XND, _ = block(x_XND, rotary, condition_BFC=condition_X1C)
        said_XN = self.readout(self.norm(x_XND)).flatten(1)
        return rearrange(self.out(said_XN), "(b u) x -> b u x", b=batch)


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
