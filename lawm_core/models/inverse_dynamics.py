"""What changed between two frames, as numbers for a bottleneck to limit [LAWM §2].

Motion is the slow part to learn, so frame-to-frame matching is built in: every spot of the later state is compared
with the spots around it in the earlier one. Where each came from is read twice: coarsely, straight into the action,
and finely, by a transformer beside the states themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, grid_positions, rotary_angles
from lawm_core.models.cells import cells_from_tokens, low_waves, wave_weights
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
    """Where each spot of a state came from in the state before: a distribution over its neighbourhood."""

    def __init__(self, config: InverseDynamicsConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.cells, self.spots = encoder.cells, encoder.cells // 2  # state cells and spots a side of a token
        self.side = encoder.grid * self.spots
        channels = config.match_channels
        self.features = nn.Sequential(
            nn.Conv2d(encoder.cell_channels, channels, 4, stride=2, padding=1, padding_mode="replicate"),
            ResidualConv(channels),
        )
        self.log_sharpness = nn.Parameter(torch.tensor(3.5))
        line = torch.arange(-config.match_radius, config.match_radius + 1)
        offset_K2 = torch.cartesian_prod(line, line)  # (down, right), in spots
        # Where nothing tells the neighbours apart, the likeliest motion is none.
        self.prior_K = nn.Parameter(-0.6 * offset_K2.float().square().sum(dim=1))
        self.scores = self.spots**2 * len(offset_K2)  # numbers a token
        at = torch.cartesian_prod(torch.arange(self.side), torch.arange(self.side))
        # Beyond the border the border itself is compared: ambiguous, but not biased inwards.
        near = (at[:, None] + offset_K2).clamp(0, self.side - 1)
        self.register_buffer("neighbour_QK", near[..., 0] * self.side + near[..., 1], persistent=False)
        self.register_buffer("offset_K2", offset_K2.float(), persistent=False)

    def forward(self, before_XND: Tensor, after_XND: Tensor) -> tuple[Tensor, Tensor]:
        """score_XNK, a token's distributions, and flow_XN2, their mean offset: (right, down) in state cells."""
        both = cells_from_tokens(torch.cat((before_XND, after_XND)), self.cells)
        feature = F.normalize(self.features(both), dim=1)
        before, after = rearrange(feature, "(two x) c h w -> two x (h w) c", two=2)
        likeness_XQX = torch.einsum("x q c, x k c -> x q k", after, before)
        likeness_XQK = likeness_XQX.gather(2, self.neighbour_QK.expand(len(before), -1, -1)).float()
        score_XQK = (likeness_XQK * self.log_sharpness.exp() + self.prior_K).softmax(dim=-1)
        flow_XQ2 = (score_XQK @ self.offset_K2).flip(-1) * (self.cells / self.spots)
        grid = self.side // self.spots
        split = {"h": grid, "i": self.spots, "j": self.spots}
        score_XNK = rearrange(score_XQK, "x (h i w j) k -> x (h w) (i j k)", **split)
        flow_XN2 = rearrange(flow_XQ2, "x (h i w j) two -> x (h w) (i j) two", **split).mean(dim=2)
        return score_XNK * len(self.offset_K2) ** 0.5, flow_XN2


class InverseDynamics(nn.Module):
    """(state_t, state_t+1) to the bottleneck's raw numbers, conditioned on capacity by AdaLN-zero."""

    def __init__(
        self, config: InverseDynamicsConfig, encoder: EncoderConfig, raw_width: int, action_width: int
    ) -> None:
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
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        self.coarse = coarse_reading(encoder, action_width)

    def forward(self, state_BTND: Tensor, capacity_B: Tensor) -> Tensor:
        """raw_BUX for the U = T - 1 transitions of each clip; each sees its own two frames only."""
        batch = state_BTND.shape[0]
        before_XND = rearrange(state_BTND[:, :-1], "b u n d -> (b u) n d")
        after_XND = rearrange(state_BTND[:, 1:], "b u n d -> (b u) n d")
        x_XND = self.embed_states(torch.cat((before_XND, after_XND - before_XND), dim=-1))
        score_XNK, flow_XN2 = self.matching(before_XND, after_XND)
        x_XND = x_XND + self.embed_scores(score_XNK) + self.place_ND
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


COARSE_SCALE = 0.25  # brings the waves of everyday motion to about unit size


def coarse_reading(encoder: EncoderConfig, action_width: int) -> nn.Linear:
    """Flow over tokens to an action, at first the flow's slowest waves; learned from there.

    `WorldModel` starts with the reverse. Without a common first guess the two have to agree on a language for motion
    from noise, which takes most of a small training run.
    """
    layer = nn.Linear(2 * encoder.tokens, action_width)
    wave_PN = low_waves(encoder.grid, min(encoder.grid, int((action_width // 2) ** 0.5)))
    places, tokens = wave_PN.shape
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:places, :tokens] = wave_PN * COARSE_SCALE
        layer.weight[places : 2 * places, tokens:] = wave_PN * COARSE_SCALE
    return layer


def coarse_acting(encoder: EncoderConfig, action_width: int) -> nn.Linear:
    """An action to flow over tokens, at first the reverse of `coarse_reading` with its fast waves held back."""
    layer = nn.Linear(action_width, 2 * encoder.tokens)
    waves = min(encoder.grid, int((action_width // 2) ** 0.5))
    wave_NP = low_waves(encoder.grid, waves).T * wave_weights(waves) / COARSE_SCALE
    tokens, places = wave_NP.shape
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:tokens, :places] = wave_NP
        layer.weight[tokens:, places : 2 * places] = wave_NP
    return layer


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
