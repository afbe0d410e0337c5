"""Spatial transforms from decoded frames to a model's frames: turn upright, crop, resize."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lawm_core.video.decode_types import Orientation

UPRIGHT = Orientation()
CHUNK_FRAMES = 64  # frames that are resized at once, so that a long clip is never in memory at full size in float32


def make_upright(frame_TCHW: Tensor, orientation: Orientation) -> Tensor:
    """Turn and mirror stored frames upright, as their file declares. Frames are (..., H, W) of any dtype."""
    if orientation.transposed:
        frame_TCHW = frame_TCHW.transpose(-2, -1)
    flipped = [dim for dim, flip in ((-1, orientation.left_right), (-2, orientation.up_down)) if flip]
    return frame_TCHW.flip(flipped) if flipped else frame_TCHW


def centre_crop(frame_TCHW: Tensor) -> Tensor:
    """Return the largest centred square as a view. An odd remainder leaves one more pixel to the right and below."""
    height, width = frame_TCHW.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frame_TCHW[..., top : top + side, left : left + side]


def resize(frame_TCHW: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize float frames in [0, 1], bicubic with antialiasing. size: height and width in pixels, or the side of a
    square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if frame_TCHW.shape[-2:] == (height, width):
        return frame_TCHW
    resized = functional.interpolate(
        frame_TCHW, size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp_(0, 1)  # bicubic overshoots at edges


def resize_bilinear(frame_XCHW: Tensor, size: int) -> Tensor:
    """Resize frames to size x size pixels, bilinear with antialiasing."""
    if frame_XCHW.shape[-2:] == (size, size):
        return frame_XCHW
    return functional.interpolate(frame_XCHW, (size, size), mode="bilinear", antialias=True, align_corners=False)


def to_square(byte_THWC: Tensor, size: int, orientation: Orientation = UPRIGHT) -> Tensor:
    """Turn decoded uint8 frames upright, crop and resize them: frame_TCHW float32 in [0, 1], size x size pixels."""
    byte_TCHW = centre_crop(make_upright(byte_THWC.permute(0, 3, 1, 2), orientation))
    frame_TCHW = torch.empty(byte_TCHW.shape[0], byte_TCHW.shape[1], size, size)
    for start in range(0, len(byte_TCHW), CHUNK_FRAMES):
        chunk = slice(start, start + CHUNK_FRAMES)
        frame_TCHW[chunk] = resize(byte_TCHW[chunk].float().div_(255), size)
    return frame_TCHW


def to_short_side(byte_THWC: Tensor, short_side: int, orientation: Orientation = UPRIGHT) -> Tensor:
    """Turn decoded uint8 frames upright and resize them without cropping: byte_TCHW uint8.

    short_side: smaller of the height and width of the result, in pixels.
    """
    byte_TCHW = make_upright(byte_THWC.permute(0, 3, 1, 2), orientation)
    scale = short_side / min(byte_TCHW.shape[-2:])
    height, width = (max(short_side, round(side * scale)) for side in byte_TCHW.shape[-2:])
    chunks = [
        resize(chunk.float().div(255), (height, width)).mul(255).round().byte()
        for chunk in byte_TCHW.split(CHUNK_FRAMES)
    ]
    return torch.cat(chunks)
