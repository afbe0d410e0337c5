"""Readers for many windows of one long video file, as in data sets that store many episodes per file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from lawm_core.types import VideoError
from lawm_core.video.containers import open_container, refuse_errors
from lawm_core.video.decode import probe, read_after_seek, read_window
from lawm_core.video.decode_types import DecodedFrames, DecodeLimits, DecodeRequest
from lawm_core.video.files import MAX_FRAMES, name_refusals, read_clip
from lawm_core.video.paths import check_readable
from lawm_core.video.transforms import to_square

MAX_CACHED_BYTES = 64 * 2**20  # size of the frames that are kept for the next calls
LIMITS = DecodeLimits(max_seconds=24 * 3600.0)
GRID_TOLERANCE = 1e-3  # in frames: a window starts on a kept frame if their times differ by less than this


class SandboxedVideoReader:
    """Reads windows of an untrusted file through `sandbox.py`. Raises VideoError if the file cannot be opened.

    Starting a child process takes longer than decoding a short window, so each process decodes frames beyond the
    window, which are kept for the next calls.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        check_readable(self.path)
        self._cache: tuple[tuple[float, int], float, Tensor] | None = None  # (rate, size), start, frame_TCHW

    def read(self, frames_per_second: float, size: int, num_frames: int, start_seconds: float = 0.0) -> Tensor:
        """Return a window of frames, as `VideoReader.read` does."""
        key = (frames_per_second, size)
        if self._cache is not None and self._cache[0] == key:
            _, start, frame_TCHW = self._cache
            offset = (start_seconds - start) * frames_per_second
            first = round(offset)
            if abs(offset - first) < GRID_TOLERANCE and 0 <= first <= len(frame_TCHW) - num_frames:
                return frame_TCHW[first : first + num_frames]
        ahead = max(num_frames, min(MAX_FRAMES, MAX_CACHED_BYTES // (12 * size * size)))
        clip = read_clip(self.path, frames_per_second, size, ahead, start_seconds, limits=LIMITS)
        self._cache = key, start_seconds, clip.frame_TCHW
        return clip.frame_TCHW[:num_frames]

    def close(self) -> None:
        """Release the cached frames."""
        self._cache = None


class VideoReader:
    """Reads windows of a trusted file, which stays open. Raises VideoError if the file cannot be opened.

    PyAV is used even if LAWM_READER names another reader: it seeks, and it supports AV1, which data sets often use.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path, self.name = check_readable(Path(path)), Path(path).name
        with name_refusals(self.name), refuse_errors():
            self.info = probe(self.path, LIMITS)
            self.container = open_container(self.path)

    def read(self, frames_per_second: float, size: int, num_frames: int, start_seconds: float = 0.0) -> Tensor:
        """Return frame_TCHW float32 in [0, 1], centre-cropped to size x size pixels, T <= num_frames.

        T is smaller at the end of the file. Raises VideoError.
        """
        request = DecodeRequest(self.info, LIMITS, float(frames_per_second), size, num_frames, float(start_seconds))
        with name_refusals(self.name), refuse_errors():
            # If a broken index makes every seek land after the requested time, the file is decoded from its start.
            decoded = read_after_seek(self.container, request) or self._read_from_start(request)
        if decoded is None:
            raise VideoError(f"{self.name} has no frame that can be decoded at {start_seconds:g} s.")
        return to_square(torch.from_numpy(decoded.frame_THWC), size, decoded.orientation)

    def _read_from_start(self, request: DecodeRequest) -> DecodedFrames | None:
        self.close()
        self.container = open_container(self.path)
        return read_window(self.container, request)

    def close(self) -> None:
        """Close the file."""
        self.container.close()
