"""Montage of several clips side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL_PIXELS, GAP_PIXELS = 256, 8


def enlarge(frame_TCHW: Tensor, size: int) -> Tensor:
    """Resize frames to size x size pixels, bicubic, with values in [0, 1].

    Small frames are enlarged here instead of in the browser, so that every screen shows the same pixels.
    """
    return F.interpolate(frame_TCHW, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


def hold_last(frame_TCHW: Tensor, frames: int) -> Tensor:
    """Return exactly `frames` frames: truncated, or with the last frame repeated."""
    missing = max(0, frames - len(frame_TCHW))
    return torch.cat((frame_TCHW[:frames], frame_TCHW[-1:].expand(missing, -1, -1, -1)))


def side_by_side(panels: Sequence[Tensor], size: int = PANEL_PIXELS, gap: int = GAP_PIXELS) -> Tensor:
    """Join clips frame_TCHW in [0, 1] to one wide clip of `size` pixels height, with white gaps of `gap` pixels.

    The result is as long as the longest clip; shorter ones hold their last frame.
    """
    frames = max(len(panel) for panel in panels)
    white = torch.ones(frames, 3, size, gap)
    parts = [part for panel in panels for part in (white, enlarge(hold_last(panel, frames), size))][1:]
    return torch.cat(parts, dim=3)
