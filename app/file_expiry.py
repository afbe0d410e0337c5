"""Removal of files that have not been used for a while."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

log = logging.getLogger(__name__)


class FileExpiry:
    """A background thread that removes files of a folder that have not been changed for `keep_seconds`.

    Files that are in the folder when the thread starts are never removed. lock: held during removal; code that writes
    to the folder can hold it to keep its files from being removed meanwhile.
    """

    def __init__(self, folder: Path, keep_seconds: float, lock: AbstractContextManager | None = None) -> None:
        self.folder, self.keep_seconds, self.lock = folder, keep_seconds, lock or nullcontext()
        self._permanent = set(folder.rglob("*"))
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="file-expiry", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def remove_expired(self, now: float | None = None) -> int:
        """Remove expired files and empty folders; return the number of files. now: seconds since the epoch."""
        limit, removed = (time.time() if now is None else now) - self.keep_seconds, 0
        with self.lock:
            found = set(self.folder.rglob("*")) - self._permanent
            for path in sorted(found, reverse=True):  # contents before their folder
                try:
                    if path.lstat().st_ctime > limit:  # not the modification time, which copying preserves
                        continue
                    if path.is_dir():
                        path.rmdir()  # fails unless empty
                    else:
                        path.unlink()
                        removed += 1
                except OSError:  # removed by another thread, or a folder that is not empty
                    continue
        return removed

    def _run(self) -> None:
        while not self._stopped.wait(max(1.0, self.keep_seconds / 6)):
            try:
                if removed := self.remove_expired():
                    log.info("Removed %d expired files.", removed)
            except OSError as error:  # a folder vanished while it was listed; the next round finds the rest
                log.info("Removing expired files was interrupted and will be tried again: %s", error)
