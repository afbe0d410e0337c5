"""Video decoding in numpy: the only place that talks to decord and PyAV.

No torch and nothing of this package is imported here, because `sandbox.py` runs this very file, by its path, as a
short-lived child that must start fast. The same functions serve trusted files in-process.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

# Containers that people film in. Without a list FFmpeg would also follow play lists and scripts to other files.
CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,ogg,flv,asf,h264,hevc,ivf,mxf,apng"
PICTURES = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe"  # one file, one picture: no name stands for a series of files
MIN_SIDE = 16  # pixels; smaller streams are headers that lie, and some codecs crash on them
INDEXED_BYTES = 256 * 2**20  # decord reads a whole file to index it, so PyAV, which seeks, reads the larger ones
INDEXED_SECONDS = 3600.0
SEEK_SECONDS = 2.0  # nearer to the start, decoding from the first frame is as fast as a seek, and always exact


class RefusedError(Exception):
    """A file cannot be used; the text continues a sentence that begins with the file's name."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """How much a file may claim, and how much its decoder may use."""

    max_bytes: int = 2 * 2**30  # of the file
    min_side: int = MIN_SIDE  # pixels
    max_side: int = 4096  # pixels
    max_pixels: int = 3840 * 2160  # of one frame
    max_seconds: float = 4 * 3600.0  # declared length
    max_declared_frames: int = 1_000_000
    max_reply_bytes: int = 2**30  # decoded frames, 3 bytes a pixel, before the final crop and resize
    address_space_bytes: int = 3 * 2**30  # of the child
    cpu_seconds: int = 15  # of one child
    wall_seconds: float = 20.0  # of all attempts at one file together


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a file's header and first frame say.

    width, height: pixels, as a person sees them (after rotation).
    seconds: length, 0 when unknown. frame_count: 0 when unknown. frames_per_second: the average.
    quarter_turns: anticlockwise turns that the stored frames need. tick_seconds: the unit of the file's time stamps.
    """

    width: int
    height: int
    seconds: float
    frames_per_second: float
    frame_count: int
    quarter_turns: int = 0
    tick_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Whole frames near the wanted size: frame_THWC uint8 RGB, still to be turned, cropped and resized."""

    frame_THWC: np.ndarray
    quarter_turns: int
    file_seconds: float


# Time ------------------------------------------------------------------------------------------------------------


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
    (AVI): those stamps are exact. A millisecond covers decord's float32 seconds.
    """
    rounded = info.frames_per_second > 0 and info.tick_seconds * info.frames_per_second <= 0.5
    return 1e-3 + (info.tick_seconds / 2 if rounded else 0.0)


# Reading ---------------------------------------------------------------------------------------------------------


def probe(path: str, limits: DecodeLimits) -> VideoInfo:
    """Read a header and one frame with PyAV. Raises RefusedError when there is no usable picture within the limits."""
    import av

    try:
        with open_container(path) as container:
            stream = _video_stream(container)
            info = _header(container, stream)
            _check_header(info, limits)
            frame = next(_decoded_frames(container, stream), None)
    except av.FFmpegError as error:
        raise RefusedError(
            f"is not a readable video ({_reason(error)}); use mp4, mov, mkv, webm, avi or gif."
        ) from error
    if frame is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or cut off.")
    turns = round(frame.rotation / 90) % 4
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    return replace(info, quarter_turns=turns, width=width, height=height)


def decode(
    path: str,
    limits: DecodeLimits,
    *,
    frames_per_second: float,
    size: int,
    num_frames: int,
    start_seconds: float,
    decoders: tuple[str, ...] = ("decord", "pyav"),
) -> Decoded:
    """Up to `num_frames` frames by time stamp, shrunk until the short side is about twice `size`.

    The last halving is left to an antialiased resize after the crop. decord reads first; PyAV reads what decord
    cannot (AV1, GIF, MPEG-TS, edit lists, rotation, damaged files) and files so long that indexing them would take
    longer than decoding the window. Raises RefusedError.
    """
    info = probe(path, limits)
    shrink = min(1.0, 2 * size / min(info.width, info.height))
    width, height = (max(1, round(side * shrink)) for side in (info.width, info.height))
    max_frames = limits.max_reply_bytes // (3 * width * height)
    want = Want(info, width, height, frames_per_second, num_frames, start_seconds, max_frames)
    short = info.seconds <= INDEXED_SECONDS and os.path.getsize(path) <= INDEXED_BYTES
    # decord turns the frames of a tagged file itself, but then fails at most widths: it forgets how rows are padded.
    if "decord" in decoders and short and not info.quarter_turns:
        try:
            return _decode_decord(path, want)
        except RefusedError:
            raise
        except Exception:  # decord raises its own errors and bare ones for what it cannot read; PyAV has the last word
            pass
    return _decode_pyav(path, want)


def decode_picture(path: str, limits: DecodeLimits, *, size: int) -> Decoded:
    """A still picture as one frame, shrunk until the short side is about twice `size`. Raises RefusedError."""
    import av

    try:
        with open_container(path, PICTURES) as container:
            stream = _video_stream(container)
            info = _header(container, stream)
            _check_header(info, limits)
            frame = next(_decoded_frames(container, stream), None)
            if frame is None:
                raise RefusedError("has no picture that can be decoded; the file is damaged or cut off.")
            shrink = min(1.0, 2 * size / min(info.width, info.height))
            width, height = (max(1, round(side * shrink)) for side in (info.width, info.height))
            frame_HWC = frame.to_ndarray(format="rgb24", width=width, height=height)
    except av.FFmpegError as error:
        raise RefusedError(f"is not a readable picture ({_reason(error)}); use png, jpg, webp or bmp.") from error
    return Decoded(frame_THWC=frame_HWC[None], quarter_turns=round(frame.rotation / 90) % 4, file_seconds=0.0)


@dataclass(frozen=True)
class Want:
    """One request: which moments, at what size."""

    info: VideoInfo
    width: int  # of the frames to return, after rotation
    height: int
    frames_per_second: float
    num_frames: int
    start_seconds: float
    max_frames: int  # that the reply may hold

    def check_count(self, num_frames: int) -> None:
        if num_frames > self.max_frames:
            raise RefusedError(f"would give {num_frames} frames at this size; ask for at most {self.max_frames}.")

    def check_start(self, file_seconds: float) -> None:
        if self.start_seconds >= file_seconds - stamp_tolerance(self.info):
            raise RefusedError(f"is {file_seconds:.2f} s long and cannot be read from {self.start_seconds:g} s.")


def _one_frame() -> RefusedError:
    return RefusedError("has 1 frame; a latent action needs at least 2.")


def _decode_decord(path: str, want: Want) -> Decoded:
    """By random access, for files without a rotation tag."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    # fault_tol: past one frame replaced by a neighbour decord raises, and PyAV reads what is really there.
    reader = decord.VideoReader(
        path, ctx=decord.cpu(0), width=want.width, height=want.height, num_threads=1, fault_tol=1
    )
    stamp_F2 = reader.get_frame_timestamp(np.arange(len(reader))).astype(np.float64)
    # A negative stamp is a frame that an edit list hides: decord counts it but never decodes it, so all indices lie.
    if not np.isfinite(stamp_F2).all() or stamp_F2[0, 0] < 0 or (np.diff(stamp_F2[:, 0]) <= 0).any():
        raise ValueError("time stamps that decord cannot be trusted with")
    if len(reader) == 1:
        raise _one_frame()
    stamp_F2 -= stamp_F2[0, 0]
    end_seconds = max(stamp_F2[-1, 1], stamp_F2[-1, 0] + 1e-3)
    want.check_start(end_seconds)
    tolerance = stamp_tolerance(want.info)
    time_T = sample_times(want.frames_per_second, want.num_frames, want.start_seconds, end_seconds - tolerance)
    want.check_count(len(time_T))
    index_T = frames_on_screen(stamp_F2[:, 0], time_T, tolerance)
    unique_F, place_T = np.unique(index_T, return_inverse=True)
    frame_FHWC = reader.get_batch(unique_F).asnumpy()
    frame_THWC = frame_FHWC if len(unique_F) == len(place_T) else frame_FHWC[place_T]
    return Decoded(frame_THWC=frame_THWC, quarter_turns=0, file_seconds=float(end_seconds))


def _decode_pyav(path: str, want: Want) -> Decoded:
    """In one pass from the nearest key frame to the last wanted moment; frames come as stored, not yet turned."""
    with damage_refused():
        with open_container(path) as container:
            decoded = None
            if want.start_seconds > SEEK_SECONDS:
                decoded = read_window(container, want, seek=True)
        if decoded is None:
            with open_container(path) as container:
                decoded = read_window(container, want, seek=False)
    if decoded is None:
        raise RefusedError("has no frame that can be decoded; the file is damaged or cut off.")
    return decoded


@contextmanager
def damage_refused() -> Iterator[None]:
    """What PyAV says of a damaged file, as a RefusedError."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise RefusedError(f"cannot be decoded ({_reason(error)}); the file is damaged or not a video.") from error


def read_window(container, want: Want, seek: bool) -> Decoded | None:
    """One pass; None when nothing came, or when the seek landed behind the wanted start."""
    stream = _video_stream(container)
    origin = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if seek and not _seek(container, stream, origin + want.start_seconds):
        return None
    timed = _timed_frames(container, stream, None if stream.start_time is None else origin, want.info)
    return _collect(timed, want, seek)


def _collect(timed: Iterator[tuple[float, float, object]], want: Want, seek: bool) -> Decoded | None:
    """Walk (appears, ends, frame) in order and keep the frame on screen at each wanted moment."""
    turned = want.info.quarter_turns % 2
    width, height = (want.height, want.width) if turned else (want.width, want.height)
    tolerance = stamp_tolerance(want.info)
    kept, shown, picture, seen, end_seconds = [], None, None, 0, 0.0

    def keep_until(moment: float) -> None:
        """Keeps the frame on screen for every wanted moment before this one, in seconds; may raise RefusedError."""
        nonlocal picture
        while len(kept) < want.num_frames and want.start_seconds + len(kept) / want.frames_per_second < moment:
            if picture is None:
                picture = shown.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")
            want.check_count(len(kept) + 1)
            kept.append(picture)

    for appears, ends, frame in timed:
        if shown is None and seek and appears > want.start_seconds + tolerance:
            return None
        if shown is not None:
            keep_until(appears - tolerance)
        if len(kept) == want.num_frames:
            break
        shown, picture, end_seconds, seen = frame, None, ends, seen + 1
    if shown is None:
        return None
    if len(kept) < want.num_frames:  # the end was reached
        if seen == 1 and not seek:
            raise _one_frame()
        want.check_start(end_seconds)
        keep_until(end_seconds - tolerance)
    return Decoded(
        frame_THWC=np.stack(kept),
        quarter_turns=want.info.quarter_turns,
        file_seconds=max(want.info.seconds, end_seconds),
    )


# PyAV ------------------------------------------------------------------------------------------------------------


def open_container(path: str, containers: str = CONTAINERS):
    """A container of a known kind, from a local file and nothing that file may point at."""
    import av

    options = {"format_whitelist": containers, "protocol_whitelist": "file"}
    return av.open(path, container_options=options, metadata_errors="replace")


def _video_stream(container):
    if not container.streams.video:
        what = "only sound" if container.streams.audio else "no video stream"
        raise RefusedError(f"holds {what}; a stream of pictures is needed.")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise RefusedError("is encoded in a way that cannot be read; a copy saved anew as H.264 mp4 may work.")
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1
    return stream


def _header(container, stream) -> VideoInfo:
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration:
        seconds = stream.duration * tick
    else:  # a container's length counts from zero, also where its first frame comes later
        seconds = ((container.duration or 0) - max(container.start_time or 0, 0)) / 1e6
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return VideoInfo(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        seconds=max(seconds, 0.0),
        frames_per_second=rate,
        frame_count=max(stream.frames, 0),
        tick_seconds=tick,
    )


def _check_header(info: VideoInfo, limits: DecodeLimits) -> None:
    sides = f"{info.width} x {info.height} pixels"
    if min(info.width, info.height) < limits.min_side:
        raise RefusedError(f"is {sides}; each side needs at least {limits.min_side}.")
    if max(info.width, info.height) > limits.max_side or info.width * info.height > limits.max_pixels:
        raise RefusedError(f"is {sides}; at most {limits.max_side} a side and {limits.max_pixels} in all can be read.")
    if info.seconds > limits.max_seconds:
        raise RefusedError(f"says it is {info.seconds:.0f} s long; at most {limits.max_seconds:.0f} s can be read.")
    if info.frame_count > limits.max_declared_frames:
        raise RefusedError(f"says it has {info.frame_count} frames; at most {limits.max_declared_frames} can be read.")


def _seek(container, stream, seconds: float) -> bool:
    import av

    try:
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
    except (av.FFmpegError, OverflowError):
        return False
    return True


def _decoded_frames(container, stream) -> Iterator:
    """Frames in the order they are shown; damaged packets are skipped, and a broken tail ends the video."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames


def _timed_frames(container, stream, origin: float | None, info: VideoInfo) -> Iterator[tuple[float, float, object]]:
    """(appears, ends, frame), in seconds from the file's first frame; missing and backward stamps are mended."""
    usual = 1 / info.frames_per_second if info.frames_per_second else 0.04
    appears = ends = 0.0
    for frame in _decoded_frames(container, stream):
        if origin is None:
            origin = frame.time or 0.0
        appears = ends if frame.time is None else max(frame.time - origin, appears)
        ends = appears + (float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual)
        yield appears, ends, frame


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


# The child of sandbox.py -----------------------------------------------------------------------------------------


def _confine(limits: DecodeLimits) -> None:
    """Give this process hard limits. The alarm ends it even when its parent is no longer there to do so."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.max_reply_bytes + 65536,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (limits.address_space_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    signal.alarm(math.ceil(limits.wall_seconds) + 1)


def _answer(request: dict, limits: DecodeLimits) -> tuple[dict, np.ndarray | None]:
    """A JSON header and, for a decode, frames to follow it."""
    try:
        if request["task"] == "probe":
            return {"info": asdict(probe(request["path"], limits))}, None
        read = decode_picture if request["task"] == "picture" else decode
        decoded = read(request["path"], limits, **request["arguments"])
    except RefusedError as refusal:
        return {"refusal": str(refusal)}, None
    except MemoryError:
        return {"refusal": "needs more memory to decode than is allowed; use a smaller or re-encoded copy."}, None
    header = {"shape": decoded.frame_THWC.shape, "turns": decoded.quarter_turns, "seconds": decoded.file_seconds}
    return header, np.ascontiguousarray(decoded.frame_THWC)


def main() -> None:
    """Answer the one request in argv[1] on stdout: a line of JSON, then raw frames."""
    request = json.loads(sys.argv[1])
    limits = DecodeLimits(**request["limits"])
    _confine(limits)
    sys.path += [folder for folder in request["packages"] if folder not in sys.path]
    with os.fdopen(os.dup(1), "wb") as reply:
        os.dup2(2, 1)  # decoders print to stdout; only the reply may reach it
        header, frame_THWC = _answer(request, limits)
        reply.write(json.dumps(header).encode() + b"\n")
        if frame_THWC is not None:
            reply.write(memoryview(frame_THWC).cast("B"))
        reply.flush()
    os._exit(0)  # a decoder that a hostile file has confused may hang or abort while it is torn down


if __name__ == "__main__":
    main()
