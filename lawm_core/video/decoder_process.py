"""The child process of `sandbox.py`: answers one request about one file under hard resource limits, then exits.

`sandbox.py` runs this file as a script. The request is a JSON object in the first argument; the reply on stdout is a
line of JSON, followed by the bytes of the frames.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys

SEEK_MARGIN_SECONDS = 10.0  # of video that are decoded at most between a key frame and the requested start
PIXELS_PER_SECOND = 25e6  # decoding speed of a slow processor; a fast one decodes ten times as many
WALL_PER_CPU_SECOND = 4  # wall-clock seconds allowed for each second of processor time


def set_limits(limits) -> None:
    """Set hard limits on this process. The alarm ends it even if its parent has died."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.max_reply_bytes + 65536,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (limits.address_space_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.max_cpu_seconds + 1))
    signal.alarm(math.ceil(limits.wall_seconds) + 1)


def raise_cpu_limit(pixels: float, limits) -> None:
    """Raise the soft limit on processor time by the time to decode this number of pixels, up to the hard limit."""
    seconds = min(limits.max_cpu_seconds, limits.cpu_seconds + math.ceil(pixels / PIXELS_PER_SECOND))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, limits.max_cpu_seconds + 1))
    signal.alarm(min(math.ceil(limits.wall_seconds), WALL_PER_CPU_SECOND * seconds) + 1)


def answer(request: dict, limits):
    """Carry out a request. Return the header of the reply, and its frames, (T, H, W, 3) uint8, if there are any."""
    from dataclasses import asdict

    from lawm_core.video import decode
    from lawm_core.video.decode_types import EndedError, RefusedError

    path, arguments = request["path"], request["arguments"]
    try:
        if request["task"] == "probe":
            return {"info": asdict(decode.probe(path, limits))}, None
        if request["task"] == "picture":
            decoded = decode.decode_picture(path, limits, **arguments)
        else:
            info = decode.probe(path, limits)
            span = min(arguments["num_frames"] / arguments["frames_per_second"], info.seconds) + SEEK_MARGIN_SECONDS
            span += 0.0 if info.continuous else arguments["start_seconds"]
            raise_cpu_limit(info.width * info.height * info.frames_per_second * span, limits)
            decoded = decode.decode(path, limits, info=info, **arguments)
    except RefusedError as refusal:
        return {"refusal": str(refusal), "ended": isinstance(refusal, EndedError)}, None
    except MemoryError:
        return {"refusal": "needs more memory to decode than is allowed; use a smaller or re-encoded copy."}, None
    orientation, seconds = asdict(decoded.orientation), decoded.file_seconds
    return {"shape": decoded.frame_THWC.shape, "orientation": orientation, "seconds": seconds}, decoded.frame_THWC


def main() -> None:
    """Carry out the request in argv[1], a JSON object: probe a video, or decode a video or a picture.

    The reply is written to stdout: a line of JSON, then the bytes of the frames, if there are any.
    """
    request = json.loads(sys.argv[1])
    sys.path += [folder for folder in request["packages"] if folder not in sys.path]
    from lawm_core.video.decode_types import DecodeLimits

    limits = DecodeLimits(**request["limits"])
    set_limits(limits)
    with os.fdopen(os.dup(1), "wb") as reply:
        os.dup2(2, 1)  # decoders print to stdout; only the reply may reach it
        header, frame_THWC = answer(request, limits)
        reply.write(json.dumps(header).encode() + b"\n")
        if frame_THWC is not None:
            reply.write(frame_THWC.data.cast("B") if frame_THWC.flags.c_contiguous else frame_THWC.tobytes())
        reply.flush()
    os._exit(0)  # a decoder that a hostile file has corrupted may hang or abort during teardown


if __name__ == "__main__":
    main()
