"""Teacher flow: optical flow of real clips, computed once by a classical method and stored beside the frame cache.

The method, DIS (Kroeger et al. 2016), needs nothing but frames, so the flow reader and the world model can learn from
it without labels. Where its forward and backward flows disagree, a pixel was hidden or the method failed, and the flow
counts as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.atomic_files import atomic_path
from lawm_core.data.frame_store import CachedClip, CachedFrameStore
from lawm_core.data.motion_labels import Motion
from lawm_core.models.flow import inside_frame, pixel_centres

CELL_PIXELS = 8  # side of the square of cached pixels that each stored flow vector covers
WORKING_SIDE = 256  # short side in pixels at which flow is computed; DIS works best on enlarged frames
FIELDS = 6  # numbers per vector: backward flow (right, down) and its consistency, then the same of the forward flow


def build_flow(home: str | Path, progress: Callable[[list], Iterable] | None = None) -> Path:
    """Compute the flow between all consecutive frames of a cache into `home`/flow.bin, and return that path.

    home: folder of the cache, see `CachedFrameStore`. An existing flow.bin is kept. progress: wraps the list of clips,
    as tqdm does. Raises ValueError if OpenCV is not installed.
    """
    path = Path(home) / "flow.bin"
    if path.is_file():
        return path
    from filelock import FileLock

    check_opencv()
    with FileLock(path.with_name(".flow.lock")):
        if path.is_file():  # computed by another process in the meantime
            return path
        store = CachedFrameStore(home)
        clips = store.all_clips()
        with atomic_path(path) as part, open(part, "wb") as out:
            for clip in progress(clips) if progress else clips:
                (byte_TCHW,) = store.read([(clip, 0)], clip.frames, 1)
                out.write(clip_flow(byte_TCHW).tobytes())
    return path


def check_opencv() -> None:
    """Raise ValueError if OpenCV is not installed."""
    if not find_spec("cv2"):
        raise ValueError("optical flow of real clips needs OpenCV: pip install 'lawm-explorer[train]'")


def flow_shape(height: int, width: int) -> tuple[int, int]:
    """Return height and width, in flow vectors, of the stored flow of a clip with this height and width in pixels."""
    return height // CELL_PIXELS, width // CELL_PIXELS


def clip_flow(byte_TCHW: np.ndarray) -> np.ndarray:
    """Compute the flow of all U = T - 1 transitions of a clip, in both directions.

    Return (U, FIELDS, height, width) float16, with height and width from `flow_shape`. Flow is in units of the frame's
    short side; consistency is in [0, 1].
    """
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
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
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
    """Return where a flow and the flow in the opposite direction agree, (H, W): 1 if they do, else 0.

    Both are in pixels. They agree where following `flow_HW2` and then `other_HW2` leads back to about the same point
    without leaving the frame (Sundaram et al. 2010).
    """
    import cv2

    height, width = flow_HW2.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at_x, at_y = x + flow_HW2[..., 0], y + flow_HW2[..., 1]
    back = cv2.remap(other_HW2, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(flow_HW2 + back).sum(axis=-1)
    size = np.square(flow_HW2).sum(axis=-1) + np.square(back).sum(axis=-1)
    inside = (at_x >= 0) & (at_x <= width - 1) & (at_y >= 0) & (at_y <= height - 1)
    return (inside & (error < 0.01 * size + 0.5)).astype(np.float32)


class FlowStore:
    """Memory-mapped flow of a frame cache.

    home: folder in which `build_flow` has written flow.bin. store: the frames of the same folder.
    """

    def __init__(self, home: str | Path, store: CachedFrameStore) -> None:
        self._numbers = np.memmap(Path(home) / "flow.bin", dtype=np.float16, mode="r")
        self._offsets, offset = {}, 0
        for clip in store.all_clips():
            self._offsets[clip.offset] = offset
            down, across = flow_shape(clip.height, clip.width)
            offset += (clip.frames - 1) * FIELDS * down * across

    def read(self, clip: CachedClip, start: int, transitions: int) -> Tensor:
        """Return flow_UCHW of `transitions` transitions from frame `start` on, float32 with C = FIELDS."""
        down, across = flow_shape(clip.height, clip.width)
        count = FIELDS * down * across
        first = self._offsets[clip.offset] + start * count
        flow = self._numbers[first : first + transitions * count].reshape(transitions, FIELDS, down, across)
        return torch.from_numpy(flow.astype(np.float32))


def crop_motion(
    flow_UCHW: Tensor, box: tuple[float, float, float], short_side: int, mirrored: bool, reversed_time: bool, grid: int
) -> Motion:
    """Return the motion inside a square crop of a clip, as a batch of one clip with grid x grid flow vectors.

    flow_UCHW: stored flow of the uncropped clip, see `FlowStore.read`. box: top, left and side of the crop, in pixels
    of the stored frames. short_side: shorter side of the stored frames, in pixels. mirrored, reversed_time: whether
    augmentation swaps left and right, and whether it reverses the order of frames.
    """
    fields = flow_UCHW[:, 3:].flip(0) if reversed_time else flow_UCHW[:, :3]
    top, left, side = (number / CELL_PIXELS for number in box)
    height, width = fields.shape[-2:]
    # The stored and the requested resolution are about equal, so bilinear sampling needs no antialiasing.
    centre_2HW = pixel_centres(grid, grid)
    at_x = (left + centre_2HW[0] * side) / width * 2 - 1
    at_y = (top + centre_2HW[1] * side) / height * 2 - 1
    at_UHW2 = torch.stack((at_x, at_y), dim=-1).expand(len(fields), -1, -1, -1)
    cut_U3HW = F.grid_sample(fields, at_UHW2, mode="bilinear", padding_mode="border", align_corners=False)
    if mirrored:
        cut_U3HW = cut_U3HW.flip(-1) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    flow_U2HW = cut_U3HW[:, :2] * (short_side / box[2])
    inside_U1HW = inside_frame(flow_U2HW)  # content that comes from outside the crop was not visible before
    known_U1HW = (cut_U3HW[:, 2:] > 0.9).float()
    return Motion(flow_U2HW[None], (known_U1HW * inside_U1HW)[None], known_U1HW[None])


def measure_motion(frame_TCHW: Tensor, grid: int) -> Motion:
    """Compute the teacher's flow of a square clip in [0, 1], as a batch of one clip with grid x grid flow vectors.

    Raises ValueError if OpenCV is not installed.
    """
    check_opencv()
    byte_TCHW = (frame_TCHW.cpu() * 255).round().byte().numpy()
    side = byte_TCHW.shape[-1]
    flow_UCHW = torch.from_numpy(clip_flow(byte_TCHW).astype(np.float32))
    return crop_motion(flow_UCHW, (0, 0, side), side, mirrored=False, reversed_time=False, grid=grid)
