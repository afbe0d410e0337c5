"""Optical flow between two states, coarse to fine: matching first, then local search at higher resolutions.

The design follows PWC-Net and LiteFlowNet (Sun et al. 2018; Hui et al. 2018) at a small size: a cost volume with a
wide radius at the coarsest level, and at each finer level a small cost volume around the flow so far. Least squares
(Lucas & Kanade 1981) give the last level its sub-pixel start and, with a median filter between rounds (as in Sun, Roth
& Black 2010), its sub-pixel end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.cells import cells_from_tokens
from lawm_core.models.encoder import ResidualConv, arrange_for_convolutions
from lawm_core.models.flow import resample, resize_flow
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.motion import two_by_two


@dataclass(frozen=True, kw_only=True)
class FlowReaderConfig:
    """radius: of the search, in places of the coarsest level, which has two places a token side."""

    channels: int = 32
    coarse_channels: int = 48
    radius: int = 4
    fine_radius: int = 2
    fine_channels: int = 24
    least_squares: int = 2  # rounds of Lucas-Kanade at the finest level, before its convolutions
    polish: int = 5  # rounds after them, which no training sees


def refinement(channels: int, width: int) -> nn.Sequential:
    """Convolutions from a cost volume and features to a correction of the flow; zero at first."""
    last = nn.Conv2d(width, 2, 3, padding=1, padding_mode="replicate")
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, padding_mode="replicate"),
        ResidualConv(width),
        nn.GELU(),
        last,
    )


class FlowReader(nn.Module):
    """(before_XND, after_XND) to flow_X2HW on the grid of state cells."""

    def __init__(self, config: FlowReaderConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config, self.cells = config, encoder.cells
        width, coarse = config.channels, config.coarse_channels
        self.middle_features = nn.Sequential(two_by_two(encoder.cell_channels, width), ResidualConv(width))
        self.coarse_features = nn.Sequential(two_by_two(width, coarse), ResidualConv(coarse))
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))
        line = torch.arange(-config.radius, config.radius + 1)
        offset_K2 = torch.cartesian_prod(line, line).float()  # (down, right), in places
        self.prior_K = nn.Parameter(-0.3 * offset_K2.square().sum(dim=1))
        self.register_buffer("offset_K2", offset_K2, persistent=False)
        self.coarse_refinement = refinement(len(offset_K2) + coarse + 2, coarse)
        near = (2 * config.fine_radius + 1) ** 2
        self.middle_refinement = refinement(near + width + 2, width)
        fine = config.fine_channels
        self.fine_refinement = refinement(3 * encoder.cell_channels + 2, fine)

    def forward(self, before_XND: Tensor, after_XND: Tensor) -> Tensor:
        """Return the flow at the finest level, polished by least squares."""
        flow_X2HW = self.levels(before_XND, after_XND)[-1]
        before_XCHW, after_XCHW = (cells_from_tokens(x, self.cells).float() for x in (before_XND, after_XND))
        for _ in range(self.config.polish):
            flow_X2HW = median_filter(lucas_kanade(before_XCHW, after_XCHW, flow_X2HW, stiffness=1.0))
        return flow_X2HW

    def levels(self, before_XND: Tensor, after_XND: Tensor) -> list[Tensor]:
        """Return the flow of every level, coarse to fine; training supervises each."""
        both = cells_from_tokens(torch.cat((before_XND, after_XND)), self.cells)
        fine = arrange_for_convolutions(both.float())
        middle = self.middle_features(fine)
        coarse = self.coarse_features(F.gelu(middle))
        flow = self._match(*coarse.chunk(2))
        found = [flow]
        flow = self._search(*middle.chunk(2), flow)
        found.append(flow)
        found.append(self._finish(*fine.chunk(2), flow))
        return found

    def _match(self, before_XCHW: Tensor, after_XCHW: Tensor) -> Tensor:
        """Match every place with all places within the radius."""
        grid = after_XCHW.shape[-1]
        cost_XKHW = correlate(before_XCHW, after_XCHW, self.config.radius)
        score_XKHW = cost_XKHW * self.log_sharpness.exp() + self.prior_K[:, None, None]
        share_XKHW = score_XKHW.float().softmax(dim=1)
        flow_X2HW = torch.einsum("xkhw,kd->xdhw", share_XKHW, self.offset_K2.flip(-1) / grid)
        seen = torch.cat((cost_XKHW, after_XCHW, flow_X2HW * grid), dim=1)
        return flow_X2HW + self.coarse_refinement(seen).float() / grid

    def _search(self, before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor) -> Tensor:
        """Correct a coarser flow by a search around it."""
        grid = after_XCHW.shape[-1]
        flow_X2HW = resize_flow(flow_X2HW, grid)
        moved_XCHW = resample(before_XCHW, flow_X2HW, "bilinear")
        cost_XKHW = correlate(moved_XCHW, after_XCHW, self.config.fine_radius)
        seen = torch.cat((cost_XKHW, after_XCHW, flow_X2HW * grid), dim=1)
        return flow_X2HW + self.middle_refinement(seen).float() / grid

    def _finish(self, before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor) -> Tensor:
        """Correct the flow at the resolution of state cells, first by least squares."""
        grid = after_XCHW.shape[-1]
        flow_X2HW = resize_flow(flow_X2HW, grid)
        for _ in range(self.config.least_squares):
            flow_X2HW = lucas_kanade(before_XCHW, after_XCHW, flow_X2HW)
        moved_XCHW = resample(before_XCHW, flow_X2HW)
        seen = torch.cat((moved_XCHW, after_XCHW, after_XCHW - moved_XCHW, flow_X2HW * grid), dim=1)
        return flow_X2HW + self.fine_refinement(seen).float() / grid


def correlate(before_XCHW: Tensor, after_XCHW: Tensor, radius: int) -> Tensor:
    """Cosine similarity of each place with every place of `before` within the radius: cost_XKHW, K = (2 radius + 1)**2.

    Beyond the border the border itself is compared: ambiguous, but not biased inwards.
    """
    before, after = F.normalize(before_XCHW.float(), dim=1), F.normalize(after_XCHW.float(), dim=1)
    padded = F.pad(before, (radius,) * 4, mode="replicate")
    height, width = after.shape[-2:]
    steps = range(2 * radius + 1)
    costs = [(after * padded[..., y : y + height, x : x + width]).sum(dim=1) for y in steps for x in steps]
    return torch.stack(costs, dim=1)


def least_squares_step(moved_XCHW: Tensor, after_XCHW: Tensor, window: int = 5, stiffness: float = 0.05) -> Tensor:
    """One Lucas-Kanade round: the step in places that best explains what warping has left, step_X2HW.

    stiffness: added to the squared gradients, so that places without edges do not move.
    """
    slope_x = F.pad((moved_XCHW[..., 2:] - moved_XCHW[..., :-2]) / 2, (1, 1, 0, 0))
    slope_y = F.pad((moved_XCHW[..., 2:, :] - moved_XCHW[..., :-2, :]) / 2, (0, 0, 1, 1))
    missing = after_XCHW - moved_XCHW
    products = torch.stack(
        [(a * b).sum(dim=1) for a, b in (
            (slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y), (slope_x, missing), (slope_y, missing),
        )],
        dim=1,
    )  # fmt: skip
    margin = window // 2
    averaged = F.avg_pool2d(F.pad(products, (margin,) * 4, mode="replicate"), window, stride=1)
    xx, xy, yy, x, y = averaged.unbind(dim=1)
    xx, yy = xx + stiffness, yy + stiffness
    step = torch.stack((yy * x - xy * y, xx * y - xy * x), dim=1) / (xx * yy - xy * xy)[:, None]
    return step.clamp(-1, 1)


def lucas_kanade(before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor, stiffness: float = 0.05) -> Tensor:
    """The flow after one least-squares step; gradients pass as if the step were a constant."""
    with torch.no_grad():
        moved_XCHW = resample(before_XCHW, flow_X2HW, "bilinear")
        step_X2HW = least_squares_step(moved_XCHW, after_XCHW, stiffness=stiffness)
    return flow_X2HW + step_X2HW / after_XCHW.shape[-1]


def median_filter(flow_X2HW: Tensor) -> Tensor:
    """Each number replaced by the median of its 3 x 3 neighbours: outliers vanish, edges stay.

    By sorting columns first, which neighbouring windows share (Smith 1996): `torch.median` takes ten times as long.
    """
    padded = F.pad(flow_X2HW, (1,) * 4, mode="replicate")
    top, middle, bottom = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    upper, lower = torch.minimum(top, middle), torch.maximum(top, middle)
    lows, mids, highs = (
        torch.minimum(upper, bottom),
        median_of_three(upper, lower, bottom),
        torch.maximum(lower, bottom),
    )
    windows = lambda column: (column[..., :-2], column[..., 1:-1], column[..., 2:])
    low = torch.maximum(torch.maximum(*windows(lows)[:2]), windows(lows)[2])
    high = torch.minimum(torch.minimum(*windows(highs)[:2]), windows(highs)[2])
    return median_of_three(low, median_of_three(*windows(mids)), high)


def median_of_three(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
    """The middle one of three numbers, elementwise."""
    return torch.maximum(torch.minimum(one, two), torch.minimum(torch.maximum(one, two), three))


def token_flow(flow_X2HW: Tensor, grid: int) -> Tensor:
    """The flow inside each token as one vector: (X, N, 2 * places a token), N = grid * grid."""
    return rearrange(flow_X2HW, "x c (h i) (w j) -> x (h w) (c i j)", h=grid, w=grid)
