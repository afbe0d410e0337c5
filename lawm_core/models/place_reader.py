"""What an action does at each place: inverse dynamics that is told what is done, where it cannot see what follows.

A latent action says where things are as much as how they go. To find an arm in a picture and foresee its motion from
128 numbers alone is slow to learn; motion at every token is a teacher for every token. The reading from tokens to an
action is the one that inverse dynamics has learned already.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, grid_rotary
from lawm_core.models.dial import CapacityEmbedding, CapacityGain, dial_settings
from lawm_core.models.flow import wave_count
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import (
    FlowInverseDynamicsConfig,
    InverseDynamicsConfig,
    action_from_flow,
)
from lawm_core.models.motion import coarse_reading

LEAST_GAIN = 0.01  # of a read-out, so that it can learn where inverse dynamics adds nothing


def token_places(waves: int, grid: int) -> int:
    """Places a side of a token, enough for so many cosines over all tokens."""
    return -(-waves // grid)


class PlaceReader(nn.Module):
    """A state and what is told of an action, to the latent action and the motion of each token, guessed."""

    def __init__(
        self, config: InverseDynamicsConfig | FlowInverseDynamicsConfig, encoder: FrameGeometry, action_width: int
    ) -> None:
        super().__init__()
        self.by_flow = isinstance(config, FlowInverseDynamicsConfig)
        self.config, self.grid, self.cells_across = config, encoder.grid, encoder.grid * encoder.cells
        width = config.block.width
        self.embed_state = nn.Linear(encoder.width, width)
        self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.capacity = CapacityEmbedding(width)
        self.blocks = nn.ModuleList(Block(config.block, condition_width=width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, config.readout)
        self.out = nn.Linear(encoder.tokens * config.readout, action_width)
        self.action_width, self.waves = action_width, wave_count(action_width, encoder.grid * encoder.cells)
        self.places = token_places(self.waves, encoder.grid) if self.by_flow else 1  # a side of a token
        self.flow = nn.Linear(width, 2 * self.places**2)
        self.coarse = nn.Identity() if self.by_flow else coarse_reading(encoder, action_width)
        self.loudness = CapacityGain(torch.ones_like(dial_settings()), action_width)
        self.correction_gain = CapacityGain(torch.ones_like(dial_settings()), 1) if self.by_flow else None
        for layer in (self.flow, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, told_BUW: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> tuple[Tensor, Tensor]:
        """action_BUA, and flow_BUNP: where each of a token's places will have come from, (right, down), as
        `flow_reader.token_flow` orders them, in state cells.
        """
        clips, steps = told_BUW.shape[:2]
        rotary = grid_rotary(self.config.block, 1, self.grid, device=state_BUND.device)
        x_XNW = self.embed_state(state_BUND.flatten(0, 1)) + self.place_ND
        condition_X1W = (told_BUW + self.capacity(capacity_B)[:, None]).flatten(0, 1)[:, None]
        for layer in self.blocks:
            x_XNW, _ = layer(x_XNW, rotary, condition_BFC=condition_X1W)
        flow_XNP = self.flow(x_XNW)
        coarse_BUA = self.coarse(self.encode_flow(flow_XNP)).unflatten(0, (clips, steps))
        read_BUA = self.out(self.readout(self.norm(x_XNW)).flatten(1)).unflatten(0, (clips, steps))
        if self.correction_gain is not None:
            read_BUA = read_BUA * self.correction_gain(capacity_B)[:, None]
        return read_BUA + coarse_BUA * self.loudness(capacity_B)[:, None], flow_XNP.unflatten(0, (clips, steps))

    def encode_flow(self, flow_XNP: Tensor) -> Tensor:
        """The motion of tokens as what the family's inverse dynamics reads an action from, (X, numbers)."""
        if not self.by_flow:
            return rearrange(flow_XNP, "x n two -> x (two n)")
        side = self.places
        flow_X2HW = rearrange(flow_XNP, "x (h w) (c i j) -> x c (h i) (w j)", h=self.grid, i=side, j=side)
        return action_from_flow(flow_X2HW / self.cells_across, self.waves, self.action_width)

    @torch.no_grad()
    def start_from(self, family: nn.Module) -> None:
        """Takes over how a `Family` of the same widths reads tokens; what it reads from the next state is left out, and
        blocks beyond its own depth.
        """
        seen = family.inverse_dynamics
        self.embed_state.weight.copy_(seen.embed_states.weight[:, : self.embed_state.in_features])
        self.embed_state.bias.copy_(seen.embed_states.bias)
        self.place_ND.copy_(seen.place_ND)
        for own, taken in zip(self.blocks, seen.blocks, strict=False):
            own.load_state_dict(taken.state_dict())
        for name in ("norm", "readout"):
            getattr(self, name).load_state_dict(getattr(seen, name).state_dict())
        self.speak_as(family)

    @torch.no_grad()
    def speak_as(self, family: nn.Module) -> None:
        """Takes over how a `Family` of the same sizes puts what it has read into its own actions."""
        seen, actions = family.inverse_dynamics, len(self.out.weight)
        for name in ("capacity", "loudness") if self.by_flow else ("capacity", "loudness", "coarse"):
            getattr(self, name).load_state_dict(getattr(seen, name).state_dict())
        self.out.weight.copy_(seen.out.weight[:actions])
        self.out.bias.copy_(seen.out.bias[:actions])
        if self.correction_gain is not None:
            self.correction_gain.gain_KA.copy_(seen.correction_gains(dial_settings()).clamp_min(LEAST_GAIN))
        for weight in (*self.out.parameters(), *self.loudness.parameters()):
            weight.mul_(family.bottleneck.raw_scale)  # from a bottleneck's raw numbers to its actions
