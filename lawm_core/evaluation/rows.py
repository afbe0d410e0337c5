"""What an extraction has found, on disk: extraction.json says by which model and how; clips/*.parquet, a row a video.

Rows are read some at a time: no more than `CHUNK` transitions of them, or one clip, are held at once, however many
there are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.evaluation.library import LibraryConfig
from lawm_core.saving import write_text

FORMAT, ABOUT, ROWS = 2, "extraction.json", "clips"
CHUNK = 8192  # transitions: 4 MiB of actions of 128 numbers
PAGE_BYTES = 2**18  # that are read of a column at once
# How rows are written: numbers that hardly ever repeat, byte by byte of all; little more than half the default's size.
NUMBERS = ("action", "motion")
PACKING = {
    "compression": "zstd",
    "use_dictionary": ["clip", "error"],
    "column_encoding": {f"{name}.list.element.list.element": "BYTE_STREAM_SPLIT" for name in NUMBERS},
}

log = logging.getLogger(__name__)


def row_fields() -> list[tuple[str, Any]]:
    """What a row of OUT/clips holds: how many frames T were taken, action (U, A) and motion (U, 6) as lists; where the
    video was refused, the error and nothing else.
    """
    import pyarrow as pa

    numbers = pa.list_(pa.list_(pa.float32()))
    return [
        ("clip", pa.string()), ("frames", pa.int32()), ("action", numbers), ("motion", numbers), ("error", pa.string()),
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Of some clips, one clip after another: count_C of each, action_XA, and motion_X6 where it was asked for."""

    names: list[str]
    count_C: np.ndarray
    action_XA: Tensor
    motion_X6: Tensor | None = None


# ---- what a folder is of ---------------------------------------------------------------------------------------------


def demand_same(out: Path, about: dict[str, Any]) -> None:
    """Notes whose rows OUT holds; ValueError where they are another model's, of other settings or another format."""
    path = out / ABOUT
    if path.is_file():
        if (found := json.loads(path.read_text())) != about:
            raise ValueError(f"{out} holds what {found} gave; {about} is asked for. Name another folder.")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(about, indent=1) + "\n")


def read_about(out: Path) -> tuple[str, LibraryConfig]:
    """The model's fingerprint, and the settings. ValueError where OUT holds no extraction of this format."""
    try:
        about = json.loads((out / ABOUT).read_text())
        if about["format"] != FORMAT:
            raise ValueError(f"it is of format {about['format']}, {FORMAT} is needed; extract again, to another folder")
        return about["fingerprint"], LibraryConfig(**about["what"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{out} is not an extraction that can be used: {error!r}.") from None


# ---- rows -----------------------------------------------------------------------------------------------------------


def parquet_files(out: Path) -> Iterator[Path]:
    """Those that are whole, by name; others are passed over, since a run may be writing them."""
    for path in sorted((out / ROWS).glob("*.parquet")):
        if is_whole(path):
            yield path
        else:
            log.warning("%s is not written to its end; it is passed over.", path.name)


def remove_unfinished(out: Path) -> None:
    """What a stopped run left half written. For a run that begins, and no other: its videos are done again."""
    for path in (out / ROWS).glob("*.parquet"):
        if not is_whole(path):
            log.warning("%s was not written to its end; its videos are done again.", path.name)
            path.unlink()


def is_whole(path: Path) -> bool:
    """Whether a Parquet file has its end, which is written last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except pa.ArrowInvalid:
        return False
    return True


def read_batches(path: Path, columns: list[str] | None = None, rows: int | None = None) -> Iterator[Any]:
    """Arrow's batches of at most so many rows (`CHUNK`) of one file, of these columns or all."""
    import pyarrow.parquet as pq

    # A buffer: without one, Arrow takes in a whole row group's columns at once.
    with pq.ParquetFile(path, buffer_size=PAGE_BYTES) as file:
        yield from file.iter_batches(rows or CHUNK, columns=columns)


def read_rows(out: str | Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of an extraction, file by file."""
    for path in parquet_files(Path(out)):
        for batch in read_batches(path, columns, 64):
            yield from batch.to_pylist()


def count_rows(out: Path) -> tuple[set[str], dict[str, str]]:
    """Names of the videos that have a row, and why some of them were refused."""
    import pyarrow.compute as pc

    names: set[str] = set()
    refused: dict[str, str] = {}
    for path in parquet_files(out):
        for batch in read_batches(path, ["clip", "error"]):
            names.update(batch["clip"].to_pylist())
            batch = batch.filter(pc.not_equal(batch["error"], ""))
            refused |= zip(batch["clip"].to_pylist(), batch["error"].to_pylist(), strict=True)
    return names, refused


def read_transitions(path: Path, frames: int, motion: bool = False) -> Iterator[Transitions]:
    """Clips of one file that were not refused, at most `CHUNK` transitions or one clip at a time.

    frames: the most that any clip has. motion: whether that is wanted too.
    """
    import pyarrow.compute as pc

    columns = ["clip", "error", "action", *(["motion"] if motion else [])]
    for batch in read_batches(path, columns, max(1, CHUNK // (frames - 1))):
        batch = batch.filter(pc.equal(batch["error"], ""))
        if batch.num_rows:
            yield Transitions(
                names=batch["clip"].to_pylist(),
                count_C=batch["action"].value_lengths().to_numpy(),
                action_XA=unnested(batch["action"]),
                motion_X6=unnested(batch["motion"]) if motion else None,
            )


def unnested(lists: Any) -> Tensor:
    """A column of lists of lists of as many numbers each, as one tensor number_XA."""
    vectors = lists.flatten()
    return torch.from_numpy(np.array(vectors.flatten()).reshape(len(vectors), -1))
