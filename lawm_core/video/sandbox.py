"""Decoding of untrusted files in a killable child process, with limits.

A hostile file can abort, hang or bloat a decoder, and no exception handler catches that. So each file is opened in a
child that lives for one request: its own session, hard limits on memory, time and output, no environment to leak, and
a reply of plain bytes whose size is checked before it is read. Nothing is kept between calls; threads may call freely.
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
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lawm_core.video import child as child_program
from lawm_core.video.info import Decoded, DecodeLimits, EndedError, Orientation, RefusedError, VideoInfo

__all__ = ["DecodeLimits", "decode_guarded", "decode_picture_guarded", "probe_guarded"]

HEADER_BYTES = 4096  # the reply's first line
ROOT = str(Path(child_program.__file__).resolve().parents[2])  # from which the child imports this package


class _ChildError(Exception):
    """The child gave no usable reply; the text says why."""


def probe_guarded(path: str, limits: DecodeLimits) -> VideoInfo:
    """`decode.probe` in a child process. Raises RefusedError, also when the child dies."""
    try:
        header, _ = _ask({"task": "probe", "path": path}, limits, time.monotonic() + limits.wall_seconds)
        return _as_info(header)
    except _ChildError as death:
        raise _stopped(death) from death


def decode_guarded(path: str, limits: DecodeLimits, **arguments) -> Decoded:
    """`decode.decode` in a child process. Raises RefusedError, also when the child dies."""
    try:
        request = {"task": "decode", "path": path, "arguments": arguments}
        return _as_decoded(*_ask(request, limits, time.monotonic() + limits.wall_seconds))
    except _ChildError as death:
        raise _stopped(death) from death


def decode_picture_guarded(path: str, limits: DecodeLimits, **arguments) -> Decoded:
    """`decode.decode_picture` in a child process. Raises RefusedError, also when the child dies."""
    try:
        request = {"task": "picture", "path": path, "arguments": arguments}
        return _as_decoded(*_ask(request, limits, time.monotonic() + limits.wall_seconds))
    except _ChildError as death:
        raise RefusedError(f"could not be decoded safely: the decoder {death}. A copy saved anew may work.") from death


def _stopped(death: _ChildError) -> RefusedError:
    return RefusedError(f"could not be decoded safely: the decoder {death}. A copy saved anew as H.264 mp4 may work.")


def _as_info(header: dict) -> VideoInfo:
    try:
        info = dict(header["info"])
        return VideoInfo(**info | {"orientation": Orientation(**info["orientation"])})
    except (KeyError, TypeError) as error:
        raise _ChildError("gave a broken answer") from error


def _as_decoded(header: dict, frame_THWC: np.ndarray | None) -> Decoded:
    if frame_THWC is None:
        raise _ChildError("gave a broken answer")
    try:
        orientation, seconds = Orientation(**header["orientation"]), float(header["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise _ChildError("gave a broken answer") from error
    return Decoded(frame_THWC=frame_THWC, orientation=orientation, file_seconds=seconds)


def _ask(request: dict, limits: DecodeLimits, deadline: float) -> tuple[dict, np.ndarray | None]:
    """One child, one reply. The reply goes through a file without a name: nothing to block on, nothing to clean up."""
    packages = [ROOT, *(folder for folder in sys.path if os.path.isabs(folder))]  # where av may be, user site too
    request = {**request, "limits": asdict(limits), "packages": packages}
    with tempfile.TemporaryFile() as reply:
        child = subprocess.Popen(
            [sys.executable, "-I", child_program.__file__, json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=reply,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        _wait(child, deadline, limits)
        return _read_reply(reply, limits)


def _environment() -> dict[str, str]:
    """Only what a process needs to start: tokens and keys of the parent are no business of a decoder."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def _wait(child: subprocess.Popen, deadline: float, limits: DecodeLimits) -> None:
    """Until the child ends well. However this is left, also by Ctrl-C, the child and its group are gone."""
    try:
        code = child.wait(timeout=max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise _ChildError(_too_long(limits)) from None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        raise _ChildError(_too_long(limits))
    if code:
        raise _ChildError("crashed" if code < 0 else "failed")


def _too_long(limits: DecodeLimits) -> str:
    more = f"; {limits.raised_by} allows more than {limits.max_cpu_seconds} s" if limits.raised_by else ""
    return f"took too long{more}"


def _read_reply(reply: BinaryIO, limits: DecodeLimits) -> tuple[dict, np.ndarray | None]:
    """Header and frames, once their sizes agree; the child is not believed."""
    reply.seek(0)
    try:
        header = json.loads(reply.readline(HEADER_BYTES))
        refusal, shape = header.get("refusal"), tuple(int(side) for side in header.get("shape", ()))
    except (ValueError, TypeError, AttributeError) as error:
        raise _ChildError("gave no answer") from error
    if refusal is not None:
        raise (EndedError if header.get("ended") else RefusedError)(str(refusal))
    if not shape:
        return header, None
    rest = os.fstat(reply.fileno()).st_size - reply.tell()
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or math.prod(shape) != rest or rest > limits.max_reply_bytes:
        raise _ChildError("gave a broken answer")
    frame_THWC = np.empty(shape, np.uint8)
    reply.readinto(memoryview(frame_THWC).cast("B"))
    return header, frame_THWC
