"""The flow reader, which estimates the optical flow between two states from coarse to fine.

The design follows PWC-Net (Sun et al. 2018) and LiteFlowNet (Hui et al. 2018) at a small size. The coarse level matches
each position with all positions within a large radius. The middle level searches a small radius around the coarse flow.
The fine level refines the flow by iterations of Lucas & Kanade (1981), and then by convolutions. Its output is refined
by more Lucas-Kanade iterations, each followed by a median filter, as in Sun, Roth & Black (2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.models.encoder import ResidualConv, channels_last, conv3, zero_init
from lawm_core.models.feature_map import feature_map_from_tokens
from lawm_core.models.flow import resize_flow, warp
from lawm_core.models.geometry import FrameGeometry


@dataclass(frozen=True, kw_only=True)
class FlowReaderConfig:
    """Sizes of the flow reader.

    The fine level has the resolution of the feature map, the middle level half and the coarse level a quarter of it.

    channels, coarse_channels, fine_channels: channels of the middle, the coarse and the fine level.
    radius: search radius at the coarse level, in positions of that level.
    fine_radius: search radius at the middle level, in positions of that level.
    iterations: Lucas-Kanade iterations before the convolutions of the fine level.
    polish_iterations: Lucas-Kanade iterations after them. These are not part of the training.
    """

    channels: int = 32
    coarse_channels: int = 48
    radius: int = 4
    fine_radius: int = 2
    fine_channels: int = 24
    iterations: int = 2
    polish_iterations: int = 5


def downsample(channels: int, out: int) -> nn.Conv2d:
    """Return a convolution that halves the resolution."""
    return nn.Conv2d(channels, out, 4, stride=2, padding=1, padding_mode="replicate")


def refinement(channels: int, width: int) -> nn.Sequential:
    """Return convolutions that map a cost volume and features to a flow correction, which is 0 before training."""
    last = conv3(width, 2)
    zero_init(last)
    return nn.Sequential(conv3(channels, width), ResidualConv(width), nn.GELU(), last)


class FlowReader(nn.Module):
    """Estimates flow_X2HW, the backward flow from a state after_XND to the state before_XND of the frame before.

    The flow has the resolution of the feature map.
    """

    offset_C2: Tensor

    def __init__(self, config: FlowReaderConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config, self.subpatches = config, encoder.subpatches
        width, coarse = config.channels, config.coarse_channels
        self.middle_features = nn.Sequential(downsample(encoder.subpatch_channels, width), ResidualConv(width))
        self.coarse_features = nn.Sequential(downsample(width, coarse), ResidualConv(coarse))
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))
        line = torch.arange(-config.radius, config.radius + 1)
        offset_C2 = torch.cartesian_prod(line, line).float()  # (down, right), in positions of the coarse level
        self.prior_C = nn.Parameter(-0.3 * offset_C2.square().sum(dim=1))
        self.register_buffer("offset_C2", offset_C2, persistent=False)
        self.coarse_refinement = refinement(len(offset_C2) + coarse + 2, coarse)
        costs = (2 * config.fine_radius + 1) ** 2
        self.middle_refinement = refinement(costs + width + 2, width)
        self.fine_refinement = refinement(3 * encoder.subpatch_channels + 2, config.fine_channels)

    def forward(self, before_XND: Tensor, after_XND: Tensor) -> Tensor:
        """Return the flow of the fine level after its last refinement by Lucas-Kanade and a median filter."""
        flow_X2HW = self.levels(before_XND, after_XND)[-1]
        before, after = (feature_map_from_tokens(x, self.subpatches).float() for x in (before_XND, after_XND))
        for _ in range(self.config.polish_iterations):
            flow_X2HW = median_filter(lucas_kanade(before, after, flow_X2HW, stiffness=1.0))
        return flow_X2HW

    def levels(self, before_XND: Tensor, after_XND: Tensor) -> list[Tensor]:
        """Return the flows of the coarse, the middle and the fine level. Training has a loss on each of them."""
        fine = channels_last(feature_map_from_tokens(torch.cat((before_XND, after_XND)), self.subpatches).float())
        middle = self.middle_features(fine)
        coarse = self.coarse_features(F.gelu(middle))
        coarse_flow = self._match(*coarse.chunk(2))
        (before, after), (fine_before, fine_after) = middle.chunk(2), fine.chunk(2)
        middle_flow = self._search(before, after, coarse_flow)
        return [coarse_flow, middle_flow, self._refine(fine_before, fine_after, middle_flow)]

    def _match(self, before_XCHW: Tensor, after_XCHW: Tensor) -> Tensor:
        """Return the coarse flow: the mean offset within the radius, weighted by similarity, plus a correction."""
        size = after_XCHW.shape[-1]
        cost_XCHW = correlate(before_XCHW, after_XCHW, self.config.radius)
        score_XCHW = cost_XCHW * self.log_sharpness.exp() + self.prior_C[:, None, None]
        weight_XCHW = score_XCHW.float().softmax(dim=1)
        flow_X2HW = torch.einsum("xkhw,kd->xdhw", weight_XCHW, self.offset_C2.flip(-1) / size)
        seen = torch.cat((cost_XCHW, after_XCHW, flow_X2HW * size), dim=1)
        return flow_X2HW + self.coarse_refinement(seen).float() / size

    def _search(self, before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor) -> Tensor:
        """Return the flow of the middle level: the coarse flow, corrected by a search in a small radius around it."""
        size = after_XCHW.shape[-1]
        flow_X2HW = resize_flow(flow_X2HW, size)
        warped_XCHW = warp(before_XCHW, flow_X2HW, "bilinear")
        cost_XCHW = correlate(warped_XCHW, after_XCHW, self.config.fine_radius)
        seen = torch.cat((cost_XCHW, after_XCHW, flow_X2HW * size), dim=1)
        return flow_X2HW + self.middle_refinement(seen).float() / size

    def _refine(self, before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor) -> Tensor:
        """Return the flow of the fine level: the middle flow, corrected by Lucas-Kanade and then by convolutions."""
        size = after_XCHW.shape[-1]
        flow_X2HW = resize_flow(flow_X2HW, size)
        for _ in range(self.config.iterations):
            flow_X2HW = lucas_kanade(before_XCHW, after_XCHW, flow_X2HW)
        warped_XCHW = warp(before_XCHW, flow_X2HW)
        seen = torch.cat((warped_XCHW, after_XCHW, after_XCHW - warped_XCHW, flow_X2HW * size), dim=1)
        return flow_X2HW + self.fine_refinement(seen).float() / size


def correlate(before_XCHW: Tensor, after_XCHW: Tensor, radius: int) -> Tensor:
    """Return the cosine similarity of each position of `after` with all positions of `before` within the radius.

    The result is cost_XCHW with C = (2 * radius + 1)**2 offsets, row by row. Outside the frame, the border is repeated.
    Matches there are ambiguous, but zeros instead would bias the flow towards the inside.
    """
    before, after = F.normalize(before_XCHW.float(), dim=1), F.normalize(after_XCHW.float(), dim=1)
    padded = F.pad(before, (radius,) * 4, mode="replicate")
    height, width = after.shape[-2:]
    steps = range(2 * radius + 1)
    costs = [(after * padded[..., y : y + height, x : x + width]).sum(dim=1) for y in steps for x in steps]
    return torch.stack(costs, dim=1)


def lucas_kanade(before_XCHW: Tensor, after_XCHW: Tensor, flow_X2HW: Tensor, stiffness: float = 0.05) -> Tensor:
    """Return the flow after one Lucas-Kanade iteration, in which the flow's change is a constant to gradients.

    stiffness: see `least_squares_step`.
    """
    with torch.no_grad():
        warped_XCHW = warp(before_XCHW, flow_X2HW, "bilinear")
        step_X2HW = least_squares_step(warped_XCHW, after_XCHW, stiffness=stiffness)
    return flow_X2HW + step_X2HW / after_XCHW.shape[-1]


def least_squares_step(warped_XCHW: Tensor, after_XCHW: Tensor, window: int = 5, stiffness: float = 0.05) -> Tensor:
    """Return the step of Lucas-Kanade: the change of the flow that best explains what differs after warping.

    warped_XCHW: the feature map before, warped by the current flow. after_XCHW: the feature map after.
    window: side of the square around each position over which the squared error is summed.
    stiffness: added to the squared gradients, so that the flow does not change where there are no edges.

    The unit is one position of the map. Each component is clamped to [-1, 1].
    """
    slope_x = F.pad((warped_XCHW[..., 2:] - warped_XCHW[..., :-2]) / 2, (1, 1, 0, 0))
    slope_y = F.pad((warped_XCHW[..., 2:, :] - warped_XCHW[..., :-2, :]) / 2, (0, 0, 1, 1))
    residual = after_XCHW - warped_XCHW
    pairs = ((slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y), (slope_x, residual), (slope_y, residual))
    products = torch.stack([(a * b).sum(dim=1) for a, b in pairs], dim=1)
    averaged = F.avg_pool2d(F.pad(products, (window // 2,) * 4, mode="replicate"), window, stride=1)
    xx, xy, yy, x, y = averaged.unbind(dim=1)
    xx, yy = xx + stiffness, yy + stiffness
    step = torch.stack((yy * x - xy * y, xx * y - xy * x), dim=1) / (xx * yy - xy * xy)[:, None]
    return step.clamp(-1, 1)


def median_filter(flow_X2HW: Tensor) -> Tensor:
    """Replace each value by the median of its 3 x 3 neighbourhood, which removes outliers and keeps edges.

    Each column of three values is sorted once, for all three neighbourhoods that contain it (Smith 1996). This is ten
    times as fast as `torch.median`.
    """
    padded = F.pad(flow_X2HW, (1,) * 4, mode="replicate")
    top, middle, bottom = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    upper, lower = torch.minimum(top, middle), torch.maximum(top, middle)
    minima, maxima = torch.minimum(upper, bottom), torch.maximum(lower, bottom)
    medians = median_of_three(upper, lower, bottom)
    windows = lambda column: (column[..., :-2], column[..., 1:-1], column[..., 2:])
    low = torch.maximum(torch.maximum(*windows(minima)[:2]), windows(minima)[2])
    high = torch.minimum(torch.minimum(*windows(maxima)[:2]), windows(maxima)[2])
    return median_of_three(low, median_of_three(*windows(medians)), high)


def median_of_three(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the elementwise median of three tensors."""
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
