"""Can a file stop the page?

    python benchmarks/trust/hostile.py CASES [--isolation 10] [--out hostile.json]

CASES is a folder of hostile files with cases.json, a list of {"file", "expect"}: `frames`, `refuse` or `either`. Starts
the app and brings it each of them, as a person would: upload, open, and where it opens, infer its actions. Counts what
came to another end than expected, failures of the server, refusals without a reason, seconds, and memory of the server
and of its decoders. Then decoders are killed and stopped while they work: a message has to come, and the next
request has to be answered.
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
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.page import percentile
from benchmarks.serving import Server, memory_of, served
from benchmarks.telling import tell
from benchmarks.trust.visitor import Visitor

BOMBS = ("bomb_", "ten_hours", "lie_sample_count", "thousand_fps", "lie_size_30000", "lie_duration")
GOOD = ROOT / "assets" / "gallery" / "ball-hops.mp4"
FEWEST_WORDS = 5  # of a reason
OUR_FAULT = "Something went wrong on our side"  # what the page says where none of its reasons fits


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--isolation", type=int, default=10, help="decoders to kill, and to stop (default 10)")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    cases = json.loads((given.cases / "cases.json").read_text())
    with served() as server:
        figures = bring_all(server, given.cases, cases) | isolate(server, given.isolation)
        figures["server still runs"] = server.alive()
        figures["decoders left"] = len(server.children())
    tell(figures, given.out)


def bring_all(server: Server, folder: Path, cases: list[dict]) -> dict[str, object]:
    """Every file once, and what became of it."""
    visitor = Visitor(server.address)
    open_file(visitor, GOOD)  # whatever is made ready at the first request counts as the server's own
    before, seconds, ends, wrong, bombs, after_bombs = server.memory_bytes(), [], Counter(), [], [], 0
    cases = sorted(cases, key=lambda case: not case["file"].startswith(BOMBS))  # these first, to see what they leave
    with watched(server) as most:
        for case in cases:
            after_bombs = server.memory_bytes() if len(seconds) == len(bombs) else after_bombs
            start = time.monotonic()
            end, why = open_file(visitor, folder / case["file"])
            seconds.append(time.monotonic() - start)
            ends[end] += 1
            if not is_answer(end, why) or case["expect"] not in ("either", end):
                wrong.append(f"{case['file']}: {end}, {why}")
            if case["file"].startswith(BOMBS):
                bombs.append(seconds[-1])
    visitor.close()
    return {
        "files": len(cases), "opened": ends["frames"], "refused": ends["refuse"],
        "other than expected, or without a reason": wrong,
        "HTTP 500": sum(n for status, n in visitor.statuses.items() if status >= 500),
        "seconds, p95": percentile(seconds, 0.95), "seconds, most": max(seconds),
        "bombs": len(bombs), "bombs, most seconds": max(bombs, default=0.0),
        "a decoder's memory, most MiB": most["child"] >> 20,
        "the server's growth with bombs, MiB": (after_bombs - before) / 2**20,
    }  # fmt: skip


def is_answer(end: str, why: str) -> bool:
    """Whether an end is one that a file may come to: frames, or a refusal that gives a reason."""
    return end == "frames" or (end == "refuse" and len(why.split()) >= FEWEST_WORDS and OUR_FAULT not in why)


def open_file(visitor: Visitor, path: Path) -> tuple[str, str]:
    """How a file fares: `frames`, `refuse` or what else, and what was said."""
    file = visitor.upload(path)
    if file is None:
        return "not taken as an upload", f"{visitor.statuses}"
    opened = visitor.ask("open_upload", file)
    if not opened.served:
        return ("refuse" if opened.status == 200 else f"failed with {opened.status}"), opened.refusal
    if said := opened.values[3]["text"]:
        return "refuse", said
    inferred = visitor.ask("infer_actions", None, file, 0, 8, "noisy", 1.0)
    return ("frames", "") if inferred.served else (f"opened, then failed with {inferred.status}", inferred.refusal)


def isolate(server: Server, rounds: int) -> dict[str, object]:
    """Decoders that are killed or stopped while they work: what was said, and whether the next request was answered."""
    visitor, answered, next_answered, slowest = Visitor(server.address), 0, 0, 0.0
    kinds = [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV] * rounds
    signals = [*kinds[:rounds], *([signal.SIGSTOP] if rounds else [])]  # a hung one takes its 20 s
    for kind in signals:
        with struck(server, kind) as struck_pids:
            start = time.monotonic()
            end, why = open_file(visitor, GOOD)
            slowest = max(slowest, time.monotonic() - start)
        # One retry may have saved it; otherwise there is a sentence.
        answered += bool(struck_pids) and is_answer(end, why)
        next_answered += open_file(visitor, GOOD)[0] == "frames"
    visitor.close()
    return {
        "decoders killed, aborted or hung": len(signals), "answered all the same or with a message": answered,
        "next requests answered": next_answered, "seconds with a struck decoder, most": slowest,
    }  # fmt: skip


@contextmanager
def watched(server: Server):
    """The most memory of any child: most["child"] in bytes."""
    most = {"child": 0}

    def look(child: int) -> None:
        most["child"] = max(most["child"], memory_of(child, "VmHWM"))

    with to_every_child(server, look):
        yield most


@contextmanager
def struck(server: Server, kind: signal.Signals):
    """Every decoder that starts gets this signal; a list of those that did."""
    hit = []

    def strike(child: int) -> None:
        if child not in hit:
            with suppress(ProcessLookupError):
                os.kill(child, kind)
                hit.append(child)

    with to_every_child(server, strike):
        yield hit


@contextmanager
def to_every_child(server: Server, act: Callable[[int], None]):
    """Does this to every child process, again and again, as long as the block runs."""
    done = threading.Event()

    def go_round() -> None:
        while not done.wait(0.005):
            for child in server.children():
                act(child)

    thread = threading.Thread(target=go_round, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
