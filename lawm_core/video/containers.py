"""Video containers through PyAV: header, packets and frames in display order."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from lawm_core.video.decode_types import Orientation, RefusedError, VideoInfo
from lawm_core.video.timeline import continuous_times, is_discontinuity

# Formats of cameras and the web. Without a list, FFmpeg would also follow play lists and scripts to other files.
CONTAINERS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,ogg,flv,asf,h264,hevc,ivf,mxf,apng"
AVFMT_TS_DISCONT = 0x200  # flag of formats whose time stamps may restart
DEFAULT_STREAM_BONUS = 5_000_000  # pixels that ffmpeg adds to the size of a stream that is flagged as default
MAX_SCANNED_BYTES = 512 * 2**20  # size up to which a file is scanned for restarts of its time stamps


def open_container(path: str):
    """Open a local file of an allowed format. The file cannot make FFmpeg open other files."""
    import av

    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    return av.open(path, container_options=options, metadata_errors="replace")


@contextmanager
def refuse_errors(message: str = "cannot be decoded ({}); the file is damaged or not a video.") -> Iterator[None]:
    """Context manager that converts PyAV's errors to RefusedError. In `message`, {} is replaced by FFmpeg's reason."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise RefusedError(message.format(getattr(error, "strerror", None) or type(error).__name__)) from error


def allows_discontinuity(container) -> bool:
    """Return whether time stamps may restart in this format, as in transport streams."""
    return bool(container.format.flags & AVFMT_TS_DISCONT)


def video_stream(container):
    """Return the video stream that ffmpeg would choose. Raises RefusedError if there is none that can be decoded."""
    if not container.streams.video:
        content = "audio but no video stream" if container.streams.audio else "no video stream"
        raise RefusedError(f"has {content}; use a video file.")
    stream = max(container.streams.video, key=stream_rank)
    if stream.codec_context is None:
        raise RefusedError("has a codec that is not supported; re-encode it as H.264 mp4.")
    if not stream.codec_context.is_open:
        stream.codec_context.thread_count = 1
    return stream


def stream_rank(stream) -> int:
    """Return the rank by which ffmpeg chooses a video stream; the first stream with the highest rank is chosen.

    The rank grows with the size of the frames, is higher for a stream flagged as default, and is 0 for a cover picture.
    """
    from av.stream import Disposition

    if stream.codec_context is None or stream.disposition & Disposition.attached_pic:
        return 0
    context = stream.codec_context
    return context.width * context.height + DEFAULT_STREAM_BONUS * bool(stream.disposition & Disposition.default)


def read_header(container, stream) -> VideoInfo:
    """Return the properties that the header declares, without decoding a frame."""
    tick = float(stream.time_base) if stream.time_base else 0.0
    if stream.duration:
        seconds = stream.duration * tick
    else:  # a container's duration counts from zero even if its first frame comes later
        seconds = ((container.duration or 0) - max(container.start_time or 0, 0)) / 1e6
    return VideoInfo(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        seconds=max(seconds, 0.0),
        frames_per_second=float(stream.average_rate or stream.guessed_rate or 0),
        frame_count=max(stream.frames, 0),
        tick_seconds=tick,
    )


def scan_time(path: str, info: VideoInfo) -> VideoInfo:
    """Return the info with `seconds` and `continuous` measured from the time stamps of all packets.

    A file of more than MAX_SCANNED_BYTES is not scanned, and its info is returned unchanged.
    """
    if os.path.getsize(path) > MAX_SCANNED_BYTES:
        return info
    with open_container(path) as container:
        stream = video_stream(container)
        stamps = [float(p.dts * stream.time_base) for p in packets(container, stream) if p.dts is not None]
    if not stamps:
        return info
    shift, last, restarts = 0.0, stamps[0], 0
    for stamp in stamps[1:]:
        if is_discontinuity(stamp + shift, last, last + info.frame_seconds, jumps=True):
            shift, restarts = last + info.frame_seconds - stamp, restarts + 1
        last = max(last, stamp + shift)
    return replace(info, seconds=last + info.frame_seconds - stamps[0], continuous=not restarts)


def packets(container, stream) -> Iterator:
    """Yield the packets of a stream; a damaged tail ends the iteration."""
    import av

    with suppress(av.FFmpegError):
        yield from container.demux(stream)


def decoded_frames(container, stream, needed: Callable | None = None) -> Iterator:
    """Yield frames in display order. Damaged packets are skipped, and a damaged tail ends the video.

    needed: function that says whether the frame of a packet is needed. Other frames are decoded only if frames refer to
    them.
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
) -> Iterator[tuple[float, float, Any]]:
    """Yield (start, end, frame): when each frame is on screen, in seconds from the file's first frame.

    If time stamps restart inside the file, the times continue without a gap. needed: see `decoded_frames`.
    """

    def stamped() -> Iterator[tuple[float | None, float, Any]]:
        for frame in decoded_frames(container, stream, needed):
            known = frame.duration and frame.time_base
            seconds = float(frame.duration * frame.time_base) if known else info.frame_seconds
            yield None if frame.time is None else frame.time - info.first_seconds, seconds, frame

    return continuous_times(stamped(), allows_discontinuity(container))


def seek(container, stream, seconds: float) -> bool:
    """Seek to the last key frame before a time of the stream. Returns False if the file does not allow it."""
    import av

    try:
        container.seek(math.floor(seconds / stream.time_base), stream=stream, backward=True)
    except (av.FFmpegError, OverflowError):
        return False
    return True


class Scaler:
    """Converts frames to RGB of one size with ffmpeg's scale filter, which allows for positions of chroma samples."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._graph: Any = None
        self._format: tuple | None = None

    def scale(self, frame) -> np.ndarray:
        """Return a frame as (height, width, 3) uint8."""
        frame_format = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if frame_format != self._format:
            self._graph, self._format = self._build(frame), frame_format
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()

    def _build(self, frame):
        from av.filter import Graph

        graph, tick = Graph(), frame.time_base or Fraction(1, 1000)
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick),
            graph.add("scale", f"{self.width}:{self.height}:flags=bicubic"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ).configure()
        return graph


def orientation_of(frame) -> Orientation:
    """Return the orientation that a frame's display matrix declares, rounded to right angles."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # a kind of side data that PyAV does not know
        matrix = None
    if matrix is None:
        return (
            Orientation(),
            Orientation(transposed=True, up_down=True),
            Orientation(left_right=True, up_down=True),
            Orientation(transposed=True, left_right=True),
        )[round(frame.rotation / 90) % 4]  # anticlockwise
    (a, b), (c, d) = np.frombuffer(bytes(matrix), np.int32)[:9].reshape(3, 3)[:2, :2].astype(float)
    # A stored pixel (x, y) is shown at (a x + c y, b x + d y).
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(left_right=bool(a < 0), up_down=bool(d < 0))
    return Orientation(transposed=True, left_right=bool(c < 0), up_down=bool(b < 0))


def square_pixel_width(width: int, aspect) -> int:
    """Return a frame's width after conversion to square pixels.

    aspect: width of a stored pixel divided by its height. A ratio outside [1/16, 16] is taken for an error and ignored.
    """
    if not aspect or not 1 / 16 <= aspect <= 16:
        return width
    return max(1, round(width * float(aspect)))
