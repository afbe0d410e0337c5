"""Measure the time of a transfer: cold (`lawm transfer` in a new process), and warm (with a model that is loaded).

    python benchmarks/transfer.py [SOURCE TARGET] [--model NAME] [--repeats 5] [--out transfer.json]

Without videos, the first pair of the gallery is used.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lawm_core as lawm
from benchmarks.results import write_results


def gallery_pair() -> list[Path]:
    """Return source and target of the gallery's first pair."""
    folder = ROOT / "assets" / "gallery"
    pair = json.loads((folder / "gallery.json").read_text())["pairs"][0]
    return [folder / pair["source"], folder / pair["target"]]


def cold_seconds(videos: list[Path], model: str | None) -> float:
    """Return the seconds of a new process that loads the model, decodes both videos, transfers and writes a video."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lawm_core", "transfer", *map(str, videos), "--out", f"{folder}/result.mp4"]
        start = time.perf_counter()
        subprocess.run(command + (["--model", model] if model else []), check=True, cwd=ROOT, capture_output=True)
        return time.perf_counter() - start


def warm_seconds(videos: list[Path], name: str | None, repeats: int) -> float:
    """Return the median seconds to decode both videos and transfer, with a loaded model."""
    model, times = lawm.load_model(name), []
    settings = {"frames_per_second": model.frames_per_second, "size": model.picture_size, "num_frames": 16}
    for _ in range(repeats + 1):
        start = time.perf_counter()
        source, target = (lawm.read_clip(video, **settings) for video in videos)
        lawm.transfer_actions(model, source, target)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, help="source and target")
    parser.add_argument("--model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("report/transfer.json"))
    options = parser.parse_args()
    if len(options.videos) not in (0, 2):
        parser.error(
            f"give two videos, SOURCE and TARGET, or none to use the gallery's first pair, got {len(options.videos)}."
        )
    videos = [video.resolve() for video in options.videos] or gallery_pair()
    results = {
        "source": videos[0].name, "target": videos[1].name, "cold, s": cold_seconds(videos, options.model),
        "warm, s": warm_seconds(videos, options.model, options.repeats),
    }  # fmt: skip
    write_results(results, options.out)


if __name__ == "__main__":
    main()
