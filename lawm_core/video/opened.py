"""Many pieces of one long video file, as data sets keep their episodes: under the guard, or from a file kept open."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from lawm_core.contracts import VideoError
from lawm_core.video.containers import damage_refused, open_container
from lawm_core.video.decode import ask, probe, read_after_seek, read_window
from lawm_core.video.files import MAX_FRAMES, read_clip
from lawm_core.video.info import DecodeLimits, RefusedError, Want
from lawm_core.video.transforms import square

KEPT_BYTES = 64 * 2**20  # of frames that were decoded ahead
LONG = DecodeLimits(max_seconds=24 * 3600.0)
SAME_MOMENT = 1e-3  # frames; as near as this, pieces lie on one grid


class GuardedVideo:
    """Pieces of a file from anywhere, decoded in the guarded child of `sandbox.py`.

    A child for each piece would cost more than its frames, so that a longer stretch is decoded and kept for the next.
    """

    def __init__(self, path: str | os.PathLike, limits: DecodeLimits | None = None) -> None:
        self.path, self.limits = Path(path), limits or LONG
        if not self.path.is_file():
            raise VideoError(f"{self.path.name} does not exist; the path of a video file is needed.")
        self._kept: tuple[tuple[float, int], float, Tensor] | None = None  # (rate, size), start, frame_TCHW

    def read(self, frames_per_second: float, size: int, num_frames: int, start_seconds: float = 0.0) -> Tensor:
        """As `OpenVideo.read`. Raises VideoError."""
        asked = (frames_per_second, size)
        if self._kept is not None and self._kept[0] == asked:
            _, start, frame_TCHW = self._kept
            exact = (start_seconds - start) * frames_per_second
            first = round(exact)
            if abs(exact - first) < SAME_MOMENT and 0 <= first <= len(frame_TCHW) - num_frames:
                return frame_TCHW[first : first + num_frames]
        ahead = max(num_frames, min(MAX_FRAMES, KEPT_BYTES // (12 * size * size)))
        clip = read_clip(self.path, frames_per_second, size, ahead, start_seconds, limits=self.limits)
        self._kept = asked, start_seconds, clip.frame_TCHW
        return clip.frame_TCHW[:num_frames]

    def close(self) -> None:
        """Lets the kept frames go."""
        self._kept = None


class OpenVideo:
    """Pieces of a file by time stamp, without opening it again for each. For files of known origin: see `read_clip`.

    PyAV alone reads here: it seeks, and it knows AV1, in which data sets are often kept. Raises VideoError.
    """

    def __init__(self, path: str | os.PathLike, limits: DecodeLimits | None = None) -> None:
        self.path, self.limits = Path(path), limits or LONG
        if not self.path.is_file():
            raise VideoError(f"{self.path.name} does not exist; the path of a video file is needed.")
        try:
            self.info = probe(str(self.path.resolve()), self.limits)
            with damage_refused():
                self.container = open_container(str(self.path.resolve()))
        except RefusedError as refusal:
            raise VideoError(f"{self.path.name} {refusal}") from refusal

    def read(self, frames_per_second: float, size: int, num_frames: int, start_seconds: float = 0.0) -> Tensor:
        """frame_TCHW float32 in [0, 1], centre-cropped to size x size; T may be less than num_frames at the end."""
        want = ask(self.info, self.limits, float(frames_per_second), size, num_frames, float(start_seconds))
        try:
            # A seek that lands behind the wanted moment, as broken indices make it, is answered from the start.
            with damage_refused():
                decoded = read_after_seek(self.container, want) or self._from_the_start(want)
        except RefusedError as refusal:
            raise VideoError(f"{self.path.name} {refusal}") from refusal
        if decoded is None:
            raise VideoError(f"{self.path.name} has no frame that can be decoded at {start_seconds:g} s.")
        return square(torch.from_numpy(decoded.frame_THWC), size, decoded.orientation)

    def _from_the_start(self, want: Want):
        self.close()
        self.container = open_container(str(self.path.resolve()))
        return read_window(self.container, want)

    def close(self) -> None:
        """Lets the file go."""
        self.container.close()
