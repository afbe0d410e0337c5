"""Motion between two states: where each part came from, and the first words that actions have for it.

Learned from noise, a common language of motion takes most of a small training run. So the reader finds motion by
matching and by least squares before any training, an action starts as the slowest waves of that motion, and a world
model starts by acting them out. Training goes on from there: all of it is made of ordinary layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.cells import cells_from_tokens, displace, low_waves, wave_weights
from lawm_core.models.encoder import ResidualConv, arrange_for_convolutions
from lawm_core.models.geometry import FrameGeometry


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """radius in spots, each two state cells wide, or a token where it has one cell; refinements are rounds of least
    squares after the matching.
    """

    channels: int = 32
    radius: int = 3
    refinements: int = 3


def two_by_two(channels: int, out: int) -> nn.Conv2d:
    """Cells to spots of two cells a side."""
    return nn.Conv2d(channels, out, 4, stride=2, padding=1, padding_mode="replicate")


class MotionReader(nn.Module):
    """Where each spot of a state came from in the state before, as a distribution, and each token, as a flow."""

    def __init__(self, config: MotionConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config = config
        self.cells, self.spots = encoder.cells, max(1, encoder.cells // 2)  # state cells and spots a side of a token
        self.side = encoder.grid * self.spots
        channels = config.channels
        self.features = nn.Sequential(
            two_by_two(encoder.cell_channels, channels) if self.cells > 1 else nn.Conv2d(encoder.width, channels, 1),
            ResidualConv(channels),
        )
        self.log_sharpness = nn.Parameter(torch.tensor(3.5))
        line = torch.arange(-config.radius, config.radius + 1)
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
        """score_XNK, a token's distributions, and flow_XN2, where it came from: (right, down) in state cells."""
        both = cells_from_tokens(torch.cat((before_XND, after_XND)), self.cells)
        feature = F.normalize(self.features(arrange_for_convolutions(both)), dim=1)
        before, after = rearrange(feature, "(two x) c h w -> two x (h w) c", two=2)
        likeness_XQX = torch.einsum("x q c, x k c -> x q k", after, before)
        likeness_XQK = likeness_XQX.gather(2, self.neighbour_QK.expand(len(before), -1, -1)).float()
        score_XQK = (likeness_XQK * self.log_sharpness.exp() + self.prior_K).softmax(dim=-1)
        flow_XQ2 = (score_XQK @ self.offset_K2).flip(-1) * (self.cells / self.spots)
        grid = self.side // self.spots
        split = {"h": grid, "i": self.spots, "j": self.spots}
        score_XNK = rearrange(score_XQK, "x (h i w j) k -> x (h w) (i j k)", **split)
        matched_X2HW = rearrange(flow_XQ2, "x (h i w j) two -> x two h w (i j)", **split).mean(dim=-1)
        before_XCHW, after_XCHW = both.float().chunk(2)
        with torch.no_grad():
            flow_X2HW = matched_X2HW
            for _ in range(self.config.refinements):
                flow_X2HW = refine_flow(before_XCHW, after_XCHW, flow_X2HW)
        # The matching learns as if the refinements were a fixed step.
        flow_X2HW = matched_X2HW + (flow_X2HW - matched_X2HW).detach()
        return score_XNK * len(self.offset_K2) ** 0.5, rearrange(flow_X2HW, "x two h w -> x (h w) two")


def spread_flow(flow_X2HW: Tensor, cells: int) -> Tensor:
    """Flow over tokens to flow over their cells, smoothly."""
    return F.interpolate(flow_X2HW.float(), scale_factor=cells, mode="bilinear", align_corners=False)


def refine_flow(before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor, stiffness: float = 0.3) -> Tensor:
    """A better flow over tokens: one round of least squares on what displacing `before` leaves unexplained.

    Lucas & Kanade (1981), with a window of two tokens a side (three where a token is one cell) and `stiffness` against
    motion that no edge vouches for.
    """
    cells = before_XCHW.shape[-1] // flow_X2HW.shape[-1]
    side, margin = (2 * cells, cells // 2) if cells > 1 else (3, 1)
    moved = displace(before_XCHW, spread_flow(flow_X2HW, cells))
    slope_x = F.pad((moved[..., 2:] - moved[..., :-2]) / 2, (1, 1, 0, 0))
    slope_y = F.pad((moved[..., 2:, :] - moved[..., :-2, :]) / 2, (0, 0, 1, 1))
    missing = after_XCHW - moved

    def window(a: Tensor, b: Tensor) -> Tensor:
        """The mean product around each token, over all channels."""
        product = F.pad((a * b).sum(dim=1, keepdim=True), (margin,) * 4, mode="replicate")
        return F.avg_pool2d(product, side, stride=cells)

    xx, xy, yy = window(slope_x, slope_x) + stiffness, window(slope_x, slope_y), window(slope_y, slope_y) + stiffness
    x, y = window(slope_x, missing), window(slope_y, missing)
    step = torch.cat((yy * x - xy * y, xx * y - xy * x), dim=1) / (xx * yy - xy * xy)
    return flow_X2HW + step.clamp(-1.5, 1.5)


COARSE_SCALE = 0.25  # brings the waves of everyday motion to about unit size


def coarse_reading(encoder: FrameGeometry, action_width: int) -> nn.Linear:
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


def coarse_acting(encoder: FrameGeometry, action_width: int) -> nn.Linear:
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
