"""Video files to clips and back: the one reader and the one writer."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lawm_core.contracts import Clip, VideoError
from lawm_core.video import decode as decoder
from lawm_core.video import sandbox
from lawm_core.video.info import Decoded, DecodeLimits, EndedError, RefusedError, VideoInfo
from lawm_core.video.paths import check_readable, check_writable
from lawm_core.video.transforms import square, whole

__all__ = ["MAX_FRAMES", "VideoInfo", "probe_video", "read_clip", "read_frames", "write_clip"]

READERS = ("pyav", "decord")
MAX_FRAMES = 600  # of a clip read to its end: a minute at 10 frames a second

# Every frame a key frame, so that a browser seeks exactly; one thread and no stamps of time or version, so that the
# same frames give the same bytes; BT.709 said aloud, because players guess differently when nothing is said.
EXACT = "-g 1 -threads 1 -map_metadata -1 -fflags +bitexact -flags:v +bitexact".split()
COLOUR = (
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
    """Read a piece of a video file: frame_TCHW float32 in [0, 1], C = 3, H = W = size, T >= min_frames.

    Latent actions need at least 2 frames; a target, of which the first frame is used, needs 1.

    Each frame is the one on screen at its moment, by time stamp; above the file's own rate frames repeat. Frames are
    turned as the file asks, centre-cropped to a square and resized with antialiasing. The file may hold fewer frames
    than `num_frames`, and the clip is then shorter. Without `num_frames` the clip runs to the end of the file, cut
    off at MAX_FRAMES. Only files of known origin may be `trusted`: they are decoded in this process, without the
    guard of `sandbox.py`; the frames and the limits are the same. Any format that PyAV reads: mp4, mov, mkv, webm,
    avi, gif and others.

    Raises ValueError for arguments out of range and VideoError for files that cannot be used.
    """
    if num_frames is not None and num_frames < min_frames:
        raise ValueError(f"num_frames must be at least {min_frames}, or None for all, got {num_frames}.")
    path = Path(path)
    wanted = MAX_FRAMES if num_frames is None else int(num_frames)
    decoded = _decode(path, frames_per_second, size, wanted, start_seconds, trusted, limits)
    if (frames := len(decoded.frame_THWC)) < min_frames:
        raise VideoError(
            f"{path.name} gives {frames} {'frame' if frames == 1 else 'frames'} from {start_seconds:g} s on at "
            f"{frames_per_second:g} frames per second ({decoded.file_seconds:.2f} s long); at least {min_frames} are "
            "needed. Choose an earlier start."
        )
    return Clip(
        frame_TCHW=square(torch.from_numpy(decoded.frame_THWC), int(size), decoded.orientation),
        frames_per_second=float(frames_per_second),
        start_seconds=float(start_seconds),
        name=path.name,
        file_seconds=decoded.file_seconds,
    )


def read_picture(path: str | os.PathLike, size: int, limits: DecodeLimits | None = None) -> Tensor:
    """A still picture in a png, jpg, webp or bmp file: frame_CHW float32 in [0, 1], turned as the file asks,
    centre-cropped to a square of size x size pixels. Decoded under the guard of `sandbox.py`. Raises VideoError.
    """
    _check_positive("size", size)
    path, limits = Path(path), limits or DecodeLimits()
    try:
        decoded = sandbox.decode_picture_guarded(
            check_readable(path, limits.max_bytes, "picture"), limits, size=int(size)
        )
    except RefusedError as refusal:
        raise VideoError(f"{path.name} {refusal}") from refusal
    return square(torch.from_numpy(decoded.frame_THWC), int(size), decoded.orientation)[0]


def read_frames(
    path: str | os.PathLike, frames_per_second: float, short_side: int, trusted: bool = False
) -> Iterator[Tensor]:
    """A whole file at its full width, in pieces of up to MAX_FRAMES frames: byte_TCHW uint8 with this short side.

    For building caches: any length fits in memory. Raises ValueError and VideoError as `read_clip` does.
    """
    path, start_seconds = Path(path), 0.0
    while True:
        try:
            decoded = _decode(
                path, frames_per_second, short_side, MAX_FRAMES, start_seconds, trusted, DecodeLimits.unattended()
            )
        except VideoError as error:
            if start_seconds > 0 and isinstance(error.__cause__, EndedError):
                return  # sound may go on after the last frame, and headers then promise more than there is
            raise
        yield whole(torch.from_numpy(decoded.frame_THWC), int(short_side), decoded.orientation)
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
) -> Decoded:
    """Frames of at least one, still to be turned, cropped and resized; refusals become a VideoError with the name."""
    _check_positive("frames_per_second", frames_per_second)
    _check_positive("size", size)
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ValueError(f"start_seconds is {start_seconds}; a moment of 0 or later is needed.")
    limits = limits or DecodeLimits()
    read = decoder.decode if trusted else sandbox.decode_guarded
    try:
        return read(
            check_readable(path, limits.max_bytes),
            limits,
            frames_per_second=float(frames_per_second),
            size=int(size),
            num_frames=num_frames,
            start_seconds=float(start_seconds),
            reader=chosen_reader(),
        )
    except RefusedError as refusal:
        raise VideoError(f"{path.name} {refusal}") from refusal


def chosen_reader() -> str:
    """`pyav`, or what LAWM_READER says. Raises ValueError for another name."""
    reader = os.environ.get("LAWM_READER", "pyav")
    if reader not in READERS:
        raise ValueError(f"LAWM_READER is {reader!r}; needed: one of {', '.join(READERS)}.")
    return reader


def probe_video(path: str | os.PathLike, trusted: bool = False, limits: DecodeLimits | None = None) -> VideoInfo:
    """Size, length and rate of a video file, from its header and first frame. Raises VideoError."""
    path, limits = Path(path), limits or DecodeLimits()
    probe = decoder.probe if trusted else sandbox.probe_guarded
    try:
        return probe(check_readable(path, limits.max_bytes), limits)
    except RefusedError as refusal:
        raise VideoError(f"{path.name} {refusal}") from refusal


def write_clip(path: str | os.PathLike, frame_TCHW: Tensor, frames_per_second: float) -> None:
    """Write float frames in [0, 1], (T, 3, H, W), as .mp4 (H.264), .webm (VP9) or .gif: never half a file.

    Nothing is resized. H.264 as browsers play it needs even sides, so an odd mp4 grows by one repeated row or column,
    right or below. The same frames give the same bytes. GIF counts hundredths of a second: its frames are rounded to
    them without drift, at most 50 a second. Raises ValueError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    byte_THWC = as_bytes(frame_TCHW)
    _check_positive("frames_per_second", frames_per_second)
    check_writable(path)
    if suffix == ".gif" and frames_per_second > 50:
        raise ValueError(f"{path.name} cannot show {frames_per_second:g} frames per second; a GIF shows at most 50.")
    # Beside the target, so that the last step is a rename within one file system: all or nothing.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        part = Path(folder).resolve() / f"clip{suffix}"
        write = _write_gif if suffix == ".gif" else _write_encoded
        write(part, byte_THWC, frames_per_second)
        os.replace(part, path)


def _write_encoded(path: Path, byte_THWC: np.ndarray, frames_per_second: float) -> None:
    with open_writer(path, frames_per_second) as writer:
        for byte_HWC in evened(byte_THWC) if path.suffix == ".mp4" else byte_THWC:
            writer.append_data(byte_HWC)


def open_writer(path: Path, frames_per_second: float, options: Sequence[str] = ()):
    """imageio's writer for an .mp4 or .webm, to which frames of even sides are appended: (H, W, 3) bytes.

    options: of ffmpeg, that take the place of the usual ones.
    """
    import imageio

    codec, usual = CODECS[path.suffix]
    return imageio.get_writer(
        path,
        format="FFMPEG",
        fps=frames_per_second,
        codec=codec,
        quality=None,
        pixelformat="yuv420p",
        macro_block_size=1,  # 1 forbids imageio's silent resize to multiples of 16
        output_params=[*COLOUR, *EXACT, *usual, *options],
    )


def _write_gif(path: Path, byte_THWC: np.ndarray, frames_per_second: float) -> None:
    import imageio.v3 as imageio

    # Rounding the moments rather than the lengths keeps long animations in time.
    moment_T = np.round(np.arange(len(byte_THWC) + 1) * 100 / frames_per_second)
    imageio.imwrite(path, byte_THWC, plugin="pillow", duration=(np.diff(moment_T) * 10).tolist(), loop=0)


def evened(byte_THWC: np.ndarray) -> np.ndarray:
    """With even sides, by one repeated row or column at most."""
    height, width = byte_THWC.shape[1:3]
    return np.pad(byte_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def as_bytes(frame_TCHW: Tensor) -> np.ndarray:
    """Float frames in [0, 1] as byte_THWC. Raises ValueError."""
    shape = tuple(frame_TCHW.shape)
    if len(shape) != 4 or shape[1] != 3 or min(shape) < 1 or not frame_TCHW.is_floating_point():
        raise ValueError(f"frames are {shape} {frame_TCHW.dtype}; (T, 3, H, W) float in [0, 1] is needed.")
    if not torch.isfinite(frame_TCHW).all():
        raise ValueError("frames hold values that are not finite; numbers in [0, 1] are needed.")
    byte_TCHW = frame_TCHW.detach().float().clamp(0, 1).mul(255).round().byte()
    return byte_TCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; a finite number above 0 is needed.")
