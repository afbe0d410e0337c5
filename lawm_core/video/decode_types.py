"""Dataclasses and exceptions of video decoding: limits, properties of a file, request and result.

This module, like every module that `decoder_process.py` imports, does not import torch: that process must start fast.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

DECODE_SECONDS = "LAWM_DECODE_SECONDS"  # environment variable, see `DecodeLimits.unattended`


class RefusedError(Exception):
    """A file cannot be used. The message continues a sentence that begins with the file's name."""


class EndedError(RefusedError):
    """A file ends before the requested start."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Upper bounds on the properties of a file and on the resources that its decoder may use.

    The limit on processor time is `cpu_seconds`, plus a term that grows with the pixels of a request, up to
    `max_cpu_seconds`. raised_by: name of the environment variable with which the user can raise the time limits; error
    messages mention it.
    """

    max_bytes: int = 2 * 2**30  # size of the file
    min_side: int = 16  # pixels; smaller sizes come from forged headers, and some codecs crash on them
    max_side: int = 4096  # height and width of a video in pixels
    max_pixels: int = 3840 * 2160  # height times width of a video
    max_picture_side: int = 16384  # height and width of a still picture in pixels
    max_picture_pixels: int = 64 * 10**6  # height times width of a still picture
    max_seconds: float = 4 * 3600.0  # duration that the header declares
    max_declared_frames: int = 1_000_000  # number of frames that the header declares
    max_reply_bytes: int = 2**30  # size of the decoded frames, 3 bytes per pixel, before the final crop and resize
    address_space_bytes: int = 3 * 2**30  # memory of the decoder process
    cpu_seconds: int = 15  # processor time of the decoder process, before the term for pixels is added
    max_cpu_seconds: int = 60  # processor time of the decoder process, at most
    wall_seconds: float = 20.0  # wall-clock time of one request
    raised_by: str = ""

    @classmethod
    def unattended(cls) -> DecodeLimits:
        """Return limits for work on many videos, in which a single slow video may take long.

        One request may take up to LAWM_DECODE_SECONDS seconds of processor time, by default 1200, instead of 60. Raises
        ValueError if the environment variable is not a positive whole number.
        """
        text = os.environ.get(DECODE_SECONDS, "1200")
        if not (text.isdecimal() and int(text) > 0):
            raise ValueError(f"{DECODE_SECONDS} must be a positive whole number of seconds, got {text!r}.")
        # Three times the processor time on the wall clock, so that a busy machine is not mistaken for a hang.
        return cls(max_cpu_seconds=int(text), wall_seconds=3 * int(text), raised_by=DECODE_SECONDS)

    def check_size(self, width: int, height: int, picture: bool = False) -> None:
        """Raise RefusedError if a video frame, or a still picture, has too few or too many pixels."""
        max_side = self.max_picture_side if picture else self.max_side
        max_pixels = self.max_picture_pixels if picture else self.max_pixels
        if min(width, height) < self.min_side:
            raise RefusedError(f"is {width} x {height} pixels; each side must have at least {self.min_side}.")
        if max(width, height) > max_side or width * height > max_pixels:
            raise RefusedError(
                f"is {width} x {height} pixels; at most {max_side} per side and {max_pixels} in total are allowed."
            )

    def check_video(self, info: VideoInfo) -> None:
        """Raise RefusedError if a header declares more than is allowed."""
        self.check_size(info.width, info.height)
        if info.seconds > self.max_seconds:
            raise RefusedError(f"declares {info.seconds:.0f} s; at most {self.max_seconds:.0f} s are allowed.")
        if info.frame_count > self.max_declared_frames:
            raise RefusedError(
                f"declares {info.frame_count} frames; at most {self.max_declared_frames} frames are allowed."
            )


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How to turn stored frames upright: transpose them, then flip them. Covers all right angles and mirrorings."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Properties of a video file, from its header and first frame.

    width, height: as displayed, upright and with square pixels. seconds: duration, 0 if unknown. frame_count: 0 if
    unknown. frames_per_second: average rate, 0 if unknown. tick_seconds: unit of the file's time stamps. first_seconds:
    time stamp of the first frame; all other times count from it. continuous: False if time stamps restart inside the
    file, as in concatenated transport streams. seekable: False if frames depend on the start of the file, as with a
    palette that only the first frame carries.
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

    @property
    def frame_seconds(self) -> float:
        """Average duration of a frame, 1/25 s if the rate is unknown."""
        return 1 / self.frames_per_second if self.frames_per_second else 0.04


@dataclass(frozen=True, kw_only=True)
class DecodedFrames:
    """Decoded frames, not yet turned upright, cropped and resized.

    frame_THWC: uint8 RGB frames with square pixels, near the requested size. orientation: how to turn them upright.
    file_seconds: duration of the file, or 0 for a still picture.
    """

    frame_THWC: np.ndarray
    orientation: Orientation
    file_seconds: float


@dataclass(frozen=True)
class DecodeRequest:
    """A request for `num_frames` frames from `start_seconds` on, `frames_per_second` per second, of a file.

    size: short side in pixels that the frames will have after the final resize.
    """

    info: VideoInfo
    limits: DecodeLimits
    frames_per_second: float
    size: int
    num_frames: int
    start_seconds: float

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the decoded frames before they are turned upright."""
        width, height = decode_size(self.info.width, self.info.height, self.size)
        return (height, width) if self.info.orientation.transposed else (width, height)

    def time_of(self, index: int) -> float:
        """Return the time of the requested frame of this index, in seconds from the file's first frame."""
        return self.start_seconds + index / self.frames_per_second

    def check_count(self, num_frames: int) -> None:
        """Raise RefusedError if this number of frames does not fit into a reply of the decoder process."""
        width, height = self.stored_size
        if num_frames > (max_frames := self.limits.max_reply_bytes // (3 * width * height)):
            raise RefusedError(f"would give {num_frames} frames at this size; request at most {max_frames}.")

    def check_start(self, file_seconds: float, tolerance: float) -> None:
        """Raise EndedError if the file ends before the first requested frame. Both arguments are in seconds."""
        if self.start_seconds >= file_seconds - tolerance:
            raise EndedError(f"is {file_seconds:.2f} s long and cannot be read from {self.start_seconds:g} s.")


def decode_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the width and height at which to decode frames whose short side will be resized to `size`.

    The short side is decoded at no more than about 2 * `size`. The remaining reduction is left to an antialiased resize
    after the crop.
    """
    scale = min(1.0, 2 * size / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
