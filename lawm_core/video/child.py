"""The child of `sandbox.py`: answers one request about one file under hard limits, then ends.

Run by its path. Its arguments are a JSON object; its reply on stdout is a line of JSON, then raw frames.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys

SPARE_SECONDS = 10.0  # of video that may lie between a key frame and the wanted start
PATIENCE = 4  # seconds of waiting for each second of processor time that a request may take


def confine(limits) -> None:
    """Give this process hard limits. The alarm ends it even when its parent is no longer there to do so."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.max_reply_bytes + 65536,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (limits.address_space_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.max_cpu_seconds + 1))
    signal.alarm(math.ceil(limits.wall_seconds) + 1)


def allow_work(pixels: float, limits, pixels_per_second: float) -> None:
    """Raise the soft limit of processor time by what so many pixels may take, at most to the hard one."""
    seconds = min(limits.max_cpu_seconds, limits.cpu_seconds + math.ceil(pixels / pixels_per_second))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, limits.max_cpu_seconds + 1))
    signal.alarm(min(math.ceil(limits.wall_seconds), PATIENCE * seconds) + 1)


def answer(request: dict, limits):
    """A JSON header and, for a decode, frames to follow it."""
    from dataclasses import asdict

    from lawm_core.video import decode
    from lawm_core.video.info import PIXELS_PER_SECOND, EndedError, RefusedError

    arguments = request.get("arguments", {})
    try:
        if request["task"] == "probe":
            return {"info": asdict(decode.probe(request["path"], limits))}, None
        if request["task"] == "picture":
            decoded = decode.decode_picture(request["path"], limits, **arguments)
        else:
            info = decode.probe(request["path"], limits)
            span = min(arguments["num_frames"] / arguments["frames_per_second"], info.seconds) + SPARE_SECONDS
            span += 0.0 if info.continuous else arguments["start_seconds"]
            pixels = info.width * info.height * info.frames_per_second * span
            allow_work(pixels, limits, PIXELS_PER_SECOND)
            decoded = decode.decode(request["path"], limits, info=info, **arguments)
    except RefusedError as refusal:
        return {"refusal": str(refusal), "ended": isinstance(refusal, EndedError)}, None
    except MemoryError:
        return {"refusal": "needs more memory to decode than is allowed; use a smaller or re-encoded copy."}, None
    orientation, seconds = asdict(decoded.orientation), decoded.file_seconds
    return {"shape": decoded.frame_THWC.shape, "orientation": orientation, "seconds": seconds}, decoded.frame_THWC


def main() -> None:
    """Answer the one request in argv[1]."""
    request = json.loads(sys.argv[1])
    sys.path += [folder for folder in request["packages"] if folder not in sys.path]
    from lawm_core.video.info import DecodeLimits

    limits = DecodeLimits(**request["limits"])
    confine(limits)
    with os.fdopen(os.dup(1), "wb") as reply:
        os.dup2(2, 1)  # decoders print to stdout; only the reply may reach it
        header, frame_THWC = answer(request, limits)
        reply.write(json.dumps(header).encode() + b"\n")
        if frame_THWC is not None:
            reply.write(frame_THWC.tobytes() if not frame_THWC.flags.c_contiguous else memoryview(frame_THWC).cast("B"))
        reply.flush()
    os._exit(0)  # a decoder that a hostile file has confused may hang or abort while it is torn down


if __name__ == "__main__":
    main()
