"""Sandbox: decode untrusted files in a child process with limits.

A hostile file can crash, hang or bloat a decoder, which no exception handler catches. Each request therefore runs in a
child process of its own, with its own session, hard limits on memory, time and output, and a minimal environment. Its
reply is plain bytes whose size is checked before they are read. Nothing is kept between calls; calls are thread-safe.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lawm_core.video import decoder_process
from lawm_core.video.decode_types import DecodedFrames, DecodeLimits, EndedError, Orientation, RefusedError, VideoInfo

MAX_HEADER_BYTES = 4096  # first line of the reply
# Folder from which the child process imports this package.
ROOT = str(Path(decoder_process.__file__).resolve().parents[2])


class _ProcessError(Exception):
    """The child process gave no usable reply. The message continues a sentence that begins with "the decoder"."""


def probe(path: str, limits: DecodeLimits) -> VideoInfo:
    """Run `decode.probe` in a child process. Raises RefusedError, also if that process dies."""
    return _request("probe", path, limits, {}, _parse_info)


def decode(path: str, limits: DecodeLimits, **arguments) -> DecodedFrames:
    """Run `decode.decode` in a child process. Raises RefusedError, also if that process dies."""
    return _request("decode", path, limits, arguments, _parse_frames)


def decode_picture(path: str, limits: DecodeLimits, **arguments) -> DecodedFrames:
    """Run `decode.decode_picture` in a child process. Raises RefusedError, also if that process dies."""
    return _request("picture", path, limits, arguments, _parse_frames)


def _request(task: str, path: str, limits: DecodeLimits, arguments: dict, parse: Callable) -> Any:
    """Run a request and parse its reply. Raises RefusedError."""
    try:
        reply = _run({"task": task, "path": path, "arguments": arguments}, limits)
        try:
            return parse(*reply)
        except (KeyError, TypeError, ValueError) as error:
            raise _ProcessError("gave an invalid reply") from error
    except _ProcessError as error:
        advice = "Save the picture again." if task == "picture" else "Re-encode the file as H.264 mp4."
        raise RefusedError(f"could not be decoded safely: the decoder {error}. {advice}") from error


def _parse_info(header: dict, _frame_THWC: np.ndarray | None) -> VideoInfo:
    info: dict[str, Any] = header["info"] | {"orientation": Orientation(**header["info"]["orientation"])}
    return VideoInfo(**info)


def _parse_frames(header: dict, frame_THWC: np.ndarray | None) -> DecodedFrames:
    if frame_THWC is None:
        raise ValueError("the reply has no frames")
    orientation, seconds = Orientation(**header["orientation"]), float(header["seconds"])
    return DecodedFrames(frame_THWC=frame_THWC, orientation=orientation, file_seconds=seconds)


def _run(request: dict, limits: DecodeLimits) -> tuple[dict, np.ndarray | None]:
    """Run one child process and return its reply.

    The reply passes through an unnamed temporary file, so that nothing blocks and nothing is left behind.
    """
    deadline = time.monotonic() + limits.wall_seconds
    # PyAV can be in any of these folders, also in the user's site-packages.
    packages = [ROOT, *(folder for folder in sys.path if os.path.isabs(folder))]
    request = {**request, "limits": asdict(limits), "packages": packages}
    with tempfile.TemporaryFile() as reply:
        process = subprocess.Popen(
            [sys.executable, "-I", decoder_process.__file__, json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=reply,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        _wait(process, deadline, limits)
        return _read_reply(reply, limits)


def _environment() -> dict[str, str]:
    """Return the variables that a process needs to start. Tokens and keys of the parent are withheld."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _wait(process: subprocess.Popen, deadline: float, limits: DecodeLimits) -> None:
    """Wait until a process succeeds. On any other outcome, also Ctrl-C, kill it with its process group."""
    hint = f"; set {limits.raised_by} above {limits.max_cpu_seconds} to allow more" if limits.raised_by else ""
    try:
        code = process.wait(timeout=max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise _ProcessError(f"exceeded its time limit{hint}") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        raise _ProcessError(f"exceeded its time limit{hint}")
    if code:
        raise _ProcessError("crashed" if code < 0 else "failed")


def _read_reply(reply: Any, limits: DecodeLimits) -> tuple[dict, np.ndarray | None]:
    """Read header and frames after checking their sizes against each other; the reply itself is not trusted."""
    reply.seek(0)
    try:
        header = json.loads(reply.readline(MAX_HEADER_BYTES))
        refusal, shape = header.get("refusal"), tuple(int(side) for side in header.get("shape", ()))
    except (ValueError, TypeError, AttributeError) as error:
        raise _ProcessError("gave no reply") from error
    if refusal is not None:
        raise (EndedError if header.get("ended") else RefusedError)(str(refusal))
    if not shape:
        return header, None
    rest = os.fstat(reply.fileno()).st_size - reply.tell()
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or math.prod(shape) != rest or rest > limits.max_reply_bytes:
        raise _ProcessError("gave an invalid reply")
    frame_THWC = np.empty(shape, np.uint8)
    reply.readinto(frame_THWC.data.cast("B"))
    return header, frame_THWC
