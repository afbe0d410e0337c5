"""Files that are whole or not there: whatever stops a process, nobody finds half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with atomic_path(path) as part:
        Path(part).write_text(text, encoding="utf-8")


class atomic_path:
    """A temporary name beside `path` that takes its place when the block ends well, and is removed when it does not."""

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
                sync(self.path.parent)  # the new name too is on the disk, or a power cut brings the old file back
        finally:
            Path(self.part).unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def build_folder(home: Path, mark: str, fill: Callable[[Path], None]) -> Path:
    """Return `home`, which `fill(folder)` has filled once: complete or not there, also where several processes ask.

    mark: a file that every complete folder holds. Others wait for the one that builds; one that fails leaves nothing.
    """
    from filelock import FileLock

    if (home / mark).is_file():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f".{home.name}.lock")):
        if (home / mark).is_file():
            return home
        if home.is_dir():  # of a version that filled folders in place, and was stopped
            shutil.rmtree(home)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}.") as folder:
            part = Path(folder) / home.name
            part.mkdir()
            fill(part)
            os.replace(part, home)
            sync(home.parent)
    return home
