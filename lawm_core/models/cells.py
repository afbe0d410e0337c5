"""A state's finer geometry: each token's channels are a small square of cells, and cells can be displaced.

A token of width D with `side` cells a side holds side * side cells of D / side^2 channels. Read that way, a frame's
state is a feature map finer than its token grid, on which motion of less than a token is a plain displacement.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def cells_from_tokens(state_XND: Tensor, side: int) -> Tensor:
    """(X, N, D) to cell_XCHW with C = D / side^2 and H = W = sqrt(N) * side."""
    grid = int(state_XND.shape[1] ** 0.5)
    return rearrange(state_XND, "x (h w) (c i j) -> x c (h i) (w j)", h=grid, i=side, j=side)


def tokens_from_cells(cell_XCHW: Tensor, side: int) -> Tensor:
    """The inverse of `cells_from_tokens`."""
    return rearrange(cell_XCHW, "x c (h i) (w j) -> x (h w) (c i j)", i=side, j=side)


def displace(cell_XCHW: Tensor, flow_X2HW: Tensor) -> Tensor:
    """What lies `flow` away, in cells (x right, y down); the border repeats. Zero flow: no change.

    Cubic, not linear: a rollout resamples at every step, and eight linear resamplings blur edges away.
    """
    height, width = cell_XCHW.shape[-2:]
    y = torch.arange(height, device=cell_XCHW.device, dtype=torch.float32)[:, None]
    x = torch.arange(width, device=cell_XCHW.device, dtype=torch.float32)[None, :]
    # grid_sample wants -1..1 from edge to edge (align_corners=False), in float32: bf16 would round positions.
    at_x = (flow_X2HW[:, 0].float() + x + 0.5) * (2 / width) - 1
    at_y = (flow_X2HW[:, 1].float() + y + 0.5) * (2 / height) - 1
    grid = torch.stack((at_x, at_y), dim=-1)
    return F.grid_sample(cell_XCHW.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)


def low_waves(grid: int, waves: int) -> Tensor:
    """The slowest waves over a square of tokens, wave_PN: orthonormal cosines, `waves` a side, slow to fast by row.

    P = waves * waves, N = grid * grid. A field over tokens is, to a first approximation, a few of these.
    """
    at_G = (torch.arange(grid, dtype=torch.float32) + 0.5) * (torch.pi / grid)
    line_WG = torch.cos(torch.arange(waves)[:, None] * at_G) * (2 / grid) ** 0.5
    line_WG[0] *= 0.5**0.5
    return torch.einsum("v y, w x -> v w y x", line_WG, line_WG).reshape(waves * waves, grid * grid)


def wave_weights(waves: int) -> Tensor:
    """How far each of `low_waves` is to be trusted at first, (P,) from 1 down: fast waves are mostly noise."""
    speed = torch.arange(waves, dtype=torch.float32).square()
    return torch.exp(-(speed[:, None] + speed[None, :]) / 40).flatten()
