"""Packed videos: H.264 bytes with frequent key frames, the form in which data sets store their clips."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lawm_core.types import VideoError
from lawm_core.video.containers import refuse_errors
from lawm_core.video.decode_types import RefusedError
from lawm_core.video.files import open_writer, pad_to_even

KEY_FRAME_INTERVAL = 12  # frames
ENCODER_OPTIONS = ["-g", str(KEY_FRAME_INTERVAL), "-bf", "0", "-crf", "20"]


def pack_frames(parts: Iterable[np.ndarray], frames_per_second: float) -> bytes:
    """Encode consecutive parts of a video, (T, 3, H, W) uint8 each, as an H.264 mp4. The result is deterministic."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with open_writer(path, frames_per_second, ENCODER_OPTIONS) as writer:
            for byte_TCHW in parts:
                for byte_HWC in pad_to_even(byte_TCHW.transpose(0, 2, 3, 1)):
                    writer.append_data(byte_HWC)
        return path.read_bytes()


def unpack_frames(
    packed: bytes, frames_per_second: float, height: int, width: int, start: int, count: int, stride: int = 1
) -> np.ndarray:
    """Decode `count` frames, every `stride`-th from index `start` on: (count, 3, height, width) uint8.

    packed: result of `pack_frames` with the same `frames_per_second`. It is trusted and therefore decoded in this
    process. Raises VideoError if it does not have these frames.
    """
    import av

    wanted = range(start, start + stride * count, stride)
    frame_THWC = np.empty((count, height, width, 3), np.uint8)
    found = 0
    try:
        with refuse_errors(), av.open(io.BytesIO(packed), mode="r", format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if start and stream.time_base:
                container.seek(round(start / frames_per_second / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                index = None if frame.time is None else round(frame.time * frames_per_second)
                if found < count and index == wanted[found]:
                    frame_THWC[found] = frame.to_ndarray(format="rgb24")[:height, :width]
                    found += 1
                if found == count:
                    break
    except IndexError:
        raise VideoError("the stored video has no video stream.") from None
    except RefusedError as refusal:
        raise VideoError(f"the stored video {refusal}") from None
    if found < count:
        raise VideoError(
            f"the stored video has no frame {wanted[found]}; {count} frames from {start} on were requested."
        )
    return frame_THWC.transpose(0, 3, 1, 2)
