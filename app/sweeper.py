"""Files that nobody needs any longer go, on time, whoever asks for what meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)


class Sweeper:
    """Removes files of a folder that were not used for a while, again and again, until it is stopped.

    pattern: which of them, as `Path.glob` reads it.
    """

    def __init__(self, folder: Path, keep_seconds: float, pattern: str = "**/*") -> None:
        self.folder, self.keep_seconds, self.pattern = folder, keep_seconds, pattern
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def stop(self) -> None:
        """No more sweeping."""
        self._stopped.set()

    def sweep(self) -> int:
        """Removes what is old now; how many files."""
        end, removed = time.time() - self.keep_seconds, 0
        for path in sorted(self.folder.glob(self.pattern), reverse=True):  # what is in a folder comes before the folder
            try:
                if path.is_dir():
                    if path.stat().st_mtime < end:
                        path.rmdir()  # only an empty one goes
                elif path.stat().st_mtime < end:
                    path.unlink()
                    removed += 1
            except OSError:  # somebody was quicker, or the folder is not empty
                continue
        return removed

    def _run(self) -> None:
        while not self._stopped.wait(max(1.0, self.keep_seconds / 6)):
            if removed := self.sweep():
                log.info("%d old files were removed.", removed)
