"""The app as its own process, as people start it, and what can be seen of it from outside."""

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
    """A running app. folder: where its uploads and temporary files lie, and its log."""

    address: str
    ready_seconds: float
    process: subprocess.Popen
    folder: Path

    @property
    def log(self) -> str:
        """All that it has printed."""
        return (self.folder / "app.log").read_text(encoding="utf-8", errors="replace")

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def memory_bytes(self) -> int:
        """Resident memory of the server itself."""
        return memory_of(self.process.pid)

    def children(self) -> list[int]:
        """Its child processes that run now: decoders, and nothing else."""
        return children_of(self.process.pid)

    def files(self) -> list[Path]:
        """Everything that lies on the disk for it, the log aside."""
        return [p for p in self.folder.rglob("*") if p.is_file() and p.name != "app.log"]


@contextmanager
def served(*options: str, folder: Path | None = None) -> Iterator[Server]:
    """The app on a free port, with these options. RuntimeError with its log where it does not start."""
    with tempfile.TemporaryDirectory() as own:
        folder = folder or Path(own)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        places = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "TMPDIR": str(folder / "tmp")}
        start = time.monotonic()
        with (folder / "app.log").open("w") as log:
            command = [sys.executable, "-m", "app", "--port", str(port), *options]
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ | places)
        try:
            wait_until_ready(process, folder / "app.log")
            ready = time.monotonic() - start
            yield Server(address=f"http://127.0.0.1:{port}", ready_seconds=ready, process=process, folder=folder)
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(process: subprocess.Popen, log: Path) -> None:
    """Returns once the app has said where it is."""
    end = time.monotonic() + START_SECONDS
    while "is ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the app did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)


def memory_of(process: int, field: str = "VmRSS") -> int:
    """A process's resident memory in bytes (VmHWM: the most it ever had); 0 where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def children_of(process: int) -> list[int]:
    """Child processes of all threads of a process."""
    out = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            out += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return out
