"""Atomic writes: a file or folder is complete or absent, whatever interrupts the process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as part:
        Path(part).write_text(text, encoding="utf-8")


class atomic_path:
    """Context manager that yields the path of a temporary file, which replaces `path` unless an error occurs."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> str:
        handle, self.part = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        os.close(handle)
        return self.part

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                sync(self.part)
                os.chmod(self.part, 0o644)
                os.replace(self.part, self.path)
                sync(self.path.parent)  # so that a power failure does not bring the old file back
        finally:
            Path(self.part).unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Flush a file's contents, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def build_folder(home: Path, marker: str, fill: Callable[[Path], None]) -> Path:
    """Create the folder `home`, unless it is complete, and return it. Several processes may call this at the same time.

    marker: name of a file that every complete folder has. fill: function that writes the content of the folder into the
    empty folder that it is called with. One process calls it, and the others wait. If it raises, `home` is not created.
    """
    from filelock import FileLock

    if (home / marker).is_file():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f".{home.name}.lock")):
        if (home / marker).is_file():
            return home
        if home.is_dir():  # incomplete, from an older version
            shutil.rmtree(home)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}.") as folder:
            part = Path(folder) / home.name
            part.mkdir()
            fill(part)
            os.replace(part, home)
            sync(home.parent)
    return home
