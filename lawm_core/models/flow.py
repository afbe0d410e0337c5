"""Optical flow: resampling, composition, and the cosine basis in which latent actions encode it.

Flow here is always backward flow in frame widths, (right, down): what is at place x of the new frame was at
x + flow(x) in the frame before. Being in frame widths, a flow can be used at any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=32)
def place_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the centres of height x width places as grid_2HW, (right, down) in frame widths from the top left."""
    with torch.inference_mode(False):
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        return torch.stack((x[None].expand(height, -1), y[:, None].expand(-1, width)))


def resize_flow(flow_X2HW: Tensor, size: int) -> Tensor:
    """Resize a flow or another field to size x size places, bilinearly."""
    if flow_X2HW.shape[-1] == size:
        return flow_X2HW
    return F.interpolate(flow_X2HW.float(), size=(size, size), mode="bilinear", align_corners=False)


def resample(image_XCHW: Tensor, flow_X2HW: Tensor, mode: str = "bicubic") -> Tensor:
    """Backward warping: return what lies `flow` away at each place. Borders repeat; a flow of zeros changes nothing.

    The flow may have another resolution than the image. mode: `bicubic` or `bilinear`.
    """
    height, width = image_XCHW.shape[-2:]
    flow_X2HW = resize_flow(flow_X2HW, width)
    # Positions in bf16 would be rounded to a cell.
    at_X2HW = flow_X2HW.float() + place_grid(height, width, image_XCHW.device)
    grid_XHW2 = at_X2HW.permute(0, 2, 3, 1) * 2 - 1
    return F.grid_sample(image_XCHW.float(), grid_XHW2, mode=mode, padding_mode="border", align_corners=False)


def inside_frame(flow_X2HW: Tensor) -> Tensor:
    """1 where a flow points into the frame, else 0: (X, 1, H, W)."""
    height, width = flow_X2HW.shape[-2:]
    at_X2HW = flow_X2HW.float() + place_grid(height, width, flow_X2HW.device)
    return ((at_X2HW >= 0) & (at_X2HW <= 1)).all(dim=1, keepdim=True).float()


def visibility(logit: Tensor) -> Tensor:
    """Probabilities as shares to compose: above three quarters everything is visible, below a quarter nothing.

    Probabilities of neighbouring steps are not independent. Their product would hide a place that is probably visible
    at each of many steps.
    """
    return (logit.sigmoid() * 2 - 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Carry:
    """Where each place of the present frame is in a reference frame, and whether it can be seen there.

    flow_X2HW: backward flow to the reference. visible_X1HW: 0 to 1. A reference carried to itself has a flow of zeros
    and is visible everywhere.
    """

    flow_X2HW: Tensor
    visible_X1HW: Tensor

    @staticmethod
    def start(clips: int, grid: int, device: torch.device) -> Carry:
        """The carry of a reference frame to itself."""
        zeros = torch.zeros(clips, 3, grid, grid, device=device)
        return Carry(zeros[:, :2], zeros[:, 2:] + 1)

    def step(self, flow_X2HW: Tensor, visible_X1HW: Tensor) -> Carry:
        """Compose with the next frame's flow to the present frame and its visibility there.

        Exact for any number of steps: the reference is sampled once, however long the rollout. Visibility never
        increases along a path.
        """
        before_X3HW = torch.cat((self.flow_X2HW, self.visible_X1HW), dim=1)
        moved_X3HW = resample(before_X3HW, flow_X2HW, "bilinear")
        visible_X1HW = visible_X1HW * inside_frame(flow_X2HW) * moved_X3HW[:, 2:]
        return Carry(flow_X2HW + moved_X3HW[:, :2], visible_X1HW)

    def repeat(self, copies: int) -> Carry:
        """`copies` of each clip's carry, clip by clip."""
        return Carry(*(x.repeat_interleave(copies, dim=0) for x in (self.flow_X2HW, self.visible_X1HW)))


# ---- the basis of latent actions -------------------------------------------------------------------------------------

FLOW_SCALE = 64.0  # brings the coefficients of everyday motion to about unit size


def wave_count(action_width: int, places: int) -> int:
    """How many cosines an axis fit into an action, two coefficients each, and onto a line of so many places."""
    return min(places, int((action_width // 2) ** 0.5))


def expected_variance(action_width: int, waves: int) -> Tensor:
    """The variance that the numbers of an action of a flow have in everyday motion, (A,); fitted to real and synthetic
    clips. Numbers beyond the coefficients are small.
    """
    line = torch.arange(waves, dtype=torch.float32)
    variance_KL = 0.2 / (1 + (line[:, None] ** 2 + line**2) / 4) ** 2
    coefficient_K = variance_KL.flatten().repeat(2)
    return F.pad(coefficient_K, (0, action_width - len(coefficient_K)), value=float(coefficient_K.min()))


@lru_cache(maxsize=8)
def cosine_lines(grid: int, count: int, device: torch.device | None = None) -> Tensor:
    """The `count` slowest cosines along a line of `grid` places, (count, grid), each with a mean square of 1."""
    with torch.inference_mode(False):
        place = (torch.arange(grid, device=device, dtype=torch.float32) + 0.5) * (torch.pi / grid)
        line = torch.cos(torch.arange(count, device=device)[:, None] * place) * 2**0.5
        line[0] = 1.0
        return line


def flow_coefficients(flow_X2HW: Tensor, count: int) -> Tensor:
    """Project a flow onto the count x count slowest two-dimensional cosines: (X, 2 * count**2).

    The coefficients do not depend on the resolution of the flow, as long as it has at least `count` places a side.
    """
    line_KH = cosine_lines(flow_X2HW.shape[-1], count, flow_X2HW.device)
    projected = torch.einsum("kh,xchw,lw->xckl", line_KH, flow_X2HW.float(), line_KH)
    return projected.flatten(1) * (FLOW_SCALE / flow_X2HW.shape[-1] ** 2)


def flow_from_coefficients(coefficient_XK: Tensor, count: int, grid: int) -> Tensor:
    """The inverse of `flow_coefficients` on grid x grid places, flow_X2HW."""
    line_KH = cosine_lines(grid, count, coefficient_XK.device)
    coefficient_X2KL = coefficient_XK.float().unflatten(-1, (2, count, count)) / FLOW_SCALE
    return torch.einsum("kh,xckl,lw->xchw", line_KH, coefficient_X2KL, line_KH)
