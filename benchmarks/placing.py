"""How many transitions a second are placed on a map of a sample, and how much memory does that take of a larger corpus?

    python benchmarks/placing.py [--corpora 20000 200000] [--points 20000] [--threads 1 2] [--repeats 3] [--out FILE]

Made-up extractions: clips of 22 transitions, 64 a file, actions of 128 numbers that wander about 60 centres. Every
figure comes from a process of its own, since a peak never falls; times are the best of some repeats.
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
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.telling import tell
from lawm_core.evaluation.librarian import write_library
from lawm_core.evaluation.library import LibraryClip, LibraryConfig, LibraryIndex, load_library
from lawm_core.evaluation.overview import draw_sample, read_parts
from lawm_core.evaluation.places import PLACES, place_all
from lawm_core.evaluation.projection import pca_places, umap_places
from lawm_core.evaluation.rows import FORMAT, PACKING, ROWS, demand_same, row_fields

A_CLIP, A_FILE, WIDTH, CENTRES, MADE_BY = 22, 64, 128, 60, "made up"


def write_corpus(home: Path, transitions: int) -> None:
    """An extraction of so many transitions, or a clip more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    demand_same(home, {"format": FORMAT, "fingerprint": MADE_BY, "what": asdict(LibraryConfig())})
    (home / ROWS).mkdir()
    clips, generator = -(-transitions // A_CLIP), np.random.default_rng(0)
    centre_XA = generator.normal(size=(CENTRES, WIDTH)) * 2
    for start in range(0, clips, A_FILE):
        count = min(A_FILE, clips - start)
        step_CUA = generator.normal(size=(count, A_CLIP, WIDTH)) / 4
        action_CUA = centre_XA[generator.integers(CENTRES, size=count)][:, None] + step_CUA.cumsum(axis=1)
        columns = {
            "clip": [f"{start + i:09d}.mp4" for i in range(count)], "frames": [A_CLIP + 1] * count,
            "action": action_CUA.astype(np.float32).tolist(), "motion": [[[0.0] * 6] * A_CLIP] * count,
            "error": [""] * count,
        }  # fmt: skip
        table = pa.table(columns, schema=pa.schema(row_fields()))
        pq.write_table(table, home / ROWS / f"{start:09d}.parquet", **PACKING)


def write_map(home: Path, out: Path, points: int) -> None:
    """The map of a sample, without pictures; both layouts are the quicker one, which is as good to place on."""
    sample, what = draw_sample(home, points), LibraryConfig()
    action_PA = torch.from_numpy(np.concatenate([part["action_UA"] for _, part in read_parts(sample, what)]))
    counts = [clip.transitions for clip in sample.clips()]
    place_P2 = pca_places(action_PA)
    tensors = {
        "action_PA": action_PA,
        "clip_P": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        "frame_P": torch.cat([torch.arange(count) for count in counts]),
        "umap_P2": place_P2, "pca_P2": place_P2.clone(), "motion_P6": torch.zeros(len(action_PA), 6),
    }  # fmt: skip
    clips = tuple(LibraryClip(name=clip.name, frames=clip.transitions + 1, first_thumb=0) for clip in sample.clips())
    index = LibraryIndex(
        model=MADE_BY, fingerprint=MADE_BY, frames_per_second=6.0, config=what, clips=clips, thumbs_across=1, refused={}
    )
    write_library(out, index, tensors, b"")


# ---- each in a process of its own ------------------------------------------------------------------------------------


def alone(work: Callable, *given: object) -> tuple[float, float]:
    """Seconds of the quickest, and MiB at the fullest."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(watch, (work, *given))


def watch(work: Callable, *given: object) -> tuple[float, float]:
    """In that process: `work` yields the seconds of each repeat."""
    seconds = min(work(*given))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def nothing() -> Iterator[float]:
    """What this file's imports take."""
    yield 0.0


def choose(home: Path, points: int, repeats: int) -> Iterator[float]:
    """A sample, and its rows."""
    for _ in range(repeats):
        start = time.perf_counter()
        read_parts(draw_sample(home, points), LibraryConfig())
        yield time.perf_counter() - start


def place(home: Path, out: Path, threads: int, repeats: int) -> Iterator[float]:
    """All transitions."""
    torch.set_num_threads(threads)
    library = load_library(out)
    for _ in range(repeats):
        shutil.rmtree(out / PLACES, ignore_errors=True)
        start = time.perf_counter()
        place_all(home, library)
        yield time.perf_counter() - start


def lay_out(out: Path, repeats: int) -> Iterator[float]:
    """UMAP of the sample; umap-learn compiles what it needs at its first points."""
    action_PA = load_library(out).action_PA
    umap_places(action_PA[:200])
    for _ in range(repeats):
        start = time.perf_counter()
        umap_places(action_PA)
        yield time.perf_counter() - start


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, nargs="+", default=[20_000, 200_000], help="transitions of each")
    parser.add_argument("--points", type=int, default=20_000, help="of the map")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures: dict[str, object] = {"points of the map": given.points, "MiB of the imports alone": alone(nothing)[1]}
    with tempfile.TemporaryDirectory() as place_of_all:
        for transitions in given.corpora:
            home, out = (Path(place_of_all) / f"{transitions}-{what}" for what in ("rows", "map"))
            write_corpus(home, transitions)
            size = sum(path.stat().st_size for path in (home / ROWS).iterdir())
            figures[f"{transitions}: bytes of rows a transition"] = size / transitions
            seconds, mib = alone(choose, home, given.points, given.repeats)
            figures[f"{transitions}: s to choose and read the sample"] = seconds
            figures[f"{transitions}: MiB to choose and read the sample"] = mib
            write_map(home, out, given.points)
            placed = transitions - len(load_library(out))
            for threads in given.threads:
                seconds, mib = alone(place, home, out, threads, given.repeats)
                if placed > given.points:
                    figures[f"{transitions}: placed a second, {threads} threads"] = placed / seconds
                figures[f"{transitions}: MiB to place, {threads} threads"] = mib
        figures["s of UMAP"], figures["MiB of UMAP"] = alone(lay_out, out, given.repeats)
    tell(figures, given.out)


if __name__ == "__main__":
    main()
