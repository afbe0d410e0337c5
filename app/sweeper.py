"""Files that nobody needs any longer go, on time, whoever asks for what meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

log = logging.getLogger(__name__)


class Sweeper:
    """Removes files of a folder that were not touched for a while, again and again, until it is stopped.

    What lies in the folder already belongs to the page and stays. lock: held while it sweeps, where others who write
    there hold it too.
    """

    def __init__(self, folder: Path, keep_seconds: float, lock: AbstractContextManager | None = None) -> None:
        self.folder, self.keep_seconds, self.lock = folder, keep_seconds, lock or nullcontext()
        self._own = set(folder.rglob("*"))
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def stop(self) -> None:
        """No more sweeping."""
        self._stopped.set()

    def sweep(self, now: float | None = None) -> int:
        """Removes what is old by now, in seconds since the epoch; how many files."""
        end, removed = (time.time() if now is None else now) - self.keep_seconds, 0
        with self.lock:
            found = set(self.folder.rglob("*")) - self._own
            for path in sorted(found, reverse=True):  # what is in a folder comes before the folder
                try:
                    if path.lstat().st_ctime > end:  # of the file here: copies bring their modification times along
                        continue
                    if path.is_dir():
                        path.rmdir()  # only an empty one goes
                    else:
                        path.unlink()
                        removed += 1
                except OSError:  # somebody was quicker, or the folder is not empty
                    continue
        return removed

    def _run(self) -> None:
        while not self._stopped.wait(max(1.0, self.keep_seconds / 6)):
            try:
                if removed := self.sweep():
                    log.info("%d old files were removed.", removed)
            except OSError as error:  # a folder that went while it was listed; the next round finds the rest
                log.info("A sweep was cut short: %s", error)
