"""decord as the reader, for kinds of files in which its random access was proven right against ffmpeg.

Elsewhere decord returns other frames after a seek and says nothing: after key frames of open groups of pictures, in
transport streams, with B frames of MPEG-1, 2 and 4, in WMV and in MJPEG in ASF; palettes come out black.
"""

from __future__ import annotations

import numpy as np

from lawm_core.video.containers import open_container, packets, video_stream
from lawm_core.video.info import Decoded, Want
from lawm_core.video.timeline import frames_on_screen, sample_times, stamp_tolerance

PROVEN = {"mov": ("h264", "hevc"), "matroska": ("h264", "vp9")}  # codecs by the names of containers, each with a test
LONGEST_SECONDS = 3600.0  # decord reads a whole file to index it


def is_proven(path: str, want: Want) -> bool:
    """Whether decord reads this file right: a proven kind, upright, with square pixels and closed groups."""
    info = want.info
    with open_container(path) as container:
        stream = video_stream(container)
        codecs = next((c for name, c in PROVEN.items() if name in container.format.name.split(",")), ())
        plain = not (info.orientation.transposed or info.orientation.left_right or info.orientation.up_down)
        aspect = stream.sample_aspect_ratio
        if stream.codec_context.name not in codecs or not plain or aspect not in (None, 0, 1):
            return False
        if len(container.streams.video) > 1 or info.seconds > LONGEST_SECONDS:
            return False
        return is_closed(container, stream)


def is_closed(container, stream) -> bool:
    """Whether every frame that follows a key frame is shown after it: only then can decoding begin at any key frame."""
    key = None
    for packet in packets(container, stream):
        if packet.pts is None:
            continue
        if packet.is_keyframe:
            key = packet.pts
        elif key is not None and packet.pts < key:
            return False
    return True


def decode_decord(path: str, want: Want) -> Decoded | None:
    """Frames by random access; None where decord cannot be trusted with the file after all."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # fault_tol: past one frame that is replaced by a neighbour decord raises.
        reader = decord.VideoReader(
            path, ctx=decord.cpu(0), width=want.width, height=want.height, num_threads=1, fault_tol=1
        )
        stamp_F2 = reader.get_frame_timestamp(np.arange(len(reader))).astype(np.float64)
    except Exception:  # decord raises its own errors and bare ones; PyAV then reads the file
        return None
    # A negative stamp is a frame that an edit list hides: decord counts it but never decodes it, so all indices lie.
    if len(reader) < 2 or not np.isfinite(stamp_F2).all() or stamp_F2[0, 0] < 0 or (np.diff(stamp_F2[:, 0]) <= 0).any():
        return None
    stamp_F2 -= stamp_F2[0, 0]
    end_seconds = float(max(stamp_F2[-1, 1], stamp_F2[-1, 0] + 1e-3))
    tolerance = stamp_tolerance(want.info)
    want.check_start(end_seconds, tolerance)
    time_T = sample_times(want.frames_per_second, want.num_frames, want.start_seconds, end_seconds - tolerance)
    want.check_count(len(time_T))
    unique_F, place_T = np.unique(frames_on_screen(stamp_F2[:, 0], time_T, tolerance), return_inverse=True)
    try:
        frame_FHWC = reader.get_batch(unique_F).asnumpy()
    except Exception:  # as above
        return None
    return Decoded(frame_THWC=frame_FHWC[place_T], orientation=want.info.orientation, file_seconds=end_seconds)
