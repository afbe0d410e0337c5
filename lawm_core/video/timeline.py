"""Time stamps of video frames: sampling times, the frame on screen at a time, restarts of a file's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lawm_core.video.decode_types import VideoInfo

BACKWARD_SECONDS = 0.1  # time stamps that go back further than this start a new timeline
# So do those that jump ahead further than this, where time stamps may restart (dts_delta_threshold of ffmpeg).
FORWARD_SECONDS = 10.0


def sample_times(
    frames_per_second: float, num_frames: int, start_seconds: float = 0.0, end_seconds: float = math.inf
) -> np.ndarray:
    """Return times at which to sample a video: (T,) float64 seconds, T <= num_frames, all before `end_seconds`."""
    if end_seconds < math.inf:
        num_frames = min(num_frames, max(0, math.ceil((end_seconds - start_seconds) * frames_per_second)))
    return start_seconds + np.arange(num_frames) / frames_per_second


def frames_on_screen(start_X: np.ndarray, time_T: np.ndarray, tolerance_seconds: float = 1e-3) -> np.ndarray:
    """Return the index of the frame on screen at each time, (T,): the last frame that starts no later.

    start_X: when each frame of the file appears, in ascending seconds, evenly spaced or not. Files round their time
    stamps, so a time that misses one by less than the tolerance counts as equal. Times before the first frame give the
    first frame.
    """
    return np.maximum(np.searchsorted(start_X, np.asarray(time_T) + tolerance_seconds, side="right") - 1, 0)


def timestamp_tolerance(info: VideoInfo) -> float:
    """Return how far a time stamp may be from its intended value, in seconds.

    Half a tick if time stamps are rounded to ticks (GIF 10 ms, Matroska 1 ms), but not if one tick is one frame (AVI):
    those time stamps are exact. One millisecond covers other rounding.
    """
    rounded = info.frames_per_second > 0 and info.tick_seconds * info.frames_per_second <= 0.5
    return 1e-3 + (info.tick_seconds / 2 if rounded else 0.0)


def continuous_times(
    frames: Iterable[tuple[float | None, float, Any]], jumps: bool
) -> Iterator[tuple[float, float, Any]]:
    """Convert (time stamp or None, duration, frame) to (start, end, frame), in seconds, with starts that never go back.

    A frame without a time stamp starts at the end of the frame before. If time stamps go back, or jump far ahead and
    `jumps` is true, time continues from the end of the frame before, as ffmpeg continues concatenated streams.
    """
    shift = start = end = 0.0
    for index, (stamp, seconds, frame) in enumerate(frames):
        if stamp is None:
            start = end
        else:
            if index and is_discontinuity(stamp + shift, start, end, jumps):
                shift = end - stamp
            start = max(stamp + shift, start)
        end = start + seconds
        yield start, end, frame


def is_discontinuity(stamp: float, start: float, end: float, jumps: bool) -> bool:
    """Return whether a time stamp starts a new timeline after a frame with this start and end, all in seconds.

    jumps: whether time stamps that jump far ahead start one, and not only those that go back.
    """
    return stamp < start - BACKWARD_SECONDS or (jumps and stamp > end + FORWARD_SECONDS)
