"""Extractions without a Ray cluster: with random rows, or computed in this process."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lawm_core.bulk.extraction import Decoder, ExtractionConfig, ModelWorker
from lawm_core.bulk.extraction_store import PARQUET_OPTIONS, ROWS, row_fields, start_extraction
from lawm_core.checkpoint import fingerprint, load_model
from lawm_core.data.folders import list_videos
from lawm_core.library.library import LibraryConfig
from lawm_core.video.files import write_clip


def write_rows(out: Path, name: str, rows: list[dict]) -> None:
    """Write a file of rows in one row group."""
    (out / ROWS).mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=pa.schema(row_fields()))
    pq.write_table(table, out / ROWS / f"{name}.parquet", **PARQUET_OPTIONS)


def random_row(name: str, transitions: int, generator: np.random.Generator, width: int = 8) -> dict:
    """Return the row of a clip whose actions are a random walk; no two clips are equal."""
    action_UA = generator.normal(size=(1, width)) * 3 + generator.normal(size=(transitions, width)).cumsum(axis=0) / 4
    return {
        "clip": name, "frames": transitions + 1, "action": action_UA.astype(np.float32).tolist(),
        "motion": generator.normal(size=(transitions, 6)).astype(np.float32).tolist(), "error": "",
    }  # fmt: skip


def skipped_row(name: str) -> dict:
    """Return the row of a video that cannot be read."""
    return {"clip": name, "frames": None, "action": None, "motion": None, "error": f"{name} is not a video"}


def extract_here(videos: Path, out: Path, model: Path, config: LibraryConfig, clips_per_file: int = 2) -> None:
    """Compute what `extract` computes, in this process."""
    start_extraction(out, fingerprint(model), config)
    loaded = load_model(model)
    decode = Decoder(loaded.frames_per_second, loaded.frame_size, config.frames, False)
    worker = ModelWorker(model, ExtractionConfig(library=config))
    paths = [path for path, _ in list_videos(videos)]
    tables = [worker(decode(pa.table({"clip": [path.name], "path": [str(path)]}))) for path in paths]
    for start in range(0, len(tables), clips_per_file):
        rows = [row for table in tables[start : start + clips_per_file] for row in table.to_pylist()]
        write_rows(out, f"rows-{start:03d}", rows)


def write_moving_clips(folder: Path, clips: int, seed: int = 0) -> None:
    """Write clips of noise, each moving at its own speed."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    for i in range(clips):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(folder / f"clip-{i}.mp4", torch.cat([still.roll((i - 3) * t, dims=-1) for t in range(8)]), 6)
