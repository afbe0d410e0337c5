"""Checks of input and output paths, before anything is decoded and without importing torch."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lawm_core.types import VideoError

WRITABLE = (".mp4", ".webm", ".gif")
# Suffixes by which the page, the command line and functions that list folders recognise videos and pictures. Decoders
# ignore the suffix and inspect the content.
VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".flv", ".gif", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
)  # fmt: skip
PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def is_video(path: Path) -> bool:
    """Return whether a file name has the suffix of a video, in any case."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_picture(path: Path) -> bool:
    """Return whether a file name has the suffix of a picture, in any case."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def check_readable(path: Path, max_bytes: int | None = None, kind: str = "video") -> str:
    """Return the absolute path of a regular, readable file, which FFmpeg cannot mistake for a URL.

    max_bytes: largest allowed size. kind: `video` or `picture`, for the error message. Raises VideoError.
    """
    if reason := why_unreadable(path, max_bytes, kind):
        raise VideoError(f"{path.name} {reason}")
    return str(path.resolve())


def why_unreadable(path: Path, max_bytes: int | None, kind: str) -> str | None:
    """Return why a file cannot be opened, to continue a sentence that begins with its name, or None if it can be."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return f"does not exist; pass the path of a {kind} file."
    if stat.S_ISDIR(status.st_mode):
        return f"is a folder; pass a {kind} file."
    if not stat.S_ISREG(status.st_mode):
        return f"is not a regular file; pass a {kind} file."
    if not status.st_size:
        return f"is empty (0 bytes); pass a {kind} file."
    if max_bytes is not None and status.st_size > max_bytes:
        return f"has {status.st_size / 2**20:.0f} MiB; at most {max_bytes / 2**20:.0f} MiB are allowed."
    if not os.access(path, os.R_OK):
        return "cannot be read; check its permissions."
    return None


def check_writable(path: Path) -> None:
    """Raise ValueError if no video can be written to this path: unknown suffix or missing folder."""
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"{path.name} must end in .mp4, .webm or .gif, got {suffix or 'no suffix'}.")
    if not path.parent.is_dir():
        raise ValueError(f"{path.name} cannot be written: its folder {path.parent.name!r} does not exist.")
