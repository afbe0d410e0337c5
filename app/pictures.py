"""Frames as pictures for the page: contact sheets that a browser cuts up again."""

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
    """All frames in one JPEG, `columns` a row, row by row. One picture a lane keeps lanes in step without a codec."""
    pixel_THWC = to_bytes(lawm.enlarge(frame_TCHW, size)).permute(0, 2, 3, 1).numpy()
    sheet = np.zeros((math.ceil(len(pixel_THWC) / columns) * size, columns * size, 3), np.uint8)
    for i, pixel_HWC in enumerate(pixel_THWC):
        y, x = i // columns * size, i % columns * size
        sheet[y : y + size, x : x + size] = pixel_HWC
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def to_bytes(frame: Tensor) -> Tensor:
    """Pictures in [0, 1] as whole numbers up to 255, a quarter of the memory."""
    return (frame.clamp(0, 1) * 255).round().byte()


def from_bytes(byte: Tensor) -> Tensor:
    """The way back, exact for what came from a video. What is a picture in [0, 1] already would come out black."""
    assert byte.dtype == torch.uint8, f"{byte.dtype} is not of bytes"
    return byte.float() / 255


def pack_picture(frame_CHW: Tensor) -> bytes:
    """A picture in [0, 1] as a PNG: exact to 8 bits, and a fraction of its plain bytes."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(frame_CHW).permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", compress_level=1)
    return file.getvalue()


def unpack_picture(packed: bytes) -> Tensor:
    """The way back: frame_CHW in [0, 1]."""
    with Image.open(io.BytesIO(packed), formats=("PNG",)) as picture:
        return from_bytes(torch.from_numpy(np.array(picture)).permute(2, 0, 1))


def spread_frames(frame_TCHW: Tensor, count: int) -> Tensor:
    """`count` frames spread evenly over the clip, first and last among them."""
    return frame_TCHW[torch.linspace(0, len(frame_TCHW) - 1, count).round().long()]


def data_uri(jpeg: bytes) -> str:
    """A JPEG inside the page itself: nothing to serve, nothing to clean up."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
