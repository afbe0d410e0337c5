"""How much faster do two workers infer the latent actions of a corpus than one?

    python benchmarks/extraction.py [--clips 64] [--workers 1 2] [--videos FOLDER] [--model NAME] [--out FILE]

A Ray cluster of as many nodes as workers on this machine, a processor each; what they find must be the same to the last
bit. Without a folder of videos, the gallery's own clips are taken as often as needed. Clips a second are counted from
the first row to the last, so that starting a cluster and its models is told apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["RAY_DEDUP_LOGS"] = "0"

from benchmarks.telling import tell
from lawm_core.evaluation.extraction import ExtractionConfig, extract
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.rows import read_rows
from lawm_core.worlds.folders import list_videos


def corpus(folder: Path, place: Path, clips: int) -> Path:
    """So many videos, by name, of those in `folder`."""
    place.mkdir()
    videos = [path for path, _ in list_videos(folder)]
    for i, path in enumerate(islice(cycle(videos), clips)):
        shutil.copy(path, place / f"{i:05d}{path.suffix}")
    return place


def measure(videos: Path, out: Path, workers: int, given: argparse.Namespace) -> tuple[float, float, list[dict]]:
    """Seconds a first small run takes, seconds of the rest, and all rows."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(workers - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    what = LibraryConfig(frames=given.frames)
    config = ExtractionConfig(what=what, models=workers, trusted=given.trusted)
    few = corpus(videos, out / "few", workers)
    try:
        start = time.perf_counter()
        extract(few, out / "first", given.model, config)
        first = time.perf_counter() - start
        start = time.perf_counter()
        extract(videos, out / "all", given.model, config)
        whole = time.perf_counter() - start
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows = sorted(read_rows(out / "all"), key=lambda row: row["clip"])
    return first, whole, rows


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=ROOT / "assets" / "gallery")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=120, help="the most that are taken of one clip")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trusted", action="store_true", help="decoded without the guard")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures: dict[str, object] = {"clips": given.clips, "frames a clip, at most": given.frames}
    found, rates = {}, {}
    with tempfile.TemporaryDirectory() as place:
        videos = corpus(given.videos, Path(place) / "videos", given.clips)
        for workers in given.workers:
            out = Path(place) / str(workers)
            out.mkdir()
            first, whole, found[workers] = measure(videos, out, workers, given)
            # A run of one clip a worker is mostly start; what is left is the pace of the rest.
            rates[workers] = (given.clips - workers) / (whole - first)
            figures[f"{workers} workers, s from start to end"] = whole
            figures[f"{workers} workers, s with a clip each"] = first
            figures[f"{workers} workers, clips a second once started"] = rates[workers]
    least, most = min(rates), max(rates)
    figures[f"times faster with {most} workers than with {least}, once started"] = rates[most] / rates[least]
    same = all(rows == found[least] for rows in found.values())
    figures["the same rows"] = same
    tell(figures, given.out)
    if not same:
        sys.exit("the rows differ")


if __name__ == "__main__":
    main()
