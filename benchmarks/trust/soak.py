"""Measure whether memory and files stay bounded during long use.

    python benchmarks/trust/soak.py [--requests 1000] [--warm-up 250] [--keep 60] [--only KIND,...] [--out soak.json]

Starts the app and sends a random mixture of all kinds of requests, in one session after another: requests of every tab
and of the API, valid, broken and large uploads, and requests that no page sends. After a warm-up, in which caches fill,
the server's memory should hardly grow. At the end, no decoder process may be left, and no file either once the time
that files are kept has passed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from imageio_ffmpeg import get_ffmpeg_exe

from app.tabs.capacity import BOTTLENECKS, CAPACITIES
from app.tabs.drive import FROM_TARGET, GOAL_AHEAD, SIMULATED
from benchmarks.results import write_results
from devtools.api_client import PageClient, Response
from devtools.hostile_inputs import EVENT_DATA, VALUES
from devtools.serving import Server, serve_app

GALLERY = ROOT / "assets" / "gallery"
SESSION_REQUESTS = 20  # requests of a session
FAMILIES = ("noisy", "sparse", "discrete")
ACTION_DIMENSIONS = {"arm": 4, "rover": 3}
POINTS = 600  # points of the map to choose from; it has a few more
GRACE_SECONDS = 20.0  # to wait after the time that files are kept, before files are counted


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--warm-up", type=int, default=250)
    parser.add_argument("--only", help="comma-separated kinds of requests to send, to find out which takes memory")
    parser.add_argument("--keep", type=int, default=60, help="seconds that the app keeps files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with serve_app("--keep", str(options.keep)) as server, tempfile.TemporaryDirectory() as folder:
        permanent = set(server.files())  # of the first result, which stays on the page
        only = options.only.split(",") if options.only else None
        results = soak(server, Path(folder), options.requests, options.warm_up, options.seed, only)
        time.sleep(options.keep + options.keep / 6 + GRACE_SECONDS)
        left = set(server.files()) - permanent
        results["files left after their time"] = [str(p.relative_to(server.folder)) for p in sorted(left)]
        results["decoders left"] = len(server.children())
        results["server is running"] = server.is_running()
        results["rejected as malformed"] = server.log.count("rejected with 400")
    write_results(results, options.out)


def soak(
    server: Server, folder: Path, requests: int, warm_up: int, seed: int, only: list[str] | None = None
) -> dict[str, object]:
    """Send the mixture of requests, and return errors and memory by name. only: kinds of requests; all if None."""
    sender = RequestSender(server=server, folder=folder, chance=random.Random(seed), only=only)
    start, after_warm_up, memory = time.monotonic(), 0, []
    for i in range(requests):
        if i % SESSION_REQUESTS == 0:
            sender.open_session()
        if i == warm_up:
            after_warm_up = server.memory_bytes()
        sender.send_one()
        memory.append(server.memory_bytes())
    sender.close_session()
    seconds, end = time.monotonic() - start, statistics.median(memory[-max(1, requests // 10) :])
    return {
        "requests": requests, "seconds": seconds, "of each kind": dict(sender.kinds),
        "valid requests that failed": sender.failed,
        "HTTP 500": sum(n for status, n in sender.statuses.items() if status >= 500),
        "memory after warm-up, MiB": after_warm_up / 2**20, "memory at the end, MiB": end / 2**20,
        "memory over time, MiB": [m >> 20 for m in memory[:: max(1, requests // 20)]],
        "peak memory, MiB": max(memory) / 2**20,
        "growth after warm-up, %": 100 * (end / after_warm_up - 1) if after_warm_up else 0.0,
    }  # fmt: skip


@dataclass
class RequestSender:
    """Sends random requests in one session after another; each method sends one kind."""

    server: Server
    folder: Path
    chance: random.Random
    only: list[str] | None = None
    client: PageClient | None = None
    kinds: Counter = field(default_factory=Counter)
    statuses: Counter = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clips = sorted(path.name for path in GALLERY.glob("*.mp4"))

    def open_session(self) -> None:
        """Close the session and open a new one."""
        self.close_session()
        self.client = PageClient(self.server.address)

    def close_session(self) -> None:
        """Close the session, if one is open."""
        if self.client is not None:
            self.statuses += self.client.statuses
            self.client.close()

    def send_one(self) -> None:
        """Send a request of a random kind; a valid one must succeed."""
        kinds: list[tuple[int, Callable[[], Response | None]]] = [
            (30, self.transfer), (12, self.upload), (15, self.broken_upload), (10, self.infer_actions),
            (6, self.apply_action), (6, self.project), (3, self.capacity_sweep), (8, self.drive), (10, self.invalid),
            (16, self.page_transfer), (3, self.page_sweep), (12, self.map_point), (4, self.map_area),
            (6, self.map_paths), (1, self.recompute_map), (8, self.play_script), (4, self.plan), (2, self.large_upload),
        ]  # fmt: skip
        if self.only:
            kinds = [(weight, kind) for weight, kind in kinds if kind.__name__ in self.only]
        send = self.chance.choices([k for _, k in kinds], [w for w, _ in kinds])[0]
        response = send()
        self.kinds[send.__name__] += 1
        if response is not None and response.problem:
            self.failed.append(f"{send.__name__}: {response.status} {response.problem}")

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def clip(self) -> str:
        return self.chance.choice(self.clips)

    def setting(self) -> list:
        return [self.chance.choice(FAMILIES), round(self.chance.random(), 2)]

    def target(self) -> list:
        """Return the target's inputs and the setting, as the tabs send them."""
        return [self.clip(), None, 0, *self.setting()]

    def request(self, frames: int = 12) -> list:
        """Return the inputs of both clips and the setting, as the tabs send them."""
        source, target = self.chance.sample(self.clips, 2)
        return [source, None, round(self.chance.random(), 2), frames, target, None, 0, *self.setting()]

    def actions(self, count: int) -> list[list[float]]:
        return [[self.chance.gauss(0, 0.1) for _ in range(512)] for _ in range(count)]

    # ---- API --------------------------------------------------------------------------------------------------------

    def transfer(self) -> Response:
        return self.client.call("transfer", *self.request())

    def infer_actions(self) -> Response:
        return self.client.call("infer_actions", self.clip(), None, 0, 12, *self.setting())

    def apply_action(self) -> Response:
        return self.client.call("apply_action", self.actions(1) * 6, *self.target())

    def project(self) -> Response:
        return self.client.call("project", self.actions(20), *self.setting())

    def capacity_sweep(self) -> Response:
        return self.client.call("capacity_sweep", *self.request(8)[:-1])

    # ---- uploads ----------------------------------------------------------------------------------------------------

    def upload(self) -> Response:
        """Upload a video and transfer it."""
        file = self.client.upload(GALLERY / self.clip(), f"mine {self.chance.random()}.mp4")
        opened = self.client.call("open_upload", file)
        if not opened.succeeded or opened.values[3]["text"]:
            return opened
        return self.client.call("transfer", None, file, 0, 8, *self.target())

    def broken_upload(self) -> None:
        """Upload a video with some bytes changed or its end cut off. It may be rejected, but with a response."""
        data = bytearray((GALLERY / self.clip()).read_bytes())
        for _ in range(self.chance.choice((1, 10, 100))):
            data[self.chance.randrange(min(len(data), self.chance.choice((2048, 10**9))))] = self.chance.randrange(256)
        path = self.folder / f"broken-{self.chance.random()}.mp4"
        path.write_bytes(data[: self.chance.choice((len(data), len(data) // 2, 100))])
        file = self.client.upload(path)
        path.unlink()
        response = self.client.call("open_upload", file)
        if not response.succeeded:
            self.failed.append(f"broken_upload: {response.status} {response.error}")

    def large_upload(self) -> Response:
        """Upload a 4K video of two seconds."""
        path = self.folder / "4k.mp4"
        if not path.is_file():
            pattern = ["-f", "lavfi", "-i", "testsrc2=s=3840x2160:r=24:d=2", "-pix_fmt", "yuv420p"]
            subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *pattern, str(path)], check=True)
        opened = self.client.call("open_upload", self.client.upload(path))
        message = opened.values[3]["text"] if opened.succeeded else ""
        return Response(status=opened.status, error=opened.error or message)

    # ---- tabs -------------------------------------------------------------------------------------------------------

    def page_transfer(self) -> Response:
        response = self.client.call("show_transfer", *self.request())
        return response if response.problem else self.client.call("write_files", response.values[1])

    def page_sweep(self) -> Response:
        comparison = self.chance.choice((CAPACITIES, BOTTLENECKS))
        return self.client.call("compare_settings", comparison, *self.request(8))

    def map_point(self) -> Response:
        value = {"selected": self.chance.randrange(POINTS), "area": []}
        return self.client.call("select_point", value, *self.target())

    def map_area(self) -> Response:
        points = [self.chance.randrange(POINTS) for _ in range(30)]
        return self.client.call("select_area", {"selected": None, "area": points}, *self.target())

    def map_paths(self) -> Response:
        return self.client.call("draw_paths", "action-map", *self.request())

    def recompute_map(self) -> Response:
        return self.client.call("recompute_map", *self.setting())

    def play_script(self) -> Response:
        """Add a source's actions to a script and play it on another clip."""
        written = self.client.call("add_source", None, self.clip(), None, 0, 12, *self.setting())
        return written if written.problem else self.client.call("play", written.values[1], self.clip(), None, 0)

    def start_drive(self, start_from: str) -> tuple[str, Response]:
        robot = self.chance.choice(("arm", "rover"))
        return robot, self.client.call("start", robot, start_from, *self.target(), None)

    def drive(self) -> Response:
        """Start a drive from a clip, make four steps and undo one."""
        robot, started = self.start_drive(FROM_TARGET)
        if started.problem:
            return started
        number = started.values[2]["drive"]
        for _ in range(4):
            stepped = self.client.call(
                "step", None, event_data={"action": [0.01] * ACTION_DIMENSIONS[robot], "drive": number}
            )
            if stepped.problem:
                return stepped
        undone = self.client.call("undo", None, event_data={"drive": number})
        steps = undone.values[2].get("steps") if undone.succeeded and isinstance(undone.values[2], dict) else None
        return (
            undone
            if steps == 3
            else Response(status=undone.status, error=f"4 steps and an undo must leave 3 steps, got {steps}")
        )

    def plan(self) -> Response:
        """Start a drive in a simulated scene, use a goal, search a plan and run it."""
        _, response = self.start_drive(SIMULATED)
        calls = (("use_goal", GOAL_AHEAD, None, None, 0, 12, None), ("search_plan", 2, None), ("execute_plan", None))
        for name, *inputs in calls:
            if response.problem:
                break
            response = self.client.call(name, *inputs)
        return response

    def invalid(self) -> None:
        """Call a random handler with random values."""
        handler = self.chance.choice(self.client.queued_handlers())
        values = [self.chance.choice(VALUES) for _ in handler["inputs"]]
        self.client.call(handler["id"], *values, event_data=self.chance.choice(EVENT_DATA))


if __name__ == "__main__":
    main()
