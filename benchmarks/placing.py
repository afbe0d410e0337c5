"""Measure how fast all transitions of a corpus are projected onto the map of a sample, and how much memory that takes.

    python benchmarks/placing.py [--corpora 20000 200000] [--points 20000] [--threads 1 2] [--repeats 3] [--out FILE]

The extractions are random: clips of 22 transitions, 64 clips per file, with actions of 128 dimensions around 60
centres. Each figure is measured in its own process, because the peak memory of a process never decreases. Times are the
shortest of several repeats.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import write_results
from lawm_core.bulk.corpus_map import draw_sample, read_sample
from lawm_core.bulk.extraction_store import PARQUET_OPTIONS, ROWS, row_fields, start_extraction
from lawm_core.bulk.map_projection import PROJECTION, project_all
from lawm_core.library.build import write_library
from lawm_core.library.library import LibraryClip, LibraryConfig, LibraryIndex, load_library
from lawm_core.library.projection import pca_layout, umap_layout

CLIP_TRANSITIONS, FILE_CLIPS, WIDTH, CENTRES, MODEL = 22, 64, 128, 60, "random"


def main() -> None:
    """Measure every size of corpus, print a table and write JSON."""
    options = parse_options()
    results: dict[str, object] = {"points of the map": options.points, "MiB of imports": in_process(import_only)[1]}
    with tempfile.TemporaryDirectory() as folder:
        for transitions in options.corpora:
            rows, out = (Path(folder) / f"{transitions}-{name}" for name in ("rows", "map"))
            write_corpus(rows, transitions)
            size = sum(path.stat().st_size for path in (rows / ROWS).iterdir())
            results[f"{transitions}: bytes per transition"] = size / transitions
            seconds, mib = in_process(sample_corpus, rows, options.points, options.repeats)
            results[f"{transitions}: s to sample and read"] = seconds
            results[f"{transitions}: MiB to sample and read"] = mib
            write_map(rows, out, options.points)
            projected = transitions - len(load_library(out))
            for threads in options.threads:
                seconds, mib = in_process(project_corpus, rows, out, threads, options.repeats)
                if projected > options.points:
                    results[f"{transitions}: projected per second, {threads} threads"] = projected / seconds
                results[f"{transitions}: MiB to project, {threads} threads"] = mib
        results["s of UMAP"], results["MiB of UMAP"] = in_process(compute_umap, out, options.repeats)
    write_results(results, options.out)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpora", type=int, nargs="+", default=[20_000, 200_000], help="number of transitions of each corpus"
    )
    parser.add_argument("--points", type=int, default=20_000, help="number of points of the map (default 20000)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def write_corpus(out: Path, transitions: int) -> None:
    """Write an extraction with at least this number of transitions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start_extraction(out, MODEL, LibraryConfig())
    (out / ROWS).mkdir()
    clips, generator = -(-transitions // CLIP_TRANSITIONS), np.random.default_rng(0)
    centre_XA = generator.normal(size=(CENTRES, WIDTH)) * 2
    for start in range(0, clips, FILE_CLIPS):
        count = min(FILE_CLIPS, clips - start)
        step_BUA = generator.normal(size=(count, CLIP_TRANSITIONS, WIDTH)) / 4
        action_BUA = centre_XA[generator.integers(CENTRES, size=count)][:, None] + step_BUA.cumsum(axis=1)
        columns = {
            "clip": [f"{start + i:09d}.mp4" for i in range(count)], "frames": [CLIP_TRANSITIONS + 1] * count,
            "action": action_BUA.astype(np.float32).tolist(), "motion": [[[0.0] * 6] * CLIP_TRANSITIONS] * count,
            "error": [""] * count,
        }  # fmt: skip
        table = pa.table(columns, schema=pa.schema(row_fields()))
        pq.write_table(table, out / ROWS / f"{start:09d}.parquet", **PARQUET_OPTIONS)


def write_map(extraction: Path, out: Path, points: int) -> None:
    """Write the map of a sample, without thumbnails.

    Both layouts are PCA, which is faster than UMAP; the time of the projection does not depend on the layout.
    """
    sample, config = draw_sample(extraction, points), LibraryConfig()
    action_PA = torch.from_numpy(np.concatenate([clip["action_UA"] for _, clip in read_sample(sample, config)]))
    counts = [clip.transitions for clip in sample.clips()]
    position_P2 = pca_layout(action_PA)
    tensors = {
        "action_PA": action_PA,
        "clip_P": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        "frame_P": torch.cat([torch.arange(count) for count in counts]),
        "umap_P2": position_P2, "pca_P2": position_P2.clone(), "motion_P6": torch.zeros(len(action_PA), 6),
    }  # fmt: skip
    clips = tuple(LibraryClip(name=clip.name, frames=clip.transitions + 1, first_thumb=0) for clip in sample.clips())
    index = LibraryIndex(
        model=MODEL, fingerprint=MODEL, frames_per_second=6.0, config=config, clips=clips, sprite_columns=1, skipped={}
    )
    write_library(out, index, tensors, b"")


# ---- measured in a process of its own --------------------------------------------------------------------------------


def in_process(work: Callable, *given: object) -> tuple[float, float]:
    """Call `work` in a new process. Return the least of the seconds that it yields, and the peak memory in MiB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (work, *given))


def measure(work: Callable, *given: object) -> tuple[float, float]:
    """Do the work of `in_process` in this process, which must be new."""
    seconds = min(work(*given))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def import_only() -> Iterator[float]:
    """Yield 0 seconds, to measure only the memory of this file's imports."""
    yield 0.0


def sample_corpus(extraction: Path, points: int, repeats: int) -> Iterator[float]:
    """Draw a sample and read its rows; yield the seconds of each repeat."""
    for _ in range(repeats):
        start = time.perf_counter()
        read_sample(draw_sample(extraction, points), LibraryConfig())
        yield time.perf_counter() - start


def project_corpus(extraction: Path, out: Path, threads: int, repeats: int) -> Iterator[float]:
    """Project all transitions; yield the seconds of each repeat."""
    torch.set_num_threads(threads)
    library = load_library(out)
    for _ in range(repeats):
        shutil.rmtree(out / PROJECTION, ignore_errors=True)
        start = time.perf_counter()
        project_all(extraction, library)
        yield time.perf_counter() - start


def compute_umap(out: Path, repeats: int) -> Iterator[float]:
    """Compute the UMAP layout of the sample; yield the seconds of each repeat.

    A small layout before them makes umap-learn compile its functions.
    """
    action_PA = load_library(out).action_PA
    umap_layout(action_PA[:200])
    for _ in range(repeats):
        start = time.perf_counter()
        umap_layout(action_PA)
        yield time.perf_counter() - start


if __name__ == "__main__":
    main()
