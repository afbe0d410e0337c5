"""Which frame of a file is on screen at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from lawm_core.video.info import VideoInfo

BACKWARD_SECONDS = 0.1  # time stamps that go back further start a new timeline (as ffmpeg's dts_delta_threshold)
FORWARD_SECONDS = 10.0  # and those that jump ahead further, in formats whose time may start again


def sample_times(
    frames_per_second: float, num_frames: int, start_seconds: float = 0.0, end_seconds: float = math.inf
) -> np.ndarray:
    """The moments at which to look at a video: (T,) float64 seconds, T <= num_frames, all before `end_seconds`."""
    if end_seconds < math.inf:
        num_frames = min(num_frames, max(0, math.ceil((end_seconds - start_seconds) * frames_per_second)))
    return start_seconds + np.arange(num_frames) / frames_per_second


def frames_on_screen(stamp_F: np.ndarray, time_T: np.ndarray, tolerance_seconds: float = 1e-3) -> np.ndarray:
    """The index of the frame on screen at each time: (T,), the last one whose time stamp is not later.

    stamp_F: when each frame of the file appears, in seconds, ascending, evenly spaced or not. A time that misses a
    stamp by less than the tolerance counts as that stamp, because files round their stamps. Times before the first
    frame give the first frame.
    """
    return np.maximum(np.searchsorted(stamp_F, np.asarray(time_T) + tolerance_seconds, side="right") - 1, 0)


def stamp_tolerance(info: VideoInfo) -> float:
    """How far a time stamp may lie from where it was meant, in seconds.

    Half a tick where stamps are rounded to a tick (GIF 10 ms, Matroska 1 ms), but not where one tick is one frame
    (AVI): those stamps are exact. A millisecond covers what is rounded elsewhere.
    """
    rounded = info.frames_per_second > 0 and info.tick_seconds * info.frames_per_second <= 0.5
    return 1e-3 + (info.tick_seconds / 2 if rounded else 0.0)


def continued(stamps: Iterable[tuple[float | None, float]], jumps: bool) -> Iterator[tuple[float, float]]:
    """Turn (appears or None, lasts) of frames in order, in seconds, into (appears, ends) that never go back.

    Missing stamps follow the frame before. Where time starts again, or with `jumps` leaps ahead, it goes on from the
    end of the frame before, as ffmpeg continues joined streams.
    """
    shift = appears = ends = 0.0
    for number, (stamp, lasts) in enumerate(stamps):
        if stamp is None:
            appears = ends
        else:
            if number and is_break(stamp + shift, appears, ends, jumps):
                shift = ends - stamp
            appears = max(stamp + shift, appears)
        ends = appears + lasts
        yield appears, ends


def is_break(stamp: float, appears: float, ends: float, jumps: bool) -> bool:
    """Whether a stamp starts a new timeline after a frame that appears and ends at these moments."""
    return stamp < appears - BACKWARD_SECONDS or (jumps and stamp > ends + FORWARD_SECONDS)
