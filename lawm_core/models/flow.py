"""Optical flow: warping, composition, and the cosine basis in which latent actions encode it.

All flows are backward flows: the content at position x of a frame was at x + flow(x) in the frame before. The two
channels are the distances to the right and down. The unit is the frame width, so that a flow is valid at any
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=32)
def pixel_centres(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return centre_2HW, the position of each pixel centre: distance from the left edge and from the top edge.

    Distances are fractions of the width and of the height.
    """
    with torch.inference_mode(False):
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        return torch.stack((x[None].expand(height, -1), y[:, None].expand(-1, width)))


def resize_flow(flow_X2HW: Tensor, size: int) -> Tensor:
    """Resize a flow or another map to size x size by bilinear interpolation. Values are not rescaled."""
    if flow_X2HW.shape[-1] == size:
        return flow_X2HW
    return F.interpolate(flow_X2HW.float(), size=(size, size), mode="bilinear", align_corners=False)


def warp(image_XCHW: Tensor, flow_X2HW: Tensor, mode: str = "bicubic") -> Tensor:
    """Warp an image backward: the value of the result at position x is that of the image at x + flow(x).

    Outside the image, its border pixels are repeated. The resolution of the flow can differ from that of the image.
    mode: interpolation, `bicubic` or `bilinear`.
    """
    height, width = image_XCHW.shape[-2:]
    flow_X2HW = resize_flow(flow_X2HW, width)
    # Positions are in float32, because bf16 would round them to whole pixels.
    position_X2HW = flow_X2HW.float() + pixel_centres(height, width, image_XCHW.device)
    grid_XHW2 = position_X2HW.permute(0, 2, 3, 1) * 2 - 1
    return F.grid_sample(image_XCHW.float(), grid_XHW2, mode=mode, padding_mode="border", align_corners=False)


def inside_frame(flow_X2HW: Tensor) -> Tensor:
    """Return (X, 1, H, W), 1 where the flow points to a position inside the frame and 0 elsewhere."""
    height, width = flow_X2HW.shape[-2:]
    position_X2HW = flow_X2HW.float() + pixel_centres(height, width, flow_X2HW.device)
    return ((position_X2HW >= 0) & (position_X2HW <= 1)).all(dim=1, keepdim=True).float()


def visibility(logit: Tensor) -> Tensor:
    """Convert logits of being visible to visibilities in [0, 1].

    Probabilities above 3/4 become 1, those below 1/4 become 0, and the map is linear in between. Probabilities
    themselves would be too small after a long rollout, which multiplies the visibilities of all steps: their product
    is small even for a pixel that is probably visible at every step, because the steps are not independent.
    """
    return (logit.sigmoid() * 2 - 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Carry:
    """Where each position of the current frame lies in the reference frame, and whether it is visible there.

    flow_X2HW: backward flow from the current frame to the reference frame.
    visible_X1HW: visibility in the reference frame, from 0 to 1.
    """

    flow_X2HW: Tensor
    visible_X1HW: Tensor

    @staticmethod
    def start(clips: int, grid: int, device: torch.device) -> Carry:
        """Return the carry of the reference frame itself: a flow of 0 and a visibility of 1 on a grid x grid map."""
        zeros = torch.zeros(clips, 3, grid, grid, device=device)
        return Carry(zeros[:, :2], zeros[:, 2:] + 1)

    def step(self, flow_X2HW: Tensor, visible_X1HW: Tensor) -> Carry:
        """Return the carry of the next frame.

        flow_X2HW, visible_X1HW: backward flow from the next frame to the current frame, and visibility there.

        Flows are composed, so that the reference frame is sampled only once, however long the rollout. A point that
        was once hidden stays hidden.
        """
        before_X3HW = torch.cat((self.flow_X2HW, self.visible_X1HW), dim=1)
        warped_X3HW = warp(before_X3HW, flow_X2HW, "bilinear")
        visible_X1HW = visible_X1HW * inside_frame(flow_X2HW) * warped_X3HW[:, 2:]
        return Carry(flow_X2HW + warped_X3HW[:, :2], visible_X1HW)

    def repeat(self, copies: int) -> Carry:
        """Repeat each clip `copies` times along the batch."""
        return Carry(*(x.repeat_interleave(copies, dim=0) for x in (self.flow_X2HW, self.visible_X1HW)))

    def last_frame(self, frames: int) -> Carry:
        """Return the carry of the last frame of each clip, if the first axis merges clips of `frames` frames each."""
        return Carry(*(x[frames - 1 :: frames] for x in (self.flow_X2HW, self.visible_X1HW)))


# ---- cosine basis of latent actions ---------------------------------------------------------------------------------

FLOW_SCALE = 64.0  # factor of coefficients, which makes those of everyday motion about 1 in size


def flow_basis_size(action_width: int, map_size: int) -> int:
    """Return the largest number of cosines per axis, count, that an action and a flow map allow.

    An action holds 2 * count**2 coefficients, and a map has no more cosines per axis than positions.
    """
    return min(map_size, int((action_width // 2) ** 0.5))


def expected_variance(action_width: int, basis_size: int) -> Tensor:
    """Return variance_A, the variance of each action dimension in everyday motion, fitted to real and synthetic clips.

    Dimensions that hold no flow coefficient get the smallest variance of a coefficient.
    """
    frequency = torch.arange(basis_size, dtype=torch.float32)
    variance = 0.2 / (1 + (frequency[:, None] ** 2 + frequency**2) / 4) ** 2
    coefficient = variance.flatten().repeat(2)
    return F.pad(coefficient, (0, action_width - len(coefficient)), value=float(coefficient.min()))


@lru_cache(maxsize=8)
def dct_basis(size: int, count: int, device: torch.device | None = None) -> Tensor:
    """Return the `count` cosines of lowest frequency at `size` positions, (count, size), with a mean square of 1."""
    with torch.inference_mode(False):
        position = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (torch.pi / size)
        basis = torch.cos(torch.arange(count, device=device)[:, None] * position) * 2**0.5
        basis[0] = 1.0
        return basis


def flow_coefficients(flow_X2HW: Tensor, count: int) -> Tensor:
    """Return the coefficients (X, 2 * count**2) of a flow in the count x count two-dimensional cosines of lowest
    frequency.

    For a smooth flow, the coefficients do not depend on its resolution, which must be at least `count`.
    """
    basis = dct_basis(flow_X2HW.shape[-1], count, flow_X2HW.device)
    projected = torch.einsum("jh,xchw,kw->xcjk", basis, flow_X2HW.float(), basis)
    return projected.flatten(1) * (FLOW_SCALE / flow_X2HW.shape[-1] ** 2)


def flow_from_coefficients(coefficient_XA: Tensor, count: int, size: int) -> Tensor:
    """Return flow_X2HW on size x size positions, given the coefficients from `flow_coefficients`."""
    basis = dct_basis(size, count, coefficient_XA.device)
    coefficient = coefficient_XA.float().unflatten(-1, (2, count, count)) / FLOW_SCALE
    return torch.einsum("jh,xcjk,kw->xchw", basis, coefficient, basis)
