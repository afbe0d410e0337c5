"""Decode with decord the kinds of files whose random access with decord is verified against ffmpeg.

For other kinds, decord silently returns wrong frames after a seek (open groups of pictures, transport streams, B frames
of MPEG-1, 2 and 4, WMV, MJPEG in ASF), and palettes come out black.
"""

from __future__ import annotations

import numpy as np

from lawm_core.video.containers import open_container, packets, video_stream
from lawm_core.video.decode_types import DecodedFrames, DecodeRequest, Orientation
from lawm_core.video.timeline import frames_on_screen, sample_times, timestamp_tolerance

VERIFIED_CODECS = {"mov": ("h264", "hevc"), "matroska": ("h264", "vp9")}  # codecs by container; each pair has a test
MAX_SECONDS = 3600.0  # decord reads a whole file to index it


def is_verified(path: str, request: DecodeRequest) -> bool:
    """Return whether decord is verified to read files of this kind correctly.

    It is if container and codec have a test and the file has one video stream, upright frames, square pixels and closed
    groups of pictures.
    """
    with open_container(path) as container:
        stream = video_stream(container)
        codecs = next((c for name, c in VERIFIED_CODECS.items() if name in container.format.name.split(",")), ())
        upright, square_pixels = request.info.orientation == Orientation(), stream.sample_aspect_ratio in (None, 0, 1)
        if stream.codec_context.name not in codecs or not upright or not square_pixels:
            return False
        if len(container.streams.video) > 1 or request.info.seconds > MAX_SECONDS:
            return False
        return has_closed_groups(container, stream)


def has_closed_groups(container, stream) -> bool:
    """Return whether all frames after a key frame are shown after it, so that decoding can start at any key frame."""
    key = None
    for packet in packets(container, stream):
        if packet.pts is None:
            continue
        if packet.is_keyframe:
            key = packet.pts
        elif key is not None and packet.pts < key:
            return False
    return True


def decode_decord(path: str, request: DecodeRequest) -> DecodedFrames | None:
    """Decode by random access. Returns None if decord fails or gives implausible time stamps; PyAV then reads the file.

    Raises RefusedError if the file ends before the requested start, or if the frames exceed the limits.
    """
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    width, height = request.stored_size
    try:
        # With fault_tol=1, decord raises if it replaces more than one damaged frame by a neighbour.
        reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=1, fault_tol=1)
        stamp_X2 = reader.get_frame_timestamp(np.arange(len(reader))).astype(np.float64)
    except Exception:  # decord raises its own errors and bare ones; PyAV then reads the file
        return None
    # Negative time stamps are frames that an edit list hides: decord counts but never decodes them, so indices shift.
    if len(reader) < 2 or not np.isfinite(stamp_X2).all() or stamp_X2[0, 0] < 0 or (np.diff(stamp_X2[:, 0]) <= 0).any():
        return None
    stamp_X2 -= stamp_X2[0, 0]
    end_seconds = float(max(stamp_X2[-1, 1], stamp_X2[-1, 0] + 1e-3))
    tolerance = timestamp_tolerance(request.info)
    request.check_start(end_seconds, tolerance)
    time_T = sample_times(request.frames_per_second, request.num_frames, request.start_seconds, end_seconds - tolerance)
    request.check_count(len(time_T))
    unique_X, index_T = np.unique(frames_on_screen(stamp_X2[:, 0], time_T, tolerance), return_inverse=True)
    try:
        frame_XHWC = reader.get_batch(unique_X).asnumpy()
    except Exception:  # as above
        return None
    return DecodedFrames(frame_THWC=frame_XHWC[index_T], orientation=request.info.orientation, file_seconds=end_seconds)
