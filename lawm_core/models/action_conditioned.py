"""What world models have in common: a frame-causal transformer on which actions act through AdaLN-zero."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, modulate
from lawm_core.models.cache import KeyValueCache, RollingPast
from lawm_core.models.dial import CapacityEmbedding, CapacityGain
from lawm_core.models.geometry import FrameGeometry


class ActionConditionedConfig(Protocol):
    """Sizes that every world model has."""

    block: BlockConfig
    window: int
    place_width: int

    @property
    def depth(self) -> int: ...


@dataclass(frozen=True)
class ActionTerms:
    """What actions and capacity alone add to a world model, for F frames. States play no part in it, so a rollout
    computes it for all of its frames at once.

    token_BFND: added to every token. flow_BF2HW: the coarse displacement, in cells. motion_BF1X, correction_BF1X:
    shifts and scales of the two read-outs. correction_gain_BF1: of what is added to the displacement. blocks: each
    block's modulation_BF1X; empty where blocks compute their own from condition_BFC.
    """

    token_BFND: Tensor
    flow_BF2HW: Tensor
    motion_BF1X: Tensor
    correction_BF1X: Tensor
    condition_BFC: Tensor
    correction_gain_BF1: Tensor
    blocks: tuple[Tensor, ...] = ()

    def split(self, frames: list[int]) -> list[ActionTerms]:
        """Cut into consecutive numbers of frames."""
        *named, blocks = (getattr(self, field.name) for field in fields(self))
        cut = [tensor.split(frames, dim=1) for tensor in (*named, *blocks)]
        return [ActionTerms(*part[: len(named)], blocks=part[len(named) :]) for part in zip(*cut, strict=True)]


class ActionConditioned(nn.Module):
    """Embeddings, blocks and cache of a world model. Subclasses say which flow an action encodes, and what is read out
    of the tokens.
    """

    def __init__(
        self, config: ActionConditionedConfig, encoder: FrameGeometry, action_width: int, first_trust_KA: Tensor
    ) -> None:
        """first_trust_KA: initial gain of an action's numbers, from capacity 0 to 1 in even steps."""
        super().__init__()
        self.config, self.encoder_config = config, encoder
        width = config.block.width
        self.embed_state = nn.Linear(encoder.width, width)
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.embed_action = nn.Sequential(nn.Linear(action_width, width), nn.SiLU(), nn.Linear(width, width))
        self.capacity = CapacityEmbedding(width)
        self.trust = CapacityGain(first_trust_KA, action_width)
        self.action_places = nn.Linear(action_width, encoder.tokens * config.place_width)
        self.embed_places = nn.Linear(config.place_width, width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.motion_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.motion_modulation = nn.Linear(width, 2 * width)

    def encoded_flow(self, action_BFA: Tensor) -> Tensor:
        """The flow that actions encode by themselves, flow_BF2HW."""
        raise NotImplementedError

    def correction_gains(self, capacity_B: Tensor) -> Tensor:
        """The gain of what is added to the flow that actions encode, (B, 1)."""
        return torch.ones_like(capacity_B)[:, None]

    def prepare(self, action_BFA: Tensor, capacity_B: Tensor) -> ActionTerms:
        """Compute all that depends on actions and capacity alone."""
        action_BFA = action_BFA * self.trust(capacity_B)[:, None]
        condition_BFC = self.embed_action(action_BFA) + self.capacity(capacity_B)[:, None]
        place_BFNP = rearrange(self.action_places(action_BFA), "b f (n p) -> b f n p", p=self.config.place_width)
        active_BFC = F.silu(condition_BFC)
        # With gradients, blocks compute their own: FSDP2 holds their weights only while it runs them.
        ahead = () if torch.is_grad_enabled() else tuple(b.modulate_by(condition_BFC) for b in self.blocks)
        return ActionTerms(
            token_BFND=self.embed_places(place_BFNP) + self.place_ND,
            flow_BF2HW=self.encoded_flow(action_BFA),
            motion_BF1X=self.motion_modulation(active_BFC)[:, :, None],
            correction_BF1X=self.correction_modulation(active_BFC)[:, :, None],
            condition_BFC=condition_BFC,
            correction_gain_BF1=self.correction_gains(capacity_B)[:, None].expand(-1, action_BFA.shape[1], -1),
            blocks=ahead,
        )

    @staticmethod
    def modulated(norm: nn.Module, x_BXD: Tensor, modulation_BF1X: Tensor) -> Tensor:
        """Tokens for a read-out: normalised, then shifted and scaled frame by frame, (B, F, N, width)."""
        shift, scale = modulation_BF1X.chunk(2, dim=-1)
        return modulate(norm(x_BXD.unflatten(1, (modulation_BF1X.shape[1], -1))), shift, scale)

    def rolling(self, past: KeyValueCache, steps: int) -> KeyValueCache:
        """The same past for so many steps, one frame each, that never turn back: in memory that is taken once."""
        tokens = self.encoder_config.tokens
        room = min(self.config.window, past.kept_frames(tokens) + steps) * tokens
        layers = past.layers or (None,) * self.config.depth
        return KeyValueCache(tuple(RollingPast(room, layer) for layer in layers), past.frames)
