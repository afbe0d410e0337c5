"""Extractions without a cluster: made up, or one video after another."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lawm_core.checkpoint import fingerprint, load_model
from lawm_core.evaluation.extraction import Describer, ExtractionConfig, Reader
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.rows import FORMAT, PACKING, ROWS, demand_same, row_fields
from lawm_core.video.files import write_clip
from lawm_core.worlds.folders import list_videos


def write_rows(out: Path, name: str, rows: list[dict]) -> None:
    """A file of rows; its row group is as long as it is."""
    (out / ROWS).mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema(row_fields())), out / ROWS / f"{name}.parquet", **PACKING
    )


def note_about(out: Path, model: Path, what: LibraryConfig) -> None:
    """Whose rows they are."""
    demand_same(out, {"format": FORMAT, "fingerprint": fingerprint(model), "what": asdict(what)})


def made_up_row(name: str, transitions: int, generator: np.random.Generator, width: int = 8) -> dict:
    """A clip whose actions wander; none of two clips are the same."""
    action_UA = generator.normal(size=(1, width)) * 3 + generator.normal(size=(transitions, width)).cumsum(axis=0) / 4
    return {
        "clip": name, "frames": transitions + 1, "action": action_UA.astype(np.float32).tolist(),
        "motion": generator.normal(size=(transitions, 6)).astype(np.float32).tolist(), "error": "",
    }  # fmt: skip


def refused_row(name: str) -> dict:
    """A video that cannot be used."""
    return {"clip": name, "frames": None, "action": None, "motion": None, "error": f"{name} is not a video"}


def extract_here(videos: Path, out: Path, model: Path, what: LibraryConfig, clips_a_file: int = 2) -> None:
    """What `extract` finds, in this process."""
    note_about(out, model, what)
    loaded = load_model(model)
    read = Reader(loaded.frames_per_second, loaded.frame_size, what.frames, False)
    describe = Describer(model, ExtractionConfig(what=what))
    paths = [path for path, _ in list_videos(videos)]
    tables = [describe(read(pa.table({"clip": [path.name], "path": [str(path)]}))) for path in paths]
    for start in range(0, len(tables), clips_a_file):
        rows = [row for table in tables[start : start + clips_a_file] for row in table.to_pylist()]
        write_rows(out, f"rows-{start:03d}", rows)


def film_clips(home: Path, clips: int, seed: int = 0) -> None:
    """Noise that glides, each clip at a pace of its own."""
    home.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    for i in range(clips):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(home / f"clip-{i}.mp4", torch.cat([still.roll((i - 3) * t, dims=-1) for t in range(8)]), 6)
