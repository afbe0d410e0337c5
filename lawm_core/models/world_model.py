"""Past states and a latent action to the next state [LAWM §2, §3].

A transformer with three-axis rotary positions and frame-causal attention; the action acts on its own frame's tokens
through AdaLN-zero. What it predicts is motion first, then correction: half the blocks say how the current state's
cells are displaced, the other half see the displaced state and add what displacement cannot give. A fresh world model
under an action of zeros therefore predicts the current state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.action_conditioned import ActionConditioned, ActionTerms
from lawm_core.models.blocks import (
    BlockConfig,
    grid_rotary,
)
from lawm_core.models.bottlenecks.base import Bottleneck
from lawm_core.models.cache import KeyValueCache
from lawm_core.models.cells import cells_from_tokens, displace, tokens_from_cells
from lawm_core.models.dial import dial_settings
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.motion import coarse_acting, spread_flow


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """motion_depth blocks before the displacement, correction_depth after; window in frames."""

    kind: str = "states"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    motion_depth: int = 2
    correction_depth: int = 2
    window: int = 8
    place_width: int = 16  # what an action says to each place in the frame, before AdaLN spreads the rest

    @property
    def depth(self) -> int:
        """All blocks."""
        return self.motion_depth + self.correction_depth


class WorldModel(ActionConditioned):
    """p(s_t+1 | s_0..t, z_t), teacher forced on many frames at once or one frame at a time with a cache."""

    def __init__(self, config: WorldModelConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        action_width = bottleneck.config.action_width
        super().__init__(config, encoder, action_width, bottleneck.first_trust(dial_settings()))
        width = config.block.width
        self.motion = nn.Linear(width, 2 * encoder.cells**2)
        self.coarse = coarse_acting(encoder, action_width)
        self.embed_moved = nn.Linear(encoder.width, width)
        self.correction_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.correction_modulation = nn.Linear(width, 2 * width)
        self.correction = nn.Linear(width, encoder.width)
        for layer in (self.motion_modulation, self.motion, self.correction_modulation, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, state_BFND: Tensor, action_BFA: Tensor, capacity_B: Tensor, past: KeyValueCache | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """F frames, each with the action that leaves it, to the F states that follow: (predicted_BFND, cache).

        `past` holds earlier frames of the same clips. The cache returned includes these frames, up to the window.
        """
        return self.advance(state_BFND, self.prepare(action_BFA, capacity_B), past or KeyValueCache())

    def encoded_flow(self, action_BFA: Tensor) -> Tensor:
        """The coarse displacement in cells, spread over them."""
        grid, clips = self.encoder_config.grid, len(action_BFA)
        coarse_X2HW = rearrange(self.coarse(action_BFA), "b f (two h w) -> (b f) two h w", two=2, h=grid)
        return spread_flow(coarse_X2HW, self.encoder_config.cells).unflatten(0, (clips, -1))

    def advance(self, state_BFND: Tensor, terms: ActionTerms, past: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """`forward` with the terms of its actions."""
        _, frames, tokens, _ = state_BFND.shape
        rotary = grid_rotary(self.config.block, frames, self.encoder_config.grid, past.frames, state_BFND.device)
        x_BXD = (self.embed_state(state_BFND) + terms.token_BFND).flatten(1, 2)
        layers = []
        for index, block in enumerate(self.blocks):
            if index == self.config.motion_depth:
                moved_BFND = self.move(state_BFND, x_BXD, terms)
                x_BXD = x_BXD + self.embed_moved(moved_BFND).flatten(1, 2)
            layer_past = past.layers[index] if past.layers else None
            ahead = terms.blocks[index] if terms.blocks else None
            x_BXD, present = block(
                x_BXD, rotary, frames, self.config.window, terms.condition_BFC, layer_past, modulation_BF1X=ahead
            )
            layers.append(present.last((self.config.window - 1) * tokens))
        x_BFND = self.modulated(self.correction_norm, x_BXD, terms.correction_BF1X)
        return moved_BFND + self.correction(x_BFND), KeyValueCache(tuple(layers), past.frames + frames)

    def move(self, state_BFND: Tensor, x_BXD: Tensor, terms: ActionTerms) -> Tensor:
        """The state with its cells displaced, moved_BFND: coarsely as the action says, finely as the tokens say."""
        cells, batch = self.encoder_config.cells, len(state_BFND)
        fine_BFND = self.motion(self.modulated(self.motion_norm, x_BXD, terms.motion_BF1X))
        flow_X2HW = cells_from_tokens(fine_BFND.flatten(0, 1), cells).float() + terms.flow_BF2HW.flatten(0, 1)
        moved_XCHW = displace(cells_from_tokens(state_BFND.flatten(0, 1), cells), flow_X2HW)
        return rearrange(tokens_from_cells(moved_XCHW, cells), "(b f) n d -> b f n d", b=batch)

    def rollout(self, state_BCND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> Tensor:
        """Predictions fed back: C context states and U >= C actions to the U predicted states, predicted_BUND.

        The first C predictions are teacher forced (each follows a given state), the rest follow predictions.
        """
        frames, actions = state_BCND.shape[1], action_BUA.shape[1]
        if not 1 <= frames <= actions:
            raise ValueError(f"{frames} context states came with {actions} actions; needed: 1 <= states <= actions.")
        given, *later = self.prepare(action_BUA, capacity_B).split([frames] + [1] * (actions - frames))
        predicted, past = self.advance(state_BCND, given, KeyValueCache())
        out = [predicted]
        if actions > frames and not torch.is_grad_enabled():  # what gradients come back to may not be written over
            past = self.rolling(past, actions - frames)
        for terms in later:
            predicted, past = self.advance(out[-1][:, -1:], terms, past)
            out.append(predicted)
        return torch.cat(out, dim=1)
