"""Video containers through PyAV: what they hold, and their frames in order."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from lawm_core.video.info import DecodeLimits, Orientation, RefusedError, VideoInfo
from lawm_core.video.timeline import continued, is_break

# Containers that people film in. Without a list FFmpeg would also follow play lists and scripts to other files.
CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,ogg,flv,asf,h264,hevc,ivf,mxf,apng"
TIME_MAY_RESTART = 0x200  # AVFMT_TS_DISCONT
DEFAULT_RANK = 5_000_000  # pixels that a mark as default is worth
SCANNED_BYTES = 512 * 2**20  # of a file in which time may start again; longer ones are believed


def open_container(path: str):
    """A container of a known kind, from a local file and nothing that file may point at."""
    import av

    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    return av.open(path, container_options=options, metadata_errors="replace")


@contextmanager
def damage_refused() -> Iterator[None]:
    """What PyAV says of a damaged file, as a RefusedError."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise RefusedError(f"cannot be decoded ({reason(error)}); the file is damaged or not a video.") from error


def reason(error: Exception) -> str:
    """A decoder's own words."""
    return getattr(error, "strerror", None) or type(error).__name__


def time_may_restart(container) -> bool:
    """Whether the format allows that time stamps start again, as in transport streams."""
    return bool(container.format.flags & TIME_MAY_RESTART)


def video_stream(container):
    """The stream of pictures that ffmpeg would take. Raises RefusedError."""
    if not container.streams.video:
        what = "only sound" if container.streams.audio else "no video stream"
        raise RefusedError(f"holds {what}; a stream of pictures is needed.")
    stream = max(container.streams.video, key=stream_rank)
    if stream.codec_context is None:
        raise RefusedError("is encoded in a way that cannot be read; a copy saved anew as H.264 mp4 may work.")
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1
    return stream


def stream_rank(stream) -> int:
    """ffmpeg takes the stream of the highest rank: large, marked as default, no cover picture; the first of equals."""
    from av.stream import Disposition

    if stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        return 0
    context = stream.codec_context
    return context.width * context.height + DEFAULT_RANK * bool(stream.disposition & Disposition.default)


def read_header(container, stream) -> VideoInfo:
    """What the header alone says, before the first frame is decoded."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration:
        seconds = stream.duration * tick
    else:  # a container's length counts from zero, also where its first frame comes later
        seconds = ((container.duration or 0) - max(container.start_time or 0, 0)) / 1e6
    return VideoInfo(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        seconds=max(seconds, 0.0),
        frames_per_second=float(stream.average_rate or stream.guessed_rate or 0),
        frame_count=max(stream.frames, 0),
        tick_seconds=tick,
    )


def check_header(info: VideoInfo, limits: DecodeLimits) -> None:
    """Raise RefusedError where a header claims more than is allowed."""
    sides = f"{info.width} x {info.height} pixels"
    if min(info.width, info.height) < limits.min_side:
        raise RefusedError(f"is {sides}; each side needs at least {limits.min_side}.")
    if max(info.width, info.height) > limits.max_side or info.width * info.height > limits.max_pixels:
        raise RefusedError(f"is {sides}; at most {limits.max_side} a side and {limits.max_pixels} in all can be read.")
    if info.seconds > limits.max_seconds:
        raise RefusedError(f"says it is {info.seconds:.0f} s long; at most {limits.max_seconds:.0f} s can be read.")
    if info.frame_count > limits.max_declared_frames:
        raise RefusedError(f"says it has {info.frame_count} frames; at most {limits.max_declared_frames} can be read.")


def scan_time(path: str, info: VideoInfo) -> VideoInfo:
    """The info with the true length and `continuous`, from all packets where time may start again."""
    with open_container(path) as container:
        if os.path.getsize(path) > SCANNED_BYTES:
            return info
        stream = video_stream(container)
        usual = 1 / info.frames_per_second if info.frames_per_second else 0.04
        shift = first = last = None
        breaks = 0
        for packet in packets(container, stream):
            if packet.dts is None:
                continue
            stamp = float(packet.dts * stream.time_base)
            if first is None:
                first, last, shift = stamp, stamp, 0.0
            elif is_break(stamp + shift, last, last + usual, jumps=True):
                shift, breaks = last + usual - stamp, breaks + 1
            last = max(last, stamp + shift)
    if first is None:
        return info
    return replace(info, seconds=last + usual - first, continuous=not breaks)


def packets(container, stream) -> Iterator:
    """Packets of a stream; a broken tail ends it."""
    import av

    demuxed = container.demux(stream)
    while True:
        try:
            yield next(demuxed)
        except (StopIteration, av.FFmpegError):
            return


def decoded_frames(container, stream, needed: Callable | None = None) -> Iterator:
    """Frames in the order they are shown; damaged packets are skipped, and a broken tail ends the video.

    needed: whether a packet's frame is wanted. One that is not, and that no other frame refers to, is not decoded.
    """
    import av

    for packet in packets(container, stream):
        if needed is not None:
            stream.codec_context.skip_frame = "DEFAULT" if needed(packet) else "NONREF"
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames


def timed_frames(
    container, stream, info: VideoInfo, needed: Callable | None = None
) -> Iterator[tuple[float, float, object]]:
    """(appears, ends, frame), in seconds from the file's first frame, without gaps of time that starts again."""
    usual = 1 / info.frames_per_second if info.frames_per_second else 0.04
    kept = []

    def stamps() -> Iterator[tuple[float | None, float]]:
        for frame in decoded_frames(container, stream, needed):
            kept[:] = [frame]
            lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual
            yield None if frame.time is None else frame.time - info.first_seconds, lasts

    for appears, ends in continued(stamps(), time_may_restart(container)):
        yield appears, ends, kept[0]


def seek(container, stream, seconds: float) -> bool:
    """Go to the last key frame before a moment of the stream's own time; False where that cannot be."""
    import av

    try:
        container.seek(math.floor(seconds / stream.time_base), stream=stream, backward=True)
    except (av.FFmpegError, OverflowError):
        return False
    return True


class Scaler:
    """Frames as RGB bytes of one size, by the filter that ffmpeg itself would use: it knows where chroma lies."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._graph, self._kind = None, None

    def scale(self, frame) -> np.ndarray:
        """(height, width, 3) uint8."""
        kind = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if kind != self._kind:
            self._graph, self._kind = self._build(frame), kind
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _build(self, frame):
        from fractions import Fraction

        from av.filter import Graph

        graph = Graph()
        tick = frame.time_base or Fraction(1, 1000)
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
        scale = graph.add("scale", f"{self.width}:{self.height}:flags=bicubic")
        layout, sink = graph.add("format", "rgb24"), graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(layout)
        layout.link_to(sink)
        graph.configure()
        return graph


def orientation_of(frame) -> Orientation:
    """How a frame is to be turned and mirrored, by its display matrix; angles between are rounded to right ones."""
    from av.sidedata.sidedata import Type

    try:
        found = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # a kind of side data that PyAV does not know
        found = None
    if found is None:
        turns = round(frame.rotation / 90) % 4  # anticlockwise
        return (
            Orientation(),
            Orientation(transposed=True, up_down=True),
            Orientation(left_right=True, up_down=True),
            Orientation(transposed=True, left_right=True),
        )[turns]
    (a, b), (c, d) = np.frombuffer(bytes(found), np.int32)[:9].reshape(3, 3)[:2, :2].astype(float)
    # A stored pixel (x, y) is shown at (a x + c y, b x + d y).
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(left_right=bool(a < 0), up_down=bool(d < 0))
    return Orientation(transposed=True, left_right=bool(c < 0), up_down=bool(b < 0))


def square_width(width: int, height: int, aspect) -> int:
    """The width of a picture whose pixels are `aspect` times as wide as high once they are square."""
    if not aspect or not 1 / 16 <= aspect <= 16:
        return width
    return max(1, round(width * float(aspect)))
