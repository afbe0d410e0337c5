"""Measure how many users at once are served.

    python benchmarks/trust/crowd.py [--users 20] [--each 10] [--burst 60] [--out crowd.json]

Starts the app and many users with `gradio_client`, each of whom requests random transfers one after another. Some of
the videos are requested again by a single user of a new server, and must be equal byte for byte. Fairness is measured
as the mean wait of the slowest user relative to that of the fastest. Then one address sends a burst of requests while
another sends a single one. Measures how long the single request waits, and counts the requests of the burst that are
rejected with and without an explanation.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from gradio_client import Client

from benchmarks.results import percentile, write_results
from devtools.api_client import PageClient
from devtools.serving import Server, serve_app

CLIPS = ("ball-hops.mp4", "balloon-roams.mp4", "sea-pan.mp4", "dunes-pan.mp4")
CAPACITIES = (0.0, 0.5, 1.0)
STARTS = tuple(i / 10 for i in range(20))  # in seconds; so many that few requests are equal
COMPARED = 40  # videos that are requested again
FRAMES = 8
QUEUE_FULL = 503  # HTTP status


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--each", type=int, default=10, help="requests of each user")
    parser.add_argument("--burst", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clips = [name for name in CLIPS if (ROOT / "assets" / "gallery" / name).is_file()]
    requests = [
        (source, target, capacity, start)
        for source in clips for target in clips if source != target for capacity in CAPACITIES for start in STARTS
    ]  # fmt: skip
    with serve_app("--behind-proxy") as server:
        results = measure_crowd(server, options.users, options.each, requests)
        results |= measure_burst(server, options.burst, requests)
        results["server is running"] = server.is_running()
    write_results(results, options.out)


def measure_crowd(server: Server, users: int, each: int, requests: list[tuple]) -> dict[str, object]:
    """Run all users at once, each with one request at a time, and return the figures by name."""

    def run_user(user: int) -> tuple[list[float], list[tuple], list[str]]:
        """Return the waits, the videos and the errors of one user."""
        waits, videos, errors = [], [], []
        with tempfile.TemporaryDirectory() as folder:
            client = Client(server.address, download_files=folder, verbose=False)
            for request in random.Random(user).choices(requests, k=each):
                start = time.monotonic()
                try:
                    videos.append((request, transfer(client, request)))
                except Exception as error:  # counted and shown, whatever it is
                    errors.append(f"{type(error).__name__}: {error}")
                waits.append(time.monotonic() - start)
            client.close()
        return waits, videos, errors

    start = time.monotonic()
    with ThreadPoolExecutor(users) as pool:
        runs = list(pool.map(run_user, range(users)))
    seconds = time.monotonic() - start
    digests: dict[tuple, set[str]] = {}
    for _, videos, _ in runs:
        for request, digest in videos:
            digests.setdefault(request, set()).add(digest)
    with tempfile.TemporaryDirectory() as folder, serve_app() as fresh:
        client = Client(fresh.address, download_files=folder, verbose=False)
        some = random.Random(0).sample(sorted(digests), min(COMPARED, len(digests)))
        different = sum(digests[request] != {transfer(client, request)} for request in some)
        client.close()
    waits = [wait for user_waits, _, _ in runs for wait in user_waits]
    means = [statistics.mean(user_waits) for user_waits, _, _ in runs]
    return {
        "users": users, "requests": users * each, "errors": [error for _, _, errors in runs for error in errors],
        "responses per second": len(waits) / seconds, "wait, median s": statistics.median(waits),
        "wait, p95 s": percentile(waits, 0.95), "slowest user's mean wait / fastest's": max(means) / min(means),
        "different requests": len(digests), "videos requested again": len(some), "videos that differ": different,
    }  # fmt: skip


def transfer(client: Client, request: tuple) -> str:
    """Request a transfer and return the SHA-256 of its video. Raises an exception if the request fails."""
    source, target, capacity, start = request
    video, *_ = client.predict(
        source=source,
        source_start=start,
        frames=FRAMES,
        target=target,
        family="noisy",
        capacity=capacity,
        api_name="/transfer",
    )
    return hashlib.sha256(Path(video).read_bytes()).hexdigest()


def measure_burst(server: Server, burst: int, requests: list[tuple]) -> dict[str, object]:
    """Send many requests at once from one user, then one from another user; return the figures by name."""
    greedy, other = PageClient(server.address), PageClient(server.address)
    other.http.headers["x-forwarded-for"] = "203.0.113.7"
    chance = random.Random(0)
    values = [
        [source, None, start + chance.random() / 10, 16, target, None, 0, "noisy", capacity]
        for source, target, capacity, start in chance.choices(requests, k=burst)
    ]
    number = greedy.handler("transfer")["id"]

    def send(inputs: list) -> tuple[int, str]:
        body = {"fn_index": number, "data": inputs, "session_hash": greedy.session}
        response = greedy.post("/gradio_api/queue/join", json=body)
        return response.status_code, response.text

    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(send, values))
    start = time.monotonic()
    succeeded = other.call("infer_actions", CLIPS[0], None, 0, FRAMES, "noisy", 1.0).succeeded
    waited = time.monotonic() - start
    explained = sum(status == QUEUE_FULL and "try again" in text for status, text in responses)
    return {
        "burst of one user": burst, "accepted": (accepted := sum(status == 200 for status, _ in responses)),
        "rejected with an explanation": explained, "rejected without one": burst - accepted - explained,
        "the other user is served": succeeded, "the other user waits, s": waited,
    }  # fmt: skip


if __name__ == "__main__":
    main()
