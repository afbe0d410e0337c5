"""Clips side by side, as one clip to take home."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LANE_PIXELS, GAP_PIXELS = 256, 8


def enlarge(frame_TCHW: Tensor, size: int) -> Tensor:
    """Frames at `size` pixels a side, bicubic, in [0, 1]: done here so that every screen shows the same picture."""
    return F.interpolate(frame_TCHW, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)


def hold_last(frame_TCHW: Tensor, frames: int) -> Tensor:
    """Exactly `frames` frames: cut, or the last one repeated."""
    missing = max(0, frames - len(frame_TCHW))
    return torch.cat((frame_TCHW[:frames], frame_TCHW[-1:].expand(missing, -1, -1, -1)))


def side_by_side(lane_LTCHW: Sequence[Tensor], size: int = LANE_PIXELS, gap: int = GAP_PIXELS) -> Tensor:
    """Lanes as one wide clip with white gaps, as long as the longest; shorter ones hold their last frame."""
    frames = max(len(lane) for lane in lane_LTCHW)
    enlarged = [enlarge(hold_last(lane, frames), size) for lane in lane_LTCHW]
    white = torch.ones(frames, 3, size, gap)
    parts = [part for lane in enlarged for part in (white, lane)][1:]
    return torch.cat(parts, dim=3)
