"""Measure whether hostile files can stop the page.

    python benchmarks/trust/hostile.py CASES [--isolation 10] [--out hostile.json]

CASES is a folder of hostile files with a file cases.json, a list of {"file", "expect"}, where expect is `frames`,
`refuse` or `either`. Starts the app and, as a user would, uploads and opens each file and infers its actions. Counts
unexpected outcomes, server errors and rejections without a reason, and measures time and the memory of the server and
of its decoder processes. Then decoder processes are killed or stopped while they work. The page must show frames or a
message, and must answer the next request.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.results import percentile, write_results
from devtools.api_client import PageClient
from devtools.serving import Server, memory_of, serve_app

# Starts of the names of files that are small but would take very much memory or time to decode.
BOMBS = ("bomb_", "ten_hours", "lie_sample_count", "thousand_fps", "lie_size_30000", "lie_duration")
VALID_VIDEO = ROOT / "assets" / "gallery" / "ball-hops.mp4"
MIN_WORDS = 5  # a message with fewer words does not count as a reason
INTERNAL_ERROR = "Internal error"  # start of the page's message for errors without a reason
TOO_SHORT = "at least 2 frames are needed to infer an action"
POLL_SECONDS = 0.005


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--isolation", type=int, default=10, help="decoder processes to kill (default 10)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = json.loads((options.cases / "cases.json").read_text())
    with serve_app() as server:
        results = open_all(server, options.cases, cases) | kill_decoders(server, options.isolation)
        results["server is running"] = server.is_running()
        results["decoders left"] = len(server.children())
    write_results(results, options.out)


def open_all(server: Server, folder: Path, cases: list[dict]) -> dict[str, object]:
    """Open every file once and return the figures by name."""
    client = PageClient(server.address)
    open_file(client, VALID_VIDEO)  # so that what any first request takes does not count
    before, seconds, outcomes, unexpected, bombs, after_bombs = server.memory_bytes(), [], Counter(), [], [], 0
    cases = sorted(cases, key=lambda case: not case["file"].startswith(BOMBS))  # bombs first, to measure their effect
    with watch_memory(server) as peak:
        for case in cases:
            after_bombs = server.memory_bytes() if len(seconds) == len(bombs) else after_bombs
            start = time.monotonic()
            outcome, reason = open_file(client, folder / case["file"])
            seconds.append(time.monotonic() - start)
            outcomes[outcome] += 1
            if not is_valid(outcome, reason) or case["expect"] not in ("either", outcome):
                unexpected.append(f"{case['file']}: {outcome}, {reason}")
            if case["file"].startswith(BOMBS):
                bombs.append(seconds[-1])
    client.close()
    return {
        "files": len(cases), "opened": outcomes["frames"], "rejected": outcomes["refuse"],
        "unexpected, or without a reason": unexpected,
        "HTTP 500": sum(count for status, count in client.statuses.items() if status >= 500),
        "seconds, p95": percentile(seconds, 0.95), "seconds, maximum": max(seconds),
        "bombs": len(bombs), "seconds of bombs, maximum": max(bombs, default=0.0),
        "memory of a decoder, maximum, MiB": peak["bytes"] >> 20,
        "growth of the server due to bombs, MiB": (after_bombs - before) / 2**20,
    }  # fmt: skip


def is_valid(outcome: str, reason: str) -> bool:
    """Return whether an outcome is allowed for a hostile file: frames, or a rejection with a reason."""
    has_reason = len(reason.split()) >= MIN_WORDS and INTERNAL_ERROR not in reason
    return outcome == "frames" or (outcome == "refuse" and has_reason)


def open_file(client: PageClient, path: Path) -> tuple[str, str]:
    """Upload and open a file and infer its actions. Returns `frames`, `refuse` or another outcome, and the reason."""
    file = client.upload(path)
    if file is None:
        return "upload rejected", f"{client.statuses}"
    opened = client.call("open_upload", file)
    if not opened.succeeded:
        return ("refuse" if opened.status == 200 else f"failed with {opened.status}"), opened.error
    if message := opened.values[3]["text"]:
        return "refuse", message
    inferred = client.call("infer_actions", None, file, 0, 8, "noisy", 1.0)
    if inferred.succeeded:
        return "frames", ""
    if TOO_SHORT in inferred.error:  # a file of a single frame can be opened as a target, but has no actions
        return "refuse", inferred.error
    return f"opened, then failed with {inferred.status}", inferred.error


def kill_decoders(server: Server, rounds: int) -> dict[str, object]:
    """Kill or stop decoder processes while they work, and return the figures by name.

    Counts the answers to the requests whose decoder was killed or stopped, and to the request after each of them.
    rounds: number of decoders to kill; one more is stopped.
    """
    client, answered, next_answered, slowest = PageClient(server.address), 0, 0, 0.0
    kills = [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV] * rounds
    signals = [*kills[:rounds], *([signal.SIGSTOP] if rounds else [])]  # a stopped process runs into its time limit
    for kind in signals:
        with signal_decoders(server, kind) as signalled:
            start = time.monotonic()
            outcome, reason = open_file(client, VALID_VIDEO)
            slowest = max(slowest, time.monotonic() - start)
        answered += bool(signalled) and is_valid(outcome, reason)
        next_answered += open_file(client, VALID_VIDEO)[0] == "frames"
    client.close()
    return {
        "decoders killed or stopped": len(signals), "answered with frames or a reason": answered,
        "next requests answered": next_answered, "seconds with a killed or stopped decoder, maximum": slowest,
    }  # fmt: skip


@contextmanager
def watch_memory(server: Server) -> Iterator[dict[str, int]]:
    """Yield a dict whose "bytes" is the peak memory of any child process; it is updated while the block runs."""
    peak = {"bytes": 0}

    def measure(child: int) -> None:
        peak["bytes"] = max(peak["bytes"], memory_of(child, "VmHWM"))

    with poll_children(server, measure):
        yield peak


@contextmanager
def signal_decoders(server: Server, kind: signal.Signals) -> Iterator[list[int]]:
    """Send a signal to every child process that starts while the block runs. Yields the list of their process ids."""
    signalled: list[int] = []

    def send(child: int) -> None:
        if child not in signalled:
            with suppress(ProcessLookupError):
                os.kill(child, kind)
                signalled.append(child)

    with poll_children(server, send):
        yield signalled


@contextmanager
def poll_children(server: Server, act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the process id of every child of the server, again and again while the block runs."""
    done = threading.Event()

    def poll() -> None:
        while not done.wait(POLL_SECONDS):
            for child in server.children():
                act(child)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
