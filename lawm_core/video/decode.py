"""Decode video files and still pictures to NumPy frames.

`probe` returns the properties of a video, `decode` decodes a window of time, and `decode_picture` a still picture. PyAV
reads by time stamp: it seeks to a key frame before the window and decodes forward. `sandbox.py` calls these functions
in a child process; trusted files are decoded in the process of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import dropwhile
from typing import Any

import numpy as np

from lawm_core.video import containers
from lawm_core.video.decode_types import (
    DecodedFrames,
    DecodeLimits,
    DecodeRequest,
    Orientation,
    RefusedError,
    VideoInfo,
    decode_size,
)
from lawm_core.video.decord_reader import decode_decord, is_verified
from lawm_core.video.timeline import timestamp_tolerance

UNSEEKABLE_PIXEL_FORMATS = ("pal8",)  # the palette is stored with the first frame only
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MIN_SEEK_SECONDS = 2.0  # before this time, decoding from the first frame is as fast as a seek, and always exact
# Seconds before the window to which each attempt seeks. The first attempts can land too late, because files index key
# frames in decoding order, and because the first frames after the key frame of an open group of pictures refer to
# frames before it.
SEEK_LEADS = (0.0, 1.0, 5.0, 30.0)
SKIPPING_CODECS = ("h264", "hevc", "mpeg2video", "mpeg4")  # decoders that can skip single frames
MIN_SKIP_RATIO = 1.5  # frames are skipped if the file's rate is at least this multiple of the requested rate


def probe(path: str, limits: DecodeLimits) -> VideoInfo:
    """Return the properties of a video, from its header and first frame.

    Raises RefusedError if they exceed the limits or if no frame can be decoded.
    """
    with containers.refuse_errors("is not a readable video ({}); use mp4, mov, mkv, webm, avi or gif."):
        with containers.open_container(path) as container:
            stream = containers.video_stream(container)
            info = containers.read_header(container, stream)
            limits.check_video(replace(info, seconds=0.0))
            frame = next(containers.decoded_frames(container, stream), None)
            aspect, stream_start = stream.sample_aspect_ratio, stream.start_time
            restarts = containers.allows_discontinuity(container)
        if restarts:
            info = containers.scan_time(path, info)
        limits.check_video(info)
    if frame is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or truncated.")
    orientation = containers.orientation_of(frame)
    size = containers.square_pixel_width(info.width, aspect), info.height
    width, height = size[::-1] if orientation.transposed else size
    first = frame.time if frame.time is not None else float((stream_start or 0) * info.tick_seconds)
    seekable = info.continuous and frame.format.name not in UNSEEKABLE_PIXEL_FORMATS
    return replace(info, first_seconds=first, seekable=seekable, orientation=orientation, width=width, height=height)


def decode(
    path: str,
    limits: DecodeLimits,
    *,
    frames_per_second: float,
    size: int,
    num_frames: int,
    start_seconds: float,
    info: VideoInfo | None = None,
    reader: str = "pyav",
) -> DecodedFrames:
    """Decode up to `num_frames` frames by time stamp, with a short side of at most about 2 * `size` pixels.

    info: result of `probe` for this file, if it has been called before. reader: `pyav` or `decord`; with `decord`,
    files of kinds that decord is not verified to read correctly are still read by PyAV. Raises RefusedError.
    """
    request = DecodeRequest(info or probe(path, limits), limits, frames_per_second, size, num_frames, start_seconds)
    with containers.refuse_errors():
        if reader == "decord" and is_verified(path, request) and (decoded := decode_decord(path, request)) is not None:
            return decoded
        with containers.open_container(path) as container:
            decoded = read_after_seek(container, request)
        if decoded is None:
            with containers.open_container(path) as container:
                decoded = read_window(container, request)
    if decoded is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or truncated.")
    return decoded


def read_after_seek(container, request: DecodeRequest) -> DecodedFrames | None:
    """Decode the window from a key frame before it. Returns None if seeking fails or always lands too late."""
    if request.start_seconds <= MIN_SEEK_SECONDS or not request.info.seekable:
        return None
    stream = containers.video_stream(container)
    for lead in SEEK_LEADS:
        start = request.start_seconds - lead
        if start <= MIN_SEEK_SECONDS or not containers.seek(container, stream, start + request.info.first_seconds):
            return None
        if (decoded := read_window(container, request, after_seek=True)) is not None:
            return decoded
    return None


def read_window(container, request: DecodeRequest, after_seek: bool = False) -> DecodedFrames | None:
    """Decode the window from the current position of the container.

    Returns None if there is no frame, or if a seek has landed after the start of the window.
    """
    stream = containers.video_stream(container)
    timed = containers.timed_frames(container, stream, request.info, packet_filter(stream, request))
    if after_seek:  # frames before the first key frame refer to frames that were not decoded
        timed = dropwhile(lambda item: not item[2].key_frame, timed)
    return select_frames(timed, request, after_seek)


def packet_filter(stream, request: DecodeRequest) -> Callable | None:
    """Return a function that says whether a packet's frame may be needed, or None if every frame has to be decoded."""
    info, rate = request.info, request.frames_per_second
    dense = info.frames_per_second < MIN_SKIP_RATIO * rate
    if dense or stream.codec_context.name not in SKIPPING_CODECS or not info.continuous:
        return None
    tick, tolerance = float(stream.time_base), timestamp_tolerance(info)

    def is_needed(packet) -> bool:
        """Return whether a requested time may lie between a packet's time stamp and the next one."""
        if packet.pts is None or not packet.duration:
            return True
        # Twice the declared duration, because some containers guess it.
        start = packet.pts * tick - info.first_seconds - tolerance
        end = start + 2 * max(packet.duration * tick, info.frame_seconds) + 2 * tolerance
        return request.time_of(max(0, int(np.ceil((start - request.start_seconds) * rate)))) < end

    return is_needed


def select_frames(
    timed: Iterator[tuple[float, float, Any]], request: DecodeRequest, after_seek: bool
) -> DecodedFrames | None:
    """Return the frame on screen at each requested time, from (start, end, frame) in display order.

    Returns None if there is no frame, or if the first frame after a seek is later than the first requested time. Raises
    RefusedError.
    """
    tolerance = timestamp_tolerance(request.info)
    scaler = containers.Scaler(*request.stored_size)
    kept, shown, scaled, count, end_seconds = [], None, None, 0, 0.0

    def keep_until(seconds: float) -> None:
        """Keep the frame on screen for every requested time before this one."""
        nonlocal scaled
        while len(kept) < request.num_frames and request.time_of(len(kept)) < seconds:
            if scaled is None:
                scaled = scaler.scale(shown)
            request.check_count(len(kept) + 1)
            kept.append(scaled)

    for start, end, frame in timed:
        if shown is None and after_seek and start > request.start_seconds + tolerance:
            return None
        if shown is not None:
            keep_until(start - tolerance)
        if len(kept) == request.num_frames:
            break
        shown, scaled, end_seconds, count = frame, None, end, count + 1
    if shown is None:
        return None
    if len(kept) < request.num_frames:  # end of the file
        request.check_start(end_seconds, tolerance)
        keep_until(end_seconds - tolerance)
        if count == 1 and not after_seek:
            del kept[1:]  # a file of a single frame shows no motion, whatever duration it declares
    return DecodedFrames(
        frame_THWC=np.stack(kept),
        orientation=request.info.orientation,
        file_seconds=max(request.info.seconds, end_seconds),
    )


def decode_picture(path: str, limits: DecodeLimits, *, size: int) -> DecodedFrames:
    """Decode a still picture to one upright frame with a short side of at most about 2 * `size` pixels.

    Raises RefusedError.
    """
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the limits below give a better message
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            limits.check_size(*picture.size, picture=True)
            picture.draft("RGB", decode_size(*picture.size, size))  # a JPEG is scaled while it is decoded
            upright = ImageOps.exif_transpose(to_rgb(picture))
    except (RefusedError, MemoryError):
        raise
    except Exception as error:  # Pillow raises many types of errors for damaged files
        raise RefusedError(f"is not a readable picture ({type(error).__name__}); use png, jpg, webp or bmp.") from error
    frame_HWC = np.asarray(upright.resize(decode_size(*upright.size, size), Image.Resampling.BOX, reducing_gap=2.0))
    return DecodedFrames(frame_THWC=frame_HWC[None], orientation=Orientation(), file_seconds=0.0)


def to_rgb(picture):
    """Convert a Pillow picture to 8-bit RGB: 16-bit brightness is scaled, not clipped, and transparency is dropped."""
    from PIL import Image

    if picture.mode.startswith("I"):
        value_HW = np.asarray(picture).astype(np.float32) / 257
        scaled = Image.fromarray(value_HW.clip(0, 255).round().astype(np.uint8)).convert("RGB")
        scaled.info = picture.info
        return scaled
    return picture.convert("RGB")
