"""Measure how much faster two workers extract the latent actions of a corpus than one.

    python benchmarks/extraction.py [--clips 64] [--workers 1 2] [--videos FOLDER] [--model NAME] [--out FILE]

Runs a Ray cluster on this machine with one node and one processor per worker. The rows that are written must not depend
on the number of workers, bit for bit. The videos of the folder, by default the gallery's, are repeated until there are
enough clips. The time to start the cluster and to load the models is not part of the clips per second.
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

from benchmarks.results import write_results
from lawm_core.bulk.extraction import ExtractionConfig, extract
from lawm_core.bulk.extraction_store import read_rows
from lawm_core.data.folders import list_videos
from lawm_core.library.library import LibraryConfig


def main() -> None:
    """Measure every number of workers, print a table and write JSON."""
    options = parse_options()
    results: dict[str, object] = {"clips": options.clips, "frames per clip, at most": options.frames}
    rows, rates = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        videos = copy_videos(options.videos, Path(folder) / "videos", options.clips)
        for workers in options.workers:
            out = Path(folder) / str(workers)
            out.mkdir()
            start, whole, rows[workers] = extract_twice(videos, out, workers, options)
            # A run with one clip per worker takes about as long as the start. Without it, the rest of the time remains.
            rates[workers] = (options.clips - workers) / (whole - start)
            results[f"{workers} workers, s from start to end"] = whole
            results[f"{workers} workers, s with one clip each"] = start
            results[f"{workers} workers, clips per second once started"] = rates[workers]
    fewest, most = min(rates), max(rates)
    results[f"times faster with {most} workers than with {fewest}, once started"] = rates[most] / rates[fewest]
    results["equal rows"] = equal = all(found == rows[fewest] for found in rows.values())
    write_results(results, options.out)
    if not equal:
        sys.exit("the rows depend on the number of workers; they must be equal.")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=ROOT / "assets" / "gallery")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=120, help="maximum per clip (default 120)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trusted", action="store_true", help="decode without the sandbox")
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def copy_videos(source: Path, target: Path, clips: int) -> Path:
    """Copy videos of a folder to a new folder, repeatedly if necessary, until it has `clips` files; return it."""
    target.mkdir()
    videos = [path for path, _ in list_videos(source)]
    for i, path in enumerate(islice(cycle(videos), clips)):
        shutil.copy(path, target / f"{i:05d}{path.suffix}")
    return target


def extract_twice(
    videos: Path, out: Path, workers: int, options: argparse.Namespace
) -> tuple[float, float, list[dict]]:
    """Return the seconds of a run with one clip per worker, the seconds of a run with all clips, and its rows."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(workers - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    library = LibraryConfig(frames=options.frames)
    config = ExtractionConfig(library=library, models=workers, trusted=options.trusted)
    few, seconds = copy_videos(videos, out / "few", workers), []
    try:
        for folder, name in ((few, "first"), (videos, "all")):
            start = time.perf_counter()
            extract(folder, out / name, options.model, config)
            seconds.append(time.perf_counter() - start)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return *seconds, sorted(read_rows(out / "all"), key=lambda row: row["clip"])


if __name__ == "__main__":
    main()
