"""The app as a separate process, as users start it, and measurements of it from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running app. ready_seconds: time until it was ready. folder: has its uploads, temporary files and log."""

    address: str
    ready_seconds: float
    process: subprocess.Popen
    folder: Path

    @property
    def log(self) -> str:
        """Everything that the app has printed."""
        return (self.folder / "app.log").read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        """Return whether the process is running."""
        return self.process.poll() is None

    def memory_bytes(self) -> int:
        """Return the resident memory of the server process in bytes, without its child processes."""
        return memory_of(self.process.pid)

    def children(self) -> list[int]:
        """Return the ids of the server's child processes, which decode videos."""
        return children_of(self.process.pid)

    def files(self) -> list[Path]:
        """Return all files in the server's folder except the log."""
        return [p for p in self.folder.rglob("*") if p.is_file() and p.name != "app.log"]


@contextmanager
def serve_app(*options: str, folder: Path | None = None) -> Iterator[Server]:
    """Run the app on a free port during the block. Raises RuntimeError with its log if it does not start.

    options: command line options of the app. folder: folder for its files; a temporary one by default.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        folders = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "TMPDIR": str(folder / "tmp")}
        port, start = free_port(), time.monotonic()
        with (folder / "app.log").open("w") as log:
            command = [sys.executable, "-m", "app", "--port", str(port), *options]
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ | folders
            )
        try:
            wait_until_ready(process, folder / "app.log")
            ready = time.monotonic() - start
            yield Server(address=f"http://127.0.0.1:{port}", ready_seconds=ready, process=process, folder=folder)
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """Return a TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(process: subprocess.Popen, log: Path) -> None:
    """Wait until the app has printed its address. Raises RuntimeError if it exits or takes too long."""
    end = time.monotonic() + START_SECONDS
    while "is ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            end_of_log = log.read_text()[-3000:]
            raise RuntimeError(f"the app exited, or was not ready within {START_SECONDS:g} s:\n{end_of_log}")
        time.sleep(0.05)


def memory_of(process: int, field: str = "VmRSS") -> int:
    """Return the resident memory of a process in bytes; 0 if it has ended. field: VmRSS is current, VmHWM the peak."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def children_of(process: int) -> list[int]:
    """Return the ids of the child processes of a process, whichever of its threads has started them."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found
