"""Optical flow of real clips by a classical method, computed once and kept beside the frame cache.

It teaches the flow reader and the world model where things went. No label is involved: DIS (Kroeger et al. 2016) sees
frames alone. Where its forward and backward flows disagree, a place was hidden or the method failed, so the flow counts
as unknown there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.models.flow import inside_frame, place_grid
from lawm_core.saving import atomic_path
from lawm_core.worlds.footage import CachedClip, CachedFootage
from lawm_core.worlds.true_motion import Motion

PLACE_PIXELS = 8  # of a cached frame, for each place of the stored flow
WORKING_SIDE = 256  # pixels of the short side at which flow is computed; DIS is best on enlarged frames
FIELDS = 6  # backward flow (right, down) and its consistency, then the same forward


def build_flow(home: str | Path, progress: Callable[[list], Iterable] | None = None) -> Path:
    """Compute the flow of every neighbouring pair of cached frames into `home`/flow.bin, and return that path.

    Raises ValueError where OpenCV is not installed.
    """
    path = Path(home) / "flow.bin"
    if path.is_file():
        return path
    from filelock import FileLock

    if not find_spec("cv2"):
        raise ValueError("optical flow of real clips needs OpenCV: pip install -r requirements-train.txt")
    with FileLock(path.with_name(".flow.lock")):
        if path.is_file():  # another process has computed it meanwhile
            return path
        footage = CachedFootage(home)
        clips = footage.all_clips()
        with atomic_path(path) as part, open(part, "wb") as out:
            for clip in progress(clips) if progress else clips:
                (byte_TCHW,) = footage.read([(clip, 0)], clip.frames, 1)
                out.write(clip_flow(byte_TCHW).tobytes())
    return path


def flow_shape(height: int, width: int) -> tuple[int, int]:
    """Places down and across of a clip's stored flow."""
    return height // PLACE_PIXELS, width // PLACE_PIXELS


def clip_flow(byte_TCHW: np.ndarray) -> np.ndarray:
    """Flow of all U = T - 1 transitions of a clip, (U, FIELDS, h, w) float16; flow in multiples of the short side."""
    import cv2

    frames, _, height, width = byte_TCHW.shape
    scale = WORKING_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    gray = [
        cv2.cvtColor(
            cv2.resize(np.ascontiguousarray(b.transpose(1, 2, 0)), size, interpolation=cv2.INTER_AREA),
            cv2.COLOR_RGB2GRAY,
        )
        for b in byte_TCHW
    ]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    down, across = flow_shape(height, width)
    out = np.zeros((frames - 1, FIELDS, down, across), np.float16)
    for u in range(frames - 1):
        backward, forward = dis.calc(gray[u + 1], gray[u], None), dis.calc(gray[u], gray[u + 1], None)
        for start, flow, other in ((0, backward, forward), (3, forward, backward)):
            agrees = consistency(flow, other)
            for field, image in enumerate((flow[..., 0] / WORKING_SIDE, flow[..., 1] / WORKING_SIDE, agrees)):
                out[u, start + field] = cv2.resize(image, (across, down), interpolation=cv2.INTER_AREA)
    return out


def consistency(flow_HW2: np.ndarray, other_HW2: np.ndarray) -> np.ndarray:
    """1 where following the flow and then the opposite flow leads back, else 0 (Sundaram et al. 2010)."""
    import cv2

    height, width = flow_HW2.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at_x, at_y = x + flow_HW2[..., 0], y + flow_HW2[..., 1]
    back = cv2.remap(other_HW2, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(flow_HW2 + back).sum(axis=-1)
    size = np.square(flow_HW2).sum(axis=-1) + np.square(back).sum(axis=-1)
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    return (inside & (error < 0.01 * size + 0.5)).astype(np.float32)


class FlowFootage:
    """Stored flow of a frame cache, memory-mapped, in the order of its clips."""

    def __init__(self, home: str | Path, footage: CachedFootage) -> None:
        self._numbers = np.memmap(Path(home) / "flow.bin", dtype=np.float16, mode="r")
        self._offsets, offset = {}, 0
        for clip in footage.all_clips():
            self._offsets[clip.offset] = offset
            down, across = flow_shape(clip.height, clip.width)
            offset += (clip.frames - 1) * FIELDS * down * across

    def read(self, clip: CachedClip, start: int, transitions: int) -> Tensor:
        """Transitions from frame number `start` on, flow_UFHW float32 with F = FIELDS."""
        down, across = flow_shape(clip.height, clip.width)
        count = FIELDS * down * across
        first = self._offsets[clip.offset] + start * count
        flow = self._numbers[first : first + transitions * count].reshape(transitions, FIELDS, down, across)
        return torch.from_numpy(flow.astype(np.float32))


def cut_motion(
    flow_UFHW: Tensor, box: tuple[float, float, float], short_side: int, mirrored: bool, reversed_time: bool, grid: int
) -> Motion:
    """The motion inside a square of a clip, as a batch of one clip.

    box: top, left and side of the square in cached pixels. mirrored, reversed_time: how the clip was augmented.
    """
    fields = flow_UFHW[:, 3:].flip(0) if reversed_time else flow_UFHW[:, :3]
    top, left, side = (number / PLACE_PIXELS for number in box)
    height, width = fields.shape[-2:]
    # Each place of the square averages as many stored places as it covers; at about one to one, sampling is enough.
    place_2HW = place_grid(grid, grid)
    at_x = (left + place_2HW[0] * side) / width * 2 - 1
    at_y = (top + place_2HW[1] * side) / height * 2 - 1
    at_UHW2 = torch.stack((at_x, at_y), dim=-1).expand(len(fields), -1, -1, -1)
    cut_U3HW = F.grid_sample(fields, at_UHW2, mode="bilinear", padding_mode="border", align_corners=False)
    if mirrored:
        cut_U3HW = cut_U3HW.flip(-1) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    flow_U2HW = cut_U3HW[:, :2] * (short_side / box[2])
    inside_U1HW = inside_frame(flow_U2HW)  # what left the square was not visible in it
    known_U1HW = (cut_U3HW[:, 2:] > 0.9).float()
    return Motion(flow_U2HW[None], (known_U1HW * inside_U1HW)[None], known_U1HW[None])
