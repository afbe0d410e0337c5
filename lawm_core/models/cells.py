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
    """What lies `flow` away, in cells (x right, y down), bilinearly; the border repeats. Zero flow: no change."""
    height, width = cell_XCHW.shape[-2:]
    y = torch.arange(height, device=cell_XCHW.device, dtype=torch.float32)[:, None]
    x = torch.arange(width, device=cell_XCHW.device, dtype=torch.float32)[None, :]
    # grid_sample wants -1..1 from edge to edge (align_corners=False), in float32: bf16 would round positions.
    at_x = (flow_X2HW[:, 0].float() + x + 0.5) * (2 / width) - 1
    at_y = (flow_X2HW[:, 1].float() + y + 0.5) * (2 / height) - 1
    grid = torch.stack((at_x, at_y), dim=-1)
    return F.grid_sample(cell_XCHW.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
