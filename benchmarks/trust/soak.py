"""Does the page stay as it was, however long it is used?

    python benchmarks/trust/soak.py [--requests 1000] [--warm-up 250] [--keep 60] [--only KIND,...] [--out soak.json]

Starts the app and sends a mixture of everything: transfers, comparisons, the map, scripts, drives and plans as the
page's tabs send them, the endpoints for scripts, uploads good, broken and large, and what no page would send; visitors
come and go. After a warm-up, in which caches fill, the server's memory may hardly grow. In the end no decoder may be
left, and after the time that files are kept, no file of a visitor either.
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

from app.tabs.capacity import ACROSS, ALONG
from app.tabs.drive import FROM_TARGET, GOAL_AHEAD, SIMULATED
from benchmarks.serving import Server, served
from benchmarks.telling import tell
from benchmarks.trust.strange import TOLD, VALUES
from benchmarks.trust.visitor import Answer, Visitor

GALLERY = ROOT / "assets" / "gallery"
STAY = 20  # requests of one visitor
FAMILIES = ("noisy", "sparse", "discrete")
PATIENCE = 20.0  # seconds beyond the keeping time until files have to be gone


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--warm-up", type=int, default=250)
    parser.add_argument("--only", help="kinds of requests, with commas, to find out which of them takes memory")
    parser.add_argument("--keep", type=int, default=60, help="seconds that the app keeps files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with served("--keep", str(given.keep)) as server, tempfile.TemporaryDirectory() as folder:
        own = set(server.files())  # the first result, which is on the page as long as it stands
        only = given.only.split(",") if given.only else None
        figures = soak(server, Path(folder), given.requests, given.warm_up, given.seed, only)
        time.sleep(given.keep + given.keep / 6 + PATIENCE)
        left = set(server.files()) - own
        figures["files left after their time"] = [str(p.relative_to(server.folder)) for p in sorted(left)]
        figures["decoders left"] = len(server.children())
        figures["server still runs"] = server.alive()
        figures["refused at the door, malformed"] = server.log.count("refused with 400")
    tell(figures, given.out)


def soak(
    server: Server, folder: Path, requests: int, warm_up: int, seed: int, only: list[str] | None = None
) -> dict[str, object]:
    """The mixture, and memory along the way."""
    day = Day(server=server, folder=folder, chance=random.Random(seed), only=only)
    start, warm, memory = time.monotonic(), 0, []
    for i in range(requests):
        if i % STAY == 0:
            day.arrive()
        if i == warm_up:
            warm = server.memory_bytes()
        day.one()
        memory.append(server.memory_bytes())
    day.leave()
    seconds, settled = time.monotonic() - start, statistics.median(memory[-max(1, requests // 10) :])
    return {
        "requests": requests, "seconds": seconds, "of each kind": dict(day.kinds),
        "failed though they were good": day.failed, "HTTP 500": sum(n for s, n in day.statuses.items() if s >= 500),
        "memory after warm-up, MiB": warm / 2**20, "memory at the end, MiB": settled / 2**20,
        "memory on the way, MiB": [m >> 20 for m in memory[:: max(1, requests // 20)]],
        "peak memory, MiB": max(memory) / 2**20,
        "growth after warm-up, %": 100 * (settled / warm - 1) if warm else 0.0,
    }  # fmt: skip


def refusal_of(answer: Answer) -> str:
    """What was said instead of an answer: as an error, or in the page's place for messages, which comes first."""
    told = answer.values[0] if answer.values else None
    return answer.refusal or (told.get("text", "") if isinstance(told, dict) else "")


@dataclass
class Day:
    """Visitors one after another, and what they do."""

    server: Server
    folder: Path
    chance: random.Random
    only: list[str] | None = None
    visitor: Visitor | None = None
    kinds: Counter = field(default_factory=Counter)
    statuses: Counter = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clips = sorted(path.name for path in GALLERY.glob("*.mp4"))

    def arrive(self) -> None:
        """A new visitor in place of the last."""
        self.leave()
        self.visitor = Visitor(self.server.address)

    def leave(self) -> None:
        """The visitor goes."""
        if self.visitor is not None:
            self.statuses += self.visitor.statuses
            self.visitor.close()

    def one(self) -> None:
        """One request of some kind; a good one has to be answered."""
        kinds: list[tuple[int, Callable[[], Answer | None]]] = [
            (30, self.transfer), (12, self.own_video), (15, self.broken_video), (10, self.numbers), (6, self.script),
            (6, self.place), (3, self.sweep), (8, self.drive), (10, self.nonsense), (16, self.page_transfer),
            (3, self.comparison), (12, self.map_click), (4, self.map_area), (6, self.map_paths), (1, self.map_refit),
            (8, self.played_script), (4, self.planned_drive), (2, self.large_video),
        ]  # fmt: skip
        if self.only:
            kinds = [(weight, kind) for weight, kind in kinds if kind.__name__ in self.only]
        act = self.chance.choices([k for _, k in kinds], [w for w, _ in kinds])[0]
        answer = act()
        self.kinds[act.__name__] += 1
        if answer is not None and (why := refusal_of(answer)):
            self.failed.append(f"{act.__name__}: {answer.status} {why}")

    def setting(self) -> list:
        """A family and a capacity."""
        return [self.chance.choice(FAMILIES), round(self.chance.random(), 2)]

    def transfer(self) -> Answer:
        one, other = self.chance.sample(self.clips, 2)
        start = round(self.chance.random(), 2)
        return self.visitor.ask("transfer", one, None, start, 12, other, None, 0, *self.setting())

    def own_video(self) -> Answer:
        """An upload, opened and transferred."""
        file = self.visitor.upload(GALLERY / self.chance.choice(self.clips), f"mine {self.chance.random()}.mp4")
        opened = self.visitor.ask("open_upload", file)
        if not opened.served or opened.values[3]["text"]:
            return opened
        other = self.chance.choice(self.clips)
        return self.visitor.ask("transfer", None, file, 0, 8, other, None, 0, *self.setting())

    def broken_video(self) -> None:
        """A clip with a few bytes changed, or cut off: refused or not, something has to come."""
        data = bytearray((GALLERY / self.chance.choice(self.clips)).read_bytes())
        for _ in range(self.chance.choice((1, 10, 100))):
            data[self.chance.randrange(min(len(data), self.chance.choice((2048, 10**9))))] = self.chance.randrange(256)
        path = self.folder / f"broken-{self.chance.random()}.mp4"
        path.write_bytes(data[: self.chance.choice((len(data), len(data) // 2, 100))])
        file = self.visitor.upload(path)
        path.unlink()
        answer = self.visitor.ask("open_upload", file)
        if not answer.served:
            self.failed.append(f"broken_video: {answer.status} {answer.refusal}")

    def numbers(self) -> Answer:
        return self.visitor.ask("infer_actions", self.chance.choice(self.clips), None, 0, 12, *self.setting())

    def script(self) -> Answer:
        action = [self.chance.gauss(0, 0.1) for _ in range(512)]
        clip = self.chance.choice(self.clips)
        return self.visitor.ask("apply_action", [action] * 6, clip, None, 0, *self.setting())

    def place(self) -> Answer:
        actions = [[self.chance.gauss(0, 0.1) for _ in range(512)] for _ in range(20)]
        return self.visitor.ask("project", actions, *self.setting())

    def sweep(self) -> Answer:
        one, other = self.chance.sample(self.clips, 2)
        return self.visitor.ask("capacity_sweep", one, None, 0, 8, other, None, 0, self.chance.choice(FAMILIES))

    def drive(self) -> Answer:
        """A drive from a picture, a few steps and one back."""
        robot = self.chance.choice(("arm", "rover"))
        clip = self.chance.choice(self.clips)
        begun = self.visitor.ask("begin", robot, FROM_TARGET, clip, None, 0, *self.setting(), None)
        if refusal_of(begun):
            return begun
        number = (begun.values[2] or {}).get("drive") if isinstance(begun.values[2], dict) else None
        width = 4 if robot == "arm" else 3
        for _ in range(4):
            stepped = self.visitor.ask("step", None, told={"told": [0.01] * width, "drive": number})
            if refusal_of(stepped):
                return stepped
        undone = self.visitor.ask("undo", None, told={"drive": number})
        at = undone.values[2].get("steps") if undone.served and isinstance(undone.values[2], dict) else None
        return undone if at == 3 else Answer(status=undone.status, refusal=f"after 4 steps and one back: {at}")

    def request(self, frames: int = 12) -> list:
        """Both clips and the setting, as the page's tabs send them."""
        one, other = self.chance.sample(self.clips, 2)
        return [one, None, round(self.chance.random(), 2), frames, other, None, 0, *self.setting()]

    def target(self) -> list:
        """The target and the setting."""
        return [self.chance.choice(self.clips), None, 0, *self.setting()]

    def page_transfer(self) -> Answer:
        answer = self.visitor.ask("show_transfer", *self.request())
        return answer if refusal_of(answer) else self.visitor.ask("write_files", answer.values[1])

    def comparison(self) -> Answer:
        return self.visitor.ask("compare_settings", self.chance.choice((ALONG, ACROSS)), *self.request(8))

    def point(self) -> int:
        return self.chance.randrange(600)

    def map_click(self) -> Answer:
        return self.visitor.ask("choose", {"selected": self.point(), "chosen": []}, *self.target())

    def map_area(self) -> Answer:
        points = [self.point() for _ in range(30)]
        return self.visitor.ask("gather", {"selected": None, "chosen": points}, *self.target())

    def map_paths(self) -> Answer:
        return self.visitor.ask("draw_if_open", "action-map", *self.request())

    def map_refit(self) -> Answer:
        return self.visitor.ask("refit", *self.setting())

    def played_script(self) -> Answer:
        """What a source does, as a script, played on another clip."""
        source, setting = [self.chance.choice(self.clips), None, 0, 12], self.setting()
        written = self.visitor.ask("add_source", None, *source, *setting)
        if refusal_of(written):
            return written
        return self.visitor.ask("play", written.values[1], self.chance.choice(self.clips), None, 0)

    def planned_drive(self) -> Answer:
        """A drive in a simulated scene, a goal ahead, a short search, and the plan run."""
        robot = self.chance.choice(("arm", "rover"))
        begun = self.visitor.ask("begin", robot, SIMULATED, *self.target(), None)
        if refusal_of(begun):
            return begun
        number = begun.values[2]["drive"]
        for name, *given in (("take_goal", GOAL_AHEAD, None, None, 0, 12, None), ("plan", 2, None), ("do", None)):
            answer = self.visitor.ask(name, *given, told={"drive": number})
            if refusal_of(answer):
                return answer
        return answer

    def large_video(self) -> Answer:
        """Two seconds in 4K, opened."""
        path = self.folder / "4k.mp4"
        if not path.is_file():
            pattern = ["-f", "lavfi", "-i", "testsrc2=s=3840x2160:r=24:d=2", "-pix_fmt", "yuv420p"]
            subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *pattern, str(path)], check=True)
        opened = self.visitor.ask("open_upload", self.visitor.upload(path))
        if opened.served and opened.values[3]["text"]:
            return Answer(status=200, refusal=opened.values[3]["text"])
        return Answer(status=opened.status, refusal=opened.refusal)

    def nonsense(self) -> None:
        handlers = self.visitor.config["dependencies"]
        one = self.chance.choice([d for d in handlers if d["queue"] is not False and d["backend_fn"]])
        values = [self.chance.choice(VALUES) for _ in one["inputs"]]
        self.visitor.ask(one["id"], *values, told=self.chance.choice(TOLD))


if __name__ == "__main__":
    main()
