"""Inverse dynamics, which infers the action between two states, before a bottleneck limits it [LAWM §2].

The action is the coefficients of the optical flow in a cosine basis, plus a correction by a transformer that sees both
states and the flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.attention import BlockConfig
from lawm_core.models.bottlenecks.base import Bottleneck
from lawm_core.models.capacity import CapacityEmbedding, CapacityGain, capacity_grid
from lawm_core.models.encoder import zero_init
from lawm_core.models.flow import flow_basis_size, flow_coefficients
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.transformer import FrameTransformer

# Factor of the learned correction. An AdamW step changes each weight by about the learning rate, however small the
# gradient; a small factor keeps the steps of the correction small.
CORRECTION_UNIT = 0.03


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """Sizes of inverse dynamics.

    block, depth: size and number of transformer blocks.
    flow_patches: the transformer receives flow_patches x flow_patches flow vectors for each token.
    readout: number of features per token from which the action is computed.
    """

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    depth: int = 2
    flow_patches: int = 4
    readout: int = 16


class ActionReadout(nn.Module):
    """A transformer over the tokens of one frame, and a linear readout from all its tokens to action dimensions.

    Inverse dynamics and controllers each have one. That of a controller is initialised from that of inverse dynamics.
    """

    def __init__(
        self,
        config: InverseDynamicsConfig,
        encoder: FrameGeometry,
        out_width: int,
        action_width: int,
        init_gain_K: Tensor,
    ) -> None:
        """Create a readout with untrained weights.

        out_width: number of dimensions that are read out, at least `action_width`.
        init_gain_K: factor of the readout before training, at the capacities of `capacity_grid`.
        """
        super().__init__()
        width = config.block.width
        self.capacity = CapacityEmbedding(width)
        self.transformer = FrameTransformer(
            config.block, config.depth, encoder.grid, condition_width=width, learned_positions=1
        )
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, config.readout)
        self.out = nn.Linear(encoder.tokens * config.readout, out_width)
        self.action_gain = CapacityGain(torch.ones_like(capacity_grid()), action_width)
        self.correction_gain = CapacityGain(init_gain_K, 1)
        zero_init(self.out)

    def forward(self, x_XND: Tensor, condition_XD: Tensor) -> Tensor:
        """Return the transformer's output tokens x_XND for X separate frames, each with its own condition."""
        return self.transformer(x_XND[:, None], condition_XD[:, None])[0][:, 0]

    def read(self, x_XND: Tensor, flow_action_XA: Tensor, capacity_B: Tensor, unit: float = 1.0) -> Tensor:
        """Return action_BUX, the action that encodes the flow plus `unit` times the readout of the tokens.

        x_XND: result of `forward`. flow_action_XA: result of `encode_flow`. In both, clips and transitions are merged.
        Each of the two terms also has a learned gain that depends on capacity.
        """
        clips = len(capacity_B)
        out_BUX = self.out(self.readout(self.norm(x_XND)).flatten(1)).unflatten(0, (clips, -1))
        out_BUX = out_BUX * (self.correction_gain(capacity_B) * unit)[:, None]
        action_BUA = flow_action_XA.unflatten(0, (clips, -1)) * self.action_gain(capacity_B)[:, None]
        return out_BUX + F.pad(action_BUA, (0, out_BUX.shape[-1] - action_BUA.shape[-1]))


class InverseDynamics(nn.Module):
    """Maps two states and the flow between them to the input of a bottleneck, conditioned on capacity by AdaLN-zero.

    The gain of the correction is initialised to decrease with capacity, because at full capacity the flow coefficients
    alone generalise better.
    """

    def __init__(self, config: InverseDynamicsConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        super().__init__()
        action_width = bottleneck.config.action_width
        self.config, self.grid, self.action_width = config, encoder.grid, action_width
        init_gain_K = bottleneck.init_correction_gain(capacity_grid())
        self.action_readout = ActionReadout(config, encoder, bottleneck.input_width, action_width, init_gain_K)
        self.embed_states = nn.Linear(2 * encoder.width, config.block.width)
        self.embed_flow = nn.Linear(2 * config.flow_patches**2, config.block.width)
        self.basis_size = flow_basis_size(action_width, encoder.map_size)

    def forward(self, state_BTND: Tensor, flow_BU2HW: Tensor, capacity_B: Tensor) -> Tensor:
        """Return input_BUX, the bottleneck's input for the U = T - 1 transitions of each clip.

        flow_BU2HW: backward flow between consecutive states. Each transition depends only on its own two states.
        """
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        flow_X2HW = flow_BU2HW.flatten(0, 1)
        patches = self.grid * self.config.flow_patches
        token_XNC = flow_tokens(F.adaptive_avg_pool2d(flow_X2HW, patches), self.grid) * patches
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1)) + self.embed_flow(token_XNC)
        condition_BD = self.action_readout.capacity(capacity_B)
        x_XND = self.action_readout(x_XND, condition_BD.repeat_interleave(len(x_XND) // len(capacity_B), dim=0))
        action_XA = encode_flow(flow_X2HW, self.basis_size, self.action_width)
        return self.action_readout.read(x_XND, action_XA, capacity_B, CORRECTION_UNIT)

    def correction_scale(self, capacity_B: Tensor) -> Tensor:
        """Return the factor of the readout of the tokens at each capacity, (B, 1)."""
        return self.action_readout.correction_gain(capacity_B) * CORRECTION_UNIT


def encode_flow(flow_X2HW: Tensor, basis_size: int, action_width: int) -> Tensor:
    """Return action_XA, whose first dimensions are the cosine coefficients of the flow; the others are 0."""
    coefficient = flow_coefficients(flow_X2HW, basis_size)
    return F.pad(coefficient, (0, action_width - coefficient.shape[-1]))


def flow_tokens(flow_X2HW: Tensor, grid: int) -> Tensor:
    """Return the flow vectors inside each token, (X, N, C) with N = grid**2.

    The channels are first all components to the right, then all downward ones, each row by row.
    """
    return rearrange(flow_X2HW, "x c (h i) (w j) -> x (h w) (c i j)", h=grid, w=grid)
