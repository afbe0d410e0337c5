"""Conversion of frames to images for the page and to bytes for caches."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import lawm_core as lawm

SHEET_COLUMNS = 4


def draw_sheet(frame_TCHW: Tensor, size: int, columns: int = SHEET_COLUMNS, quality: int = 90) -> bytes:
    """Return one JPEG with all frames in a grid, row by row, with `columns` frames per row.

    Each frame has `size` × `size` pixels. The page plays a panel by showing one frame of its sheet after another, so
    that panels stay synchronised without a video codec.
    """
    pixel_THWC = to_bytes(lawm.enlarge(frame_TCHW, size)).permute(0, 2, 3, 1).numpy()
    sheet = np.zeros((math.ceil(len(pixel_THWC) / columns) * size, columns * size, 3), np.uint8)
    for i, pixel_HWC in enumerate(pixel_THWC):
        y, x = i // columns * size, i % columns * size
        sheet[y : y + size, x : x + size] = pixel_HWC
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def to_bytes(frame: Tensor) -> Tensor:
    """Convert float frames in [0, 1] to uint8, which takes a quarter of the memory."""
    return (frame.clamp(0, 1) * 255).round().byte()


def from_bytes(byte: Tensor) -> Tensor:
    """Convert uint8 frames to float frames in [0, 1]. Frames of a video, which have 8 bits, are restored exactly."""
    assert byte.dtype == torch.uint8, f"frames must be uint8, got {byte.dtype}"
    return byte.float() / 255


def pack_picture(frame_CHW: Tensor) -> bytes:
    """Encode a frame in [0, 1] as PNG, which is exact to 8 bits and smaller than raw bytes."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(frame_CHW).permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", compress_level=1)
    return file.getvalue()


def unpack_picture(packed: bytes) -> Tensor:
    """Decode a PNG to frame_CHW in [0, 1]."""
    with Image.open(io.BytesIO(packed), formats=("PNG",)) as picture:
        return from_bytes(torch.from_numpy(np.array(picture)).permute(2, 0, 1))


def pick_frames(frame_TCHW: Tensor, count: int) -> Tensor:
    """Return `count` evenly spaced frames of a clip, including the first and the last."""
    return frame_TCHW[torch.linspace(0, len(frame_TCHW) - 1, count).round().long()]


def data_uri(jpeg: bytes) -> str:
    """Return a JPEG as a data URI, so that no file has to be served and removed."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
