"""Read video files and pictures as tensors, and write clips to video files."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.types import Clip, VideoError
from lawm_core.video import decode as trusted_decoder
from lawm_core.video import sandbox
from lawm_core.video.decode_types import DecodedFrames, DecodeLimits, EndedError, RefusedError, VideoInfo
from lawm_core.video.paths import check_readable, check_writable, is_picture
from lawm_core.video.transforms import to_short_side, to_square

READERS = ("pyav", "decord")
MAX_FRAMES = 600  # length limit of a clip without `num_frames`; a minute at 10 frames per second

# Every frame is a key frame, so that a browser seeks exactly. One thread and no time or version stamps, so that the
# same frames give the same bytes. BT.709 is declared, because players guess differently without a declaration.
DETERMINISTIC = "-g 1 -threads 1 -map_metadata -1 -fflags +bitexact -flags:v +bitexact".split()
BT709 = (
    "-vf scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int "
    "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
).split()
CODECS = {
    ".mp4": ("libx264", ["-crf", "14", "-movflags", "+faststart"]),
    ".webm": ("libvpx-vp9", ["-crf", "16", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "0"]),
}


def read_clip(
    path: str | os.PathLike,
    frames_per_second: float,
    size: int,
    num_frames: int | None = None,
    start_seconds: float = 0.0,
    trusted: bool = False,
    limits: DecodeLimits | None = None,
    min_frames: int = 2,
) -> Clip:
    """Read a window of a video file: frame_TCHW float32 in [0, 1], C = 3, H = W = size pixels, T >= min_frames.

    Each frame is the one on screen at its time, by time stamp; above the file's own rate, frames repeat. Frames are
    turned upright, centre-cropped to a square and resized with antialiasing. The clip is shorter than `num_frames` if
    the file ends earlier. Without `num_frames` it runs to the end of the file, or to MAX_FRAMES frames.

    trusted: decode in this process, without the sandbox; only for files of known origin. Frames and limits are the
    same. limits: by default `DecodeLimits()`. min_frames: 2 to infer actions, 1 for a target of which only the first
    frame is used. Any format that PyAV reads is accepted: mp4, mov, mkv, webm, avi, gif and others. With min_frames=1,
    a picture is accepted too, as a clip of one frame, whatever its start.

    Raises ValueError for arguments out of range and VideoError for files that cannot be used.
    """
    if num_frames is not None and num_frames < min_frames:
        raise ValueError(f"num_frames must be at least {min_frames}, or None for all, got {num_frames}.")
    path = Path(path)
    if min_frames == 1 and is_picture(path):
        return read_still(path, frames_per_second, size, limits)
    count = MAX_FRAMES if num_frames is None else int(num_frames)
    decoded = _decode(path, frames_per_second, size, count, start_seconds, trusted, limits)
    if (frames := len(decoded.frame_THWC)) < min_frames:
        raise VideoError(
            f"{path.name} gives {frames} {'frame' if frames == 1 else 'frames'} from {start_seconds:g} s on at "
            f"{frames_per_second:g} frames per second ({decoded.file_seconds:.2f} s long); at least {min_frames} are "
            f"needed. {'Choose an earlier start.' if start_seconds else 'Choose a longer video.'}"
        )
    return Clip(
        frame_TCHW=to_square(torch.from_numpy(decoded.frame_THWC), int(size), decoded.orientation),
        frames_per_second=float(frames_per_second),
        start_seconds=float(start_seconds),
        name=path.name,
        file_seconds=decoded.file_seconds,
    )


def read_still(path: Path, frames_per_second: float, size: int, limits: DecodeLimits | None = None) -> Clip:
    """Read a picture as a clip of one frame. Raises ValueError for arguments out of range, and VideoError."""
    _check_positive("frames_per_second", frames_per_second)
    frame_CHW = read_picture(path, size, limits)
    return Clip(frame_TCHW=frame_CHW[None], frames_per_second=float(frames_per_second), name=path.name)


def read_picture(path: str | os.PathLike, size: int, limits: DecodeLimits | None = None) -> Tensor:
    """Read a png, jpg, webp or bmp file: frame_CHW float32 in [0, 1], C = 3, H = W = size pixels.

    The picture is decoded in the sandbox, turned upright, centre-cropped and resized. Raises VideoError.
    """
    _check_positive("size", size)
    path, limits = Path(path), limits or DecodeLimits()
    with name_refusals(path.name):
        decoded = sandbox.decode_picture(check_readable(path, limits.max_bytes, "picture"), limits, size=int(size))
    return to_square(torch.from_numpy(decoded.frame_THWC), int(size), decoded.orientation)[0]


def read_frames(
    path: str | os.PathLike, frames_per_second: float, short_side: int, trusted: bool = False
) -> Iterator[Tensor]:
    """Yield the frames of a whole video, resized but not cropped, as byte_TCHW uint8 of up to MAX_FRAMES frames each.

    short_side: smaller of the height and width of the frames, in pixels. Caches are filled with this function, since
    only one part is in memory at a time. A file of one frame is refused, because an action needs two. Raises ValueError
    and VideoError as `read_clip` does.
    """
    path, start_seconds, limits = Path(path), 0.0, DecodeLimits.unattended()
    while True:
        try:
            decoded = _decode(path, frames_per_second, short_side, MAX_FRAMES, start_seconds, trusted, limits)
        except VideoError as error:
            if start_seconds > 0 and isinstance(error.__cause__, EndedError):
                return  # audio may outlast the last frame, and headers then declare more than there is
            raise
        if start_seconds == 0 and len(decoded.frame_THWC) == 1:
            raise VideoError(
                f"{path.name} gives 1 frame at {frames_per_second:g} frames per second; an action needs at least 2."
            )
        yield to_short_side(torch.from_numpy(decoded.frame_THWC), int(short_side), decoded.orientation)
        start_seconds += MAX_FRAMES / frames_per_second
        if len(decoded.frame_THWC) < MAX_FRAMES or start_seconds >= decoded.file_seconds - 1 / frames_per_second:
            return


def _decode(
    path: Path,
    frames_per_second: float,
    size: int,
    num_frames: int,
    start_seconds: float,
    trusted: bool,
    limits: DecodeLimits | None,
) -> DecodedFrames:
    """Check the arguments and decode at least one frame, in the sandbox or in this process.

    The frames are not yet turned upright, cropped and resized. Raises ValueError and VideoError.
    """
    _check_positive("frames_per_second", frames_per_second)
    _check_positive("size", size)
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ValueError(f"start_seconds must be a finite number of at least 0, got {start_seconds}.")
    limits = limits or DecodeLimits()
    with name_refusals(path.name):
        return (trusted_decoder if trusted else sandbox).decode(
            check_readable(path, limits.max_bytes),
            limits,
            frames_per_second=float(frames_per_second),
            size=int(size),
            num_frames=num_frames,
            start_seconds=float(start_seconds),
            reader=configured_reader(),
        )


@contextmanager
def name_refusals(name: str) -> Iterator[None]:
    """Context manager that converts RefusedError to VideoError with a message that starts with the file's name."""
    try:
        yield
    except RefusedError as refusal:
        raise VideoError(f"{name} {refusal}") from refusal


def configured_reader() -> str:
    """Return the reader that the environment variable LAWM_READER names, by default `pyav`.

    Raises ValueError for an unknown reader.
    """
    reader = os.environ.get("LAWM_READER", "pyav")
    if reader not in READERS:
        raise ValueError(f"LAWM_READER must be one of {', '.join(READERS)}, got {reader!r}.")
    return reader


def probe_video(path: str | os.PathLike, trusted: bool = False, limits: DecodeLimits | None = None) -> VideoInfo:
    """Return size, duration and frame rate of a video file, from its header and first frame. Raises VideoError."""
    path, limits = Path(path), limits or DecodeLimits()
    with name_refusals(path.name):
        return (trusted_decoder if trusted else sandbox).probe(check_readable(path, limits.max_bytes), limits)


def write_clip(path: str | os.PathLike, frame_TCHW: Tensor, frames_per_second: float) -> None:
    """Write frame_TCHW float in [0, 1], C = 3, as .mp4 (H.264), .webm (VP9) or .gif. The file is complete or absent.

    Frames are not resized. H.264 as browsers play it requires an even height and width, so the last row or column of
    frames with an odd side is repeated in an mp4. The output is deterministic. GIF times are multiples of 10 ms; frames
    are rounded to them without drift. Raises ValueError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    byte_THWC = as_bytes(frame_TCHW)
    _check_positive("frames_per_second", frames_per_second)
    check_writable(path)
    if suffix == ".gif" and frames_per_second > 50:
        raise ValueError(f"{path.name} can have at most 50 frames per second, got {frames_per_second:g}.")
    # In the target's folder, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        part = Path(folder).resolve() / f"clip{suffix}"
        write = _write_gif if suffix == ".gif" else _write_encoded
        write(part, byte_THWC, frames_per_second)
        os.replace(part, path)


def _write_encoded(path: Path, byte_THWC: np.ndarray, frames_per_second: float) -> None:
    with open_writer(path, frames_per_second) as writer:
        for byte_HWC in pad_to_even(byte_THWC) if path.suffix == ".mp4" else byte_THWC:
            writer.append_data(byte_HWC)


def open_writer(path: Path, frames_per_second: float, options: Sequence[str] = ()) -> Any:
    """Return imageio's writer of an .mp4 or .webm, which accepts frames (H, W, 3) uint8 with even sides.

    options: command-line options of ffmpeg, which override the defaults of this module.
    """
    import imageio

    codec, defaults = CODECS[path.suffix]
    return imageio.get_writer(
        path,
        format="FFMPEG",
        fps=frames_per_second,
        codec=codec,
        quality=None,
        pixelformat="yuv420p",
        macro_block_size=1,  # imageio otherwise resizes to multiples of 16
        output_params=[*BT709, *DETERMINISTIC, *defaults, *options],
    )


def _write_gif(path: Path, byte_THWC: np.ndarray, frames_per_second: float) -> None:
    import imageio.v3 as imageio

    # Rounding the times instead of the durations avoids drift.
    tick_T = np.round(np.arange(len(byte_THWC) + 1) * 100 / frames_per_second)
    imageio.imwrite(path, byte_THWC, plugin="pillow", duration=(np.diff(tick_T) * 10).tolist(), loop=0)


def pad_to_even(byte_THWC: np.ndarray) -> np.ndarray:
    """Return frames with even sides: the last row and column are repeated where needed."""
    height, width = byte_THWC.shape[1:3]
    return np.pad(byte_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def as_bytes(frame_TCHW: Tensor) -> np.ndarray:
    """Convert float frames in [0, 1] to byte_THWC uint8. Raises ValueError for other shapes, types and values."""
    shape = tuple(frame_TCHW.shape)
    if len(shape) != 4 or shape[1] != 3 or min(shape) < 1 or not frame_TCHW.is_floating_point():
        raise ValueError(f"frames must be (T, 3, H, W) float in [0, 1], got {shape} {frame_TCHW.dtype}.")
    if not torch.isfinite(frame_TCHW).all():
        raise ValueError("frames must be finite and in [0, 1], got values that are not finite.")
    byte_TCHW = frame_TCHW.detach().float().clamp(0, 1).mul(255).round().byte()
    return byte_TCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value}.")
