"""Frames to a model's size: turn, crop, resize; and which frames of a file to look at.

Time needs no torch, so it lives in `timeline.py`, which a child process imports; it is offered here for all others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lawm_core.video.info import Orientation
from lawm_core.video.timeline import frames_on_screen, sample_times

__all__ = ["centre_crop", "frames_on_screen", "make_upright", "resize", "sample_times", "square", "whole"]

UPRIGHT = Orientation()
CHUNK_FRAMES = 64  # resized at a time, so that a long clip never exists at full size in float32


def make_upright(frame_TCHW: Tensor, orientation: Orientation) -> Tensor:
    """Turn and mirror stored frames as their file asks, (..., H, W) of any dtype."""
    if orientation.transposed:
        frame_TCHW = frame_TCHW.transpose(-2, -1)
    flipped = [side for side, flip in ((-1, orientation.left_right), (-2, orientation.up_down)) if flip]
    return frame_TCHW.flip(flipped) if flipped else frame_TCHW


def centre_crop(frame_TCHW: Tensor) -> Tensor:
    """The largest centred square, a view; any dtype. An odd remainder leaves one more pixel right and below."""
    height, width = frame_TCHW.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame_TCHW[..., top : top + side, left : left + side]


def resize(frame_TCHW: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bicubic, antialiased, float in [0, 1] in and out. size: height and width in pixels, one number for a square."""
    height, width = (size, size) if isinstance(size, int) else size
    if frame_TCHW.shape[-2:] == (height, width):
        return frame_TCHW
    resized = functional.interpolate(
        frame_TCHW, size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp_(0, 1)  # bicubic overshoots at edges


def square(byte_THWC: Tensor, size: int, orientation: Orientation = UPRIGHT) -> Tensor:
    """Decoded uint8 frames to a model's: (T, C, size, size) float32 in [0, 1], turned, centre-cropped, resized."""
    byte_TCHW = centre_crop(make_upright(byte_THWC.permute(0, 3, 1, 2), orientation))
    frame_TCHW = torch.empty(byte_TCHW.shape[0], byte_TCHW.shape[1], size, size)
    for start in range(0, len(byte_TCHW), CHUNK_FRAMES):
        part = slice(start, start + CHUNK_FRAMES)
        frame_TCHW[part] = resize(byte_TCHW[part].float().div_(255), size)
    return frame_TCHW


def whole(byte_THWC: Tensor, short_side: int, orientation: Orientation = UPRIGHT) -> Tensor:
    """Decoded uint8 frames at full width: (T, C, H, W) uint8, turned and resized to this short side."""
    byte_TCHW = make_upright(byte_THWC.permute(0, 3, 1, 2), orientation)
    scale = short_side / min(byte_TCHW.shape[-2:])
    size = tuple(max(short_side, round(side * scale)) for side in byte_TCHW.shape[-2:])
    parts = [resize(part.float().div(255), size).mul(255).round().byte() for part in byte_TCHW.split(CHUNK_FRAMES)]
    return torch.cat(parts)
