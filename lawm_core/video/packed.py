"""Short videos as bytes, small and quick to enter anywhere: what corpora keep of a video for training."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lawm_core.contracts import VideoError
from lawm_core.video.containers import damage_refused
from lawm_core.video.files import evened, open_writer
from lawm_core.video.info import RefusedError

APART = 12  # frames from one that can be entered at to the next
SMALL = ["-g", str(APART), "-bf", "0", "-crf", "20"]


def pack_frames(piece_TCHW: Iterable[np.ndarray], frames_per_second: float) -> bytes:
    """An H.264 mp4 of all pieces, (T, 3, H, W) bytes each, one after another. The same frames give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with open_writer(path, frames_per_second, SMALL) as writer:
            for byte_TCHW in piece_TCHW:
                for byte_HWC in evened(byte_TCHW.transpose(0, 2, 3, 1)):
                    writer.append_data(byte_HWC)
        return path.read_bytes()


def unpack_frames(
    packed: bytes, frames_per_second: float, height: int, width: int, start: int, count: int, stride: int = 1
) -> np.ndarray:
    """Every `stride`-th of its frames from number `start` on, `count` of them: (count, 3, height, width) bytes.

    For what `pack_frames` made, at this rate: it is decoded in this process, without a guard. Raises VideoError where
    it has no such frames.
    """
    import av

    wanted = range(start, start + stride * count, stride)
    frame_THWC = np.empty((count, height, width, 3), np.uint8)
    found = 0
    try:
        with damage_refused(), av.open(io.BytesIO(packed), format="mp4") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if start:
                container.seek(round(start / frames_per_second / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                number = round(float(frame.pts * stream.time_base) * frames_per_second)
                if found < count and number == wanted[found]:
                    frame_THWC[found] = frame.to_ndarray(format="rgb24")[:height, :width]
                    found += 1
                if found == count:
                    break
    except (RefusedError, IndexError) as error:
        raise VideoError(f"a packed video {error or 'holds no pictures'}") from None
    if found < count:
        raise VideoError(f"a packed video has no frame {wanted[found]}; {count} from {start} on were asked for.")
    return frame_THWC.transpose(0, 3, 1, 2)
