"""What is allowed of a video file, what is known of it, what is asked of it and what came of that.

No torch here, nor in any module that the guarded child of `sandbox.py` imports: it must start fast.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

DECODE_SECONDS = "LAWM_DECODE_SECONDS"  # an environment variable, see `DecodeLimits.unattended`
MIN_SIDE = 16  # pixels; smaller streams are headers that lie, and some codecs crash on them
PIXELS_PER_SECOND = 25e6  # that a slow processor decodes; a fast one decodes ten times as many


class RefusedError(Exception):
    """A file cannot be used; the text continues a sentence that begins with the file's name."""


class EndedError(RefusedError):
    """The file ends before the moment that was asked for."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """How much a file may claim, and how much its decoder may use.

    Processor time starts at `cpu_seconds` and grows with the pixels that a request needs, up to `max_cpu_seconds`.
    raised_by: the environment variable that raises the limits on time, named in the error message.
    """

    max_bytes: int = 2 * 2**30  # of the file
    min_side: int = MIN_SIDE  # pixels
    max_side: int = 4096  # pixels, of a video
    max_pixels: int = 3840 * 2160  # of one frame
    max_picture_side: int = 16384  # pixels, of a still picture
    max_picture_pixels: int = 64 * 10**6
    max_seconds: float = 4 * 3600.0  # declared length
    max_declared_frames: int = 1_000_000
    max_reply_bytes: int = 2**30  # decoded frames, 3 bytes a pixel, before the final crop and resize
    address_space_bytes: int = 3 * 2**30  # of the child
    cpu_seconds: int = 15  # of one child
    max_cpu_seconds: int = 60
    wall_seconds: float = 20.0  # of all attempts at one file together
    raised_by: str = ""

    @classmethod
    def unattended(cls) -> DecodeLimits:
        """Limits where nobody waits for the answer, as in training: a long film may take as long as its pixels need,
        up to `LAWM_DECODE_SECONDS` seconds of processor time (default 1200). Raises ValueError for a bad value.
        """
        text = os.environ.get(DECODE_SECONDS, "1200")
        if not (text.isdecimal() and int(text) > 0):
            raise ValueError(f"{DECODE_SECONDS} must be a positive whole number of seconds, got {text!r}.")
        # A busy machine is not taken for a hang, so the clock on the wall allows three times as much.
        return cls(max_cpu_seconds=int(text), wall_seconds=3 * int(text), raised_by=DECODE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How stored frames become upright ones: rows and columns are exchanged first, then sides. All right angles and
    mirrors are some such combination.
    """

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file's header and first frame say.

    width, height: as a person sees them, upright and with square pixels. seconds: length, 0 when unknown. frame_count:
    0 when unknown. frames_per_second: the average. tick_seconds: the unit of the file's time stamps. first_seconds: the
    first frame's own stamp; all other times count from there. continuous: False where time starts again inside the
    file, as in joined transport streams. seekable: False where frames need what came before them, as colours of a
    palette that only the first frame brings.
    """

    width: int
    height: int
    seconds: float
    frames_per_second: float
    frame_count: int
    orientation: Orientation = field(default_factory=Orientation)
    tick_seconds: float = 0.0
    first_seconds: float = 0.0
    continuous: bool = True
    seekable: bool = True


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Whole frames near the wanted size, with square pixels: frame_THWC uint8 RGB, still to be made upright, cropped
    and resized.
    """

    frame_THWC: np.ndarray
    orientation: Orientation
    file_seconds: float


@dataclass(frozen=True)
class Want:
    """One request: which moments, at what size."""

    info: VideoInfo
    width: int  # of the frames to return, upright
    height: int
    frames_per_second: float
    num_frames: int
    start_seconds: float
    max_frames: int  # that the reply may hold

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of frames that are not upright yet."""
        return (self.height, self.width) if self.info.orientation.transposed else (self.width, self.height)

    def moment(self, number: int) -> float:
        """When the frame of this number is wanted, in seconds from the file's first frame."""
        return self.start_seconds + number / self.frames_per_second

    def check_count(self, num_frames: int) -> None:
        """RefusedError where so many frames do not fit into a reply."""
        if num_frames > self.max_frames:
            raise RefusedError(f"would give {num_frames} frames at this size; ask for at most {self.max_frames}.")

    def check_start(self, file_seconds: float, tolerance: float) -> None:
        """EndedError where the file ends before the first wanted moment."""
        if self.start_seconds >= file_seconds - tolerance:
            raise EndedError(f"is {file_seconds:.2f} s long and cannot be read from {self.start_seconds:g} s.")


def shrunk(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height at which frames are decoded whose short side will be `size`: about twice that, or less.

    The last halving is left to an antialiased resize after the crop.
    """
    scale = min(1.0, 2 * size / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
