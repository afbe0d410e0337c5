"""Video files and pictures to frames in numpy: probe, decode a window of time, decode a picture.

PyAV reads everything by time stamp: it seeks to a key frame before the window and decodes forward. `sandbox.py` runs
these functions in a child; trusted files are decoded in-process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lawm_core.video.containers import (
    Scaler,
    check_header,
    damage_refused,
    decoded_frames,
    open_container,
    orientation_of,
    read_header,
    reason,
    scan_time,
    seek,
    square_width,
    time_may_restart,
    timed_frames,
    video_stream,
)
from lawm_core.video.decord_reader import decode_decord, is_proven
from lawm_core.video.info import (
    Decoded,
    DecodeLimits,
    Orientation,
    RefusedError,
    VideoInfo,
    Want,
    shrunk,
)
from lawm_core.video.timeline import stamp_tolerance

NEEDING_THE_FIRST = ("pal8",)  # pixel formats
PICTURES = ("PNG", "JPEG", "WEBP", "BMP")
SEEK_SECONDS = 2.0  # nearer to the start, decoding from the first frame is as fast as a seek, and always exact
# How far before a wanted moment a seek aims, one after the other: files point at key frames by the order of decoding,
# and key frames of open groups of pictures come with frames that cannot be decoded from there.
LEADS = (0.0, 1.0, 5.0, 30.0)
SKIPPING = ("h264", "hevc", "mpeg2video", "mpeg4")  # decoders that can leave out frames one by one
SKIP_ABOVE = 1.5  # times the wanted rate: files with more frames than that hold frames that need not be decoded


def probe(path: str, limits: DecodeLimits) -> VideoInfo:
    """Read a header and one frame. Raises RefusedError when there is no usable picture within the limits."""
    import av

    try:
        with open_container(path) as container:
            stream = video_stream(container)
            info = read_header(container, stream)
            check_header(replace(info, seconds=0.0), limits)
            frame = next(decoded_frames(container, stream), None)
            aspect, stream_start = stream.sample_aspect_ratio, stream.start_time
            restarts = time_may_restart(container)
        if restarts:
            info = scan_time(path, info)
        check_header(info, limits)
    except av.FFmpegError as error:
        raise RefusedError(
            f"is not a readable video ({reason(error)}); use mp4, mov, mkv, webm, avi or gif."
        ) from error
    if frame is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or cut off.")
    orientation = orientation_of(frame)
    sides = square_width(info.width, info.height, aspect), info.height
    width, height = sides[::-1] if orientation.transposed else sides
    first = frame.time if frame.time is not None else float((stream_start or 0) * info.tick_seconds)
    seekable = info.continuous and frame.format.name not in NEEDING_THE_FIRST
    info = replace(info, first_seconds=first, seekable=seekable)
    return replace(info, orientation=orientation, width=width, height=height)


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
) -> Decoded:
    """Up to `num_frames` frames by time stamp, shrunk until the short side is about twice `size`.

    info: the file's, where it is known already. reader: `pyav`, or `decord` for files of kinds in which it was proven
    right; others are read by PyAV all the same. Raises RefusedError.
    """
    want = ask(info or probe(path, limits), limits, frames_per_second, size, num_frames, start_seconds)
    with damage_refused():
        if reader == "decord" and is_proven(path, want) and (decoded := decode_decord(path, want)) is not None:
            return decoded
        with open_container(path) as container:
            decoded = read_after_seek(container, want)
        if decoded is None:
            with open_container(path) as container:
                decoded = read_window(container, want)
    if decoded is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or cut off.")
    return decoded


def ask(
    info: VideoInfo, limits: DecodeLimits, frames_per_second: float, size: int, num_frames: int, start_seconds: float
) -> Want:
    """A request for frames whose short side will be `size`."""
    width, height = shrunk(info.width, info.height, size)
    most = limits.max_reply_bytes // (3 * width * height)
    return Want(info, width, height, frames_per_second, num_frames, start_seconds, most)


def read_after_seek(container, want: Want) -> Decoded | None:
    """Frames from the last key frame before the window on; None where none of the seeks lands on one."""
    if want.start_seconds <= SEEK_SECONDS or not want.info.seekable:
        return None
    stream = video_stream(container)
    for lead in LEADS:
        start = want.start_seconds - lead
        if start <= SEEK_SECONDS or not seek(container, stream, start + want.info.first_seconds):
            return None
        if (decoded := read_window(container, want, sought=True)) is not None:
            return decoded
    return None


def read_window(container, want: Want, sought: bool = False) -> Decoded | None:
    """One pass from where the container is; None when nothing came, or when a seek landed behind the wanted start."""
    stream = video_stream(container)
    timed = timed_frames(container, stream, want.info, needed_packets(stream, want))
    return collect(from_key_frame(timed) if sought else timed, want, sought)


def needed_packets(stream, want: Want):
    """A function that tells of a packet whether its frame may be on screen at a wanted moment; None where most are."""
    rate = want.info.frames_per_second
    few = rate < SKIP_ABOVE * want.frames_per_second
    if few or stream.codec_context.name not in SKIPPING or not want.info.continuous:
        return None
    tick, usual, tolerance = float(stream.time_base), 1 / rate, stamp_tolerance(want.info)

    def needed(packet) -> bool:
        """Whether a wanted moment lies between a packet's time stamp and the next one; unclear ones count."""
        if packet.pts is None or not packet.duration:
            return True
        # Twice as long as it says, because some containers guess.
        begins = packet.pts * tick - want.info.first_seconds - tolerance
        ends = begins + 2 * max(packet.duration * tick, usual) + 2 * tolerance
        number = max(0, int(np.ceil((begins - want.start_seconds) * want.frames_per_second)))
        return want.moment(number) < ends

    return needed


def from_key_frame(timed: Iterator) -> Iterator:
    """Frames from the first key frame on: what comes before it after a seek refers to frames that were not decoded."""
    begun = False
    for appears, ends, frame in timed:
        begun = begun or frame.key_frame
        if begun:
            yield appears, ends, frame


def collect(timed: Iterator[tuple[float, float, object]], want: Want, sought: bool) -> Decoded | None:
    """Walk (appears, ends, frame) in order and keep the frame on screen at each wanted moment."""
    tolerance = stamp_tolerance(want.info)
    scaler = Scaler(*want.stored_size)
    kept, shown, picture, seen, end_seconds = [], None, None, 0, 0.0

    def keep_until(moment: float) -> None:
        """Keep the frame on screen for every wanted moment before this one, in seconds; may raise RefusedError."""
        nonlocal picture
        while len(kept) < want.num_frames and want.moment(len(kept)) < moment:
            if picture is None:
                picture = scaler.scale(shown)
            want.check_count(len(kept) + 1)
            kept.append(picture)

    for appears, ends, frame in timed:
        if shown is None and sought and appears > want.start_seconds + tolerance:
            return None
        if shown is not None:
            keep_until(appears - tolerance)
        if len(kept) == want.num_frames:
            break
        shown, picture, end_seconds, seen = frame, None, ends, seen + 1
    if shown is None:
        return None
    if len(kept) < want.num_frames:  # the end was reached
        if seen == 1 and not sought:
            raise RefusedError("has 1 frame; a latent action needs at least 2.")
        want.check_start(end_seconds, tolerance)
        keep_until(end_seconds - tolerance)
    return Decoded(
        frame_THWC=np.stack(kept),
        orientation=want.info.orientation,
        file_seconds=max(want.info.seconds, end_seconds),
    )


def decode_picture(path: str, limits: DecodeLimits, *, size: int) -> Decoded:
    """A still picture as one frame, upright, shrunk until the short side is about twice `size`. Raises RefusedError."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the limits below say what is wrong
    try:
        with Image.open(path, formats=PICTURES) as picture:
            width, height = picture.size
            sides = f"is {width} x {height} pixels"
            if min(width, height) < limits.min_side:
                raise RefusedError(f"{sides}; each side needs at least {limits.min_side}.")
            if max(width, height) > limits.max_picture_side or width * height > limits.max_picture_pixels:
                raise RefusedError(
                    f"{sides}; at most {limits.max_picture_side} a side and {limits.max_picture_pixels} in all can be "
                    "read."
                )
            near = shrunk(width, height, size)
            picture.draft("RGB", near)  # a JPEG is scaled while it is decoded
            upright = ImageOps.exif_transpose(eight_bits(picture))
    except RefusedError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise RefusedError(f"is not a readable picture ({type(error).__name__}); use png, jpg, webp or bmp.") from error
    frame_HWC = np.asarray(upright.resize(shrunk(*upright.size, size), Image.Resampling.BOX, reducing_gap=2.0))
    return Decoded(frame_THWC=frame_HWC[None], orientation=Orientation(), file_seconds=0.0)


def eight_bits(picture):
    """A Pillow picture in RGB; brightness of 16 bits is scaled, not cut off, and transparency is left out."""
    from PIL import Image

    if picture.mode.startswith("I"):
        value_HW = np.asarray(picture).astype(np.float32) / 257
        scaled = Image.fromarray(value_HW.clip(0, 255).round().astype(np.uint8)).convert("RGB")
        scaled.info = picture.info
        return scaled
    return picture.convert("RGB")
