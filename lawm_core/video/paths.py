"""Paths of videos, checked before anything is decoded or computed, and before torch is imported."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lawm_core.contracts import VideoError

WRITABLE = (".mp4", ".webm", ".gif")
# What folders, the page and the command line take for videos and pictures; the reader itself looks into files.
VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".flv", ".gif", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def is_video(path: Path) -> bool:
    """Whether a file's name ends as a video's does."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def check_readable(path: Path, max_bytes: int | None = None, kind: str = "video") -> str:
    """Return the absolute path of a regular, readable file. Absolute, so that no name is read as a URL.

    max_bytes: the longest file that may be opened. Raises VideoError.
    """
    if reason := why_unreadable(path, max_bytes, kind):
        raise VideoError(f"{path.name} {reason}")
    return str(path.resolve())


def why_unreadable(path: Path, max_bytes: int | None, kind: str) -> str | None:
    """Return why a file cannot be opened, as the end of a sentence that begins with its name; None where it can."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return f"does not exist; the path of a {kind} file is needed."
    if stat.S_ISDIR(status.st_mode):
        return f"is a folder; a {kind} file is needed."
    if not stat.S_ISREG(status.st_mode):
        return f"is not a regular file; a {kind} file is needed."
    if not status.st_size:
        return f"is empty (0 bytes); a {kind} file is needed."
    if max_bytes is not None and status.st_size > max_bytes:
        return f"has {status.st_size / 2**20:.0f} MiB; at most {max_bytes / 2**20:.0f} MiB can be read."
    if not os.access(path, os.R_OK):
        return "may not be read; check its permissions."
    return None


def check_writable(path: Path) -> None:
    """Raise ValueError where no video can be written under this name."""
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; .mp4, .webm or .gif is needed.")
    if not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: its folder {path.parent.name!r} does not exist.")
