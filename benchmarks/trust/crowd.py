"""What happens when many people come at once?

    python benchmarks/trust/crowd.py [--people 20] [--each 10] [--burst 60] [--out crowd.json]

Starts the app and sends people, each with `gradio_client`: everybody asks for one transfer after another, from the same
few, chosen at random, at different moments. Some films are asked for again by a lonely visitor of a fresh server, and
have to be the same, to the byte. Fairness is how evenly the
people were served: the slowest one's mean wait over the quickest one's. Then somebody sends a burst of requests from
one address, while another visitor asks once: how long that one waits, and what those hear who find the queue full.
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

from benchmarks.page import percentile
from benchmarks.serving import Server, served
from benchmarks.telling import tell
from benchmarks.trust.visitor import Visitor

CLIPS = ("ball-hops.mp4", "balloon-roams.mp4", "sea-pan.mp4", "dunes-pan.mp4")
CAPACITIES = (0.0, 0.5, 1.0)
STARTS = tuple(i / 10 for i in range(20))  # seconds: so many wishes that hardly two are the same
COMPARED = 40  # films, with a lonely visitor's
FRAMES = 8
FULL = 503  # the status of a full queue


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--burst", type=int, default=60)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    clips = [name for name in CLIPS if (ROOT / "assets" / "gallery" / name).is_file()]
    wishes = [
        (one, other, at, start)
        for one in clips for other in clips if one != other for at in CAPACITIES for start in STARTS
    ]  # fmt: skip
    with served("--behind-proxy") as server:
        figures = measure_crowd(server, given.people, given.each, wishes)
        figures |= measure_burst(server, given.burst, wishes)
        figures["server still runs"] = server.alive()
    tell(figures, given.out)


def measure_crowd(server: Server, people: int, each: int, wishes: list[tuple]) -> dict[str, object]:
    """People with one request at a time each."""

    def live(person: int) -> tuple[list[float], list[tuple], list[str]]:
        """One person's waits, films and what went wrong."""
        chance, waits, films, wrongs = random.Random(person), [], [], []
        with tempfile.TemporaryDirectory() as folder:
            client = Client(server.address, download_files=folder, verbose=False)
            for wish in chance.choices(wishes, k=each):
                start = time.monotonic()
                try:
                    films.append((wish, ask(client, wish)))
                except Exception as error:  # whatever it is, it is counted and shown
                    wrongs.append(f"{type(error).__name__}: {error}")
                waits.append(time.monotonic() - start)
            client.close()
        return waits, films, wrongs

    start = time.monotonic()
    with ThreadPoolExecutor(people) as pool:
        lives = list(pool.map(live, range(people)))
    seconds = time.monotonic() - start
    films: dict[tuple, set[str]] = {}
    for _, seen, _ in lives:
        for wish, digest in seen:
            films.setdefault(wish, set()).add(digest)
    with tempfile.TemporaryDirectory() as folder, served() as fresh:  # a lonely visitor, of a server with no past
        client = Client(fresh.address, download_files=folder, verbose=False)
        some = random.Random(0).sample(sorted(films), min(COMPARED, len(films)))
        altered = sum(films[wish] != {ask(client, wish)} for wish in some)
        client.close()
    waits = [wait for one, _, _ in lives for wait in one]
    means = [statistics.mean(one) for one, _, _ in lives]
    return {
        "people": people, "requests": people * each, "errors": [w for _, _, wrongs in lives for w in wrongs],
        "answered a second": len(waits) / seconds, "wait, median s": statistics.median(waits),
        "wait, p95 s": percentile(waits, 0.95),
        "slowest person's mean wait over the quickest's": max(means) / min(means),
        "different wishes": len(films),
        "films compared with a lonely visitor's": len(some), "films that differ": altered,
    }  # fmt: skip


def ask(client: Client, wish: tuple) -> str:
    """A transfer's film, as the SHA-256 of its file. Raises where the page says no."""
    source, target, capacity, start = wish
    film, *_ = client.predict(
        source=source,
        source_start=start,
        frames=FRAMES,
        target=target,
        family="noisy",
        capacity=capacity,
        api_name="/transfer",
    )
    return hashlib.sha256(Path(film).read_bytes()).hexdigest()


def measure_burst(server: Server, burst: int, wishes: list[tuple]) -> dict[str, object]:
    """Many requests at once from one visitor, and one from another a moment later."""
    greedy, modest = Visitor(server.address), Visitor(server.address)
    modest.client.headers["x-forwarded-for"] = "203.0.113.7"
    chance = random.Random(0)
    values = [
        [one, None, start + chance.random() / 10, 16, other, None, 0, "noisy", at]
        for one, other, at, start in chance.choices(wishes, k=burst)
    ]
    number = greedy.event("transfer")

    def send(sent: list) -> tuple[int, str]:
        body = {"fn_index": number, "data": sent, "session_hash": greedy.session}
        answer = greedy.post("/gradio_api/queue/join", json=body)
        return answer.status_code, answer.text

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(send, values))
    start = time.monotonic()
    served_one = modest.ask("infer_actions", CLIPS[0], None, 0, FRAMES, "noisy", 1.0).served
    waited = time.monotonic() - start
    turned_away = [text for status, text in answers if status == FULL]
    return {
        "burst of one visitor": burst, "taken": sum(status == 200 for status, _ in answers),
        "turned away with a sentence": sum("try again" in text for text in turned_away),
        "turned away otherwise": sum(s != 200 and "try again" not in text for s, text in answers),
        "another visitor is served all the same": served_one, "another visitor waits, s": waited,
    }  # fmt: skip


if __name__ == "__main__":
    main()
