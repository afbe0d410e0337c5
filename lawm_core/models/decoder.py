"""States to frames, for people only: no gradient of the latent-action model ever comes from here [LAWM §3]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, grid_rotary
from lawm_core.models.cells import cells_from_tokens
from lawm_core.models.encoder import ResidualConv, arrange_for_convolutions
from lawm_core.models.geometry import FrameGeometry


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Frame-causal attention over tokens, then convolutions over cells."""

    kind: str = "states"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 2
    channels: int = 48
    conv_depth: int = 3
    window: int = 8  # frames a token may look back, its own included


class ContextConfig(Protocol):
    """Sizes that every decoder has."""

    block: BlockConfig
    depth: int
    window: int


class ContextDecoder(nn.Module):
    """The part of a decoder in which tokens see each other and the frames before them."""

    def __init__(self, config: ContextConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config, self.encoder_config = config, encoder
        self.embed = nn.Linear(encoder.width, config.block.width)
        self.blocks = nn.ModuleList(Block(config.block) for _ in range(config.depth))
        self.unembed = nn.Linear(config.block.width, encoder.width)
        nn.init.zeros_(self.unembed.weight)
        nn.init.zeros_(self.unembed.bias)

    def context(self, state_BTND: Tensor) -> Tensor:
        """What the tokens of this frame and earlier ones have to say about each token, state_BTND to (B, T, N, D)."""
        batch, frames, _, _ = state_BTND.shape
        x_BXD = rearrange(self.embed(state_BTND), "b t n d -> b (t n) d")
        rotary = grid_rotary(self.config.block, frames, self.encoder_config.grid, device=x_BXD.device)
        for block in self.blocks:
            x_BXD, _ = block(x_BXD, rotary, frames, self.config.window)
        return rearrange(self.unembed(x_BXD), "b (t n) d -> b t n d", b=batch, t=frames)


class FrameDecoder(ContextDecoder):
    """state_BTND to frame_BTCHW; a frame is drawn from its own state and, through attention, the states before it."""

    def __init__(self, config: DecoderConfig, encoder: FrameGeometry) -> None:
        super().__init__(config, encoder)
        self.stem = nn.Conv2d(2 * encoder.cell_channels, config.channels, 3, padding=1, padding_mode="replicate")
        self.body = nn.Sequential(*(ResidualConv(config.channels) for _ in range(config.conv_depth)))
        self.head = nn.Conv2d(config.channels, 3 * encoder.cell_pixels**2, 3, padding=1, padding_mode="replicate")

        # Detail starts at nothing over a smooth picture: flat regions are then flat from the first step on.
        self.smooth = nn.Conv2d(2 * encoder.cell_channels, 3, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def raw(self, state_BTND: Tensor) -> Tensor:
        """Frames before they are clamped to [0, 1]; training uses these, so that gradients pass at the limits."""
        batch, cells = state_BTND.shape[0], self.encoder_config.cells
        both_BTND = (state_BTND, self.context(state_BTND))
        cell_XCHW = torch.cat([cells_from_tokens(s.flatten(0, 1), cells) for s in both_BTND], dim=1)
        pixels = self.encoder_config.cell_pixels
        detail = F.pixel_shuffle(self.head(F.gelu(self.body(self.stem(arrange_for_convolutions(cell_XCHW))))), pixels)
        smooth = F.interpolate(self.smooth(cell_XCHW), scale_factor=pixels, mode="bilinear", align_corners=False)
        frame_XCHW = (smooth + detail) * 0.5 + 0.5
        return rearrange(frame_XCHW, "(b t) c h w -> b t c h w", b=batch)

    def forward(self, state_BTND: Tensor) -> Tensor:
        """frame_BTCHW in [0, 1]."""
        return self.raw(state_BTND).float().clamp(0, 1)
