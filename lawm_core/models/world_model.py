"""Past states and a latent action to the next state [LAWM §2, §3].

A transformer with three-axis rotary positions and frame-causal attention; the action acts on its own frame's tokens
through AdaLN-zero. What it predicts is motion first, then correction: half the blocks say how the current state's
cells are displaced, the other half see the displaced state and add what displacement cannot give. A fresh world model
under an action of zeros therefore predicts the current state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import (
    Block,
    BlockConfig,
    grid_rotary,
    modulate,
)
from lawm_core.models.cache import KeyValueCache, RollingPast
from lawm_core.models.cells import cells_from_tokens, displace, tokens_from_cells
from lawm_core.models.dial import CapacityEmbedding, CapacityGain
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


@dataclass(frozen=True)
class ActionTerms:
    """What actions and capacity alone add to a world model, for F frames. States play no part in it, so a rollout
    computes it for all of its frames at once.

    token_BFND: added to every token. flow_BF2HW: the coarse displacement, in cells. motion_BF1X, correction_BF1X:
    shifts and scales of the two read-outs. blocks: each block's modulation_BF1X; empty where blocks compute their own
    from condition_BFC.
    """

    token_BFND: Tensor
    flow_BF2HW: Tensor
    motion_BF1X: Tensor
    correction_BF1X: Tensor
    condition_BFC: Tensor
    blocks: tuple[Tensor, ...] = ()

    def split(self, frames: list[int]) -> list[ActionTerms]:
        """Cut into consecutive numbers of frames."""
        *named, blocks = (getattr(self, field.name) for field in fields(self))
        cut = [tensor.split(frames, dim=1) for tensor in (*named, *blocks)]
        return [ActionTerms(*part[: len(named)], blocks=part[len(named) :]) for part in zip(*cut, strict=True)]


class WorldModel(nn.Module):
    """p(s_t+1 | s_0..t, z_t), teacher forced on many frames at once or one frame at a time with a cache."""

    def __init__(
        self, config: WorldModelConfig, encoder: FrameGeometry, action_width: int, first_trust_K: Tensor
    ) -> None:
        """first_trust_K: how far a fresh model believes an action's numbers, from capacity 0 to 1 in even steps."""
        super().__init__()
        self.config, self.encoder_config = config, encoder
        width = config.block.width
        self.embed_state = nn.Linear(encoder.width, width)
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.embed_action = nn.Sequential(nn.Linear(action_width, width), nn.SiLU(), nn.Linear(width, width))
        self.capacity = CapacityEmbedding(width)
        self.trust = CapacityGain(first_trust_K, action_width)
        self.action_places = nn.Linear(action_width, encoder.tokens * config.place_width)
        self.embed_places = nn.Linear(config.place_width, width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.motion_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.motion_modulation = nn.Linear(width, 2 * width)
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

    def prepare(self, action_BFA: Tensor, capacity_B: Tensor) -> ActionTerms:
        """Compute all that depends on actions and capacity alone."""
        cells, grid, clips = self.encoder_config.cells, self.encoder_config.grid, len(action_BFA)
        action_BFA = action_BFA * self.trust(capacity_B)[:, None]
        condition_BFC = self.embed_action(action_BFA) + self.capacity(capacity_B)[:, None]
        place_BFNP = rearrange(self.action_places(action_BFA), "b f (n p) -> b f n p", p=self.config.place_width)
        coarse_X2HW = rearrange(self.coarse(action_BFA), "b f (two h w) -> (b f) two h w", two=2, h=grid)
        active_BFC = F.silu(condition_BFC)
        # With gradients, blocks compute their own: FSDP2 holds their weights only while it runs them.
        ahead = () if torch.is_grad_enabled() else tuple(b.modulate_by(condition_BFC) for b in self.blocks)
        return ActionTerms(
            token_BFND=self.embed_places(place_BFNP) + self.place_ND,
            flow_BF2HW=rearrange(spread_flow(coarse_X2HW, cells), "(b f) two h w -> b f two h w", b=clips),
            motion_BF1X=self.motion_modulation(active_BFC)[:, :, None],
            correction_BF1X=self.correction_modulation(active_BFC)[:, :, None],
            condition_BFC=condition_BFC,
            blocks=ahead,
        )

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

    @staticmethod
    def modulated(norm: nn.Module, x_BXD: Tensor, modulation_BF1X: Tensor) -> Tensor:
        """Tokens for a read-out: normalised, then shifted and scaled frame by frame, (B, F, N, width)."""
        shift, scale = modulation_BF1X.chunk(2, dim=-1)
        return modulate(norm(x_BXD.unflatten(1, (modulation_BF1X.shape[1], -1))), shift, scale)

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

    def rolling(self, past: KeyValueCache, steps: int) -> KeyValueCache:
        """The same past for so many steps, one frame each, that never turn back: in memory that is taken once."""
        tokens = self.encoder_config.tokens
        room = min(self.config.window, past.kept_frames(tokens) + steps) * tokens
        layers = past.layers or (None,) * self.config.depth
        return KeyValueCache(tuple(RollingPast(room, layer) for layer in layers), past.frames)
