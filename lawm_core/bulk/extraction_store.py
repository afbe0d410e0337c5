"""Storage of extracted actions: extraction.json with the model and settings, and clips/*.parquet with a row per video.

Rows are read in batches of at most `MAX_TRANSITIONS` transitions, or of one clip if it has more, so memory does not
grow with the number of videos.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.atomic_files import write_text
from lawm_core.library.library import LibraryConfig
from lawm_core.schema import build_dataclass

FORMAT, METADATA, ROWS = 3, "extraction.json", "clips"
MAX_TRANSITIONS = 8192  # per batch: 4 MiB of actions with 128 dimensions
PAGE_BYTES = 2**18  # of each column that are read at once
# Floats hardly ever repeat; splitting them into streams of bytes nearly halves the size of the files.
PARQUET_OPTIONS = {
    "compression": "zstd",
    "use_dictionary": ["clip", "error"],
    "column_encoding": {f"{name}.list.element.list.element": "BYTE_STREAM_SPLIT" for name in ("action", "motion")},
}

log = logging.getLogger(__name__)


def row_fields() -> list[tuple[str, Any]]:
    """Return the name and Arrow type of each column of the Parquet files.

    clip: name of the video. frames: number of frames T. action: latent actions (U, A), as lists. motion: motion
    summaries (U, 6), as lists, see `summarize_motion`. error: reason why the video was skipped; frames, action and
    motion are then null. Otherwise error is empty.
    """
    import pyarrow as pa

    vectors = pa.list_(pa.list_(pa.float32()))
    names = ("clip", "frames", "action", "motion", "error")
    return list(zip(names, (pa.string(), pa.int32(), vectors, vectors, pa.string()), strict=True))


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Transitions of B clips, one clip after another.

    names, count_B: name and number of transitions of each clip. action_XA: latent actions. motion_X6: motion summaries,
    or None if they were not requested.
    """

    names: list[str]
    count_B: np.ndarray
    action_XA: Tensor
    motion_X6: Tensor | None = None


# ---- settings --------------------------------------------------------------------------------------------------------


def start_extraction(out: Path, fingerprint: str, library: LibraryConfig) -> None:
    """Write the model's fingerprint and the settings to `out`, unless they are there already.

    Raises ValueError if `out` has an extraction with another model or other settings.
    """
    metadata, path = {"format": FORMAT, "fingerprint": fingerprint, "library": asdict(library)}, out / METADATA
    if path.is_file():
        if (found := json.loads(path.read_text())) != metadata:
            raise ValueError(f"{out} was extracted with {found}, got {metadata}. Choose another folder.")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(metadata, indent=1) + "\n")


def read_metadata(out: Path) -> tuple[str, LibraryConfig]:
    """Return the model's fingerprint and the settings of an extraction.

    Raises ValueError if `out` has no extraction of this format.
    """
    try:
        metadata = json.loads((out / METADATA).read_text())
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format must be {FORMAT}, got {metadata['format']}; extract again to another folder")
        return metadata["fingerprint"], build_dataclass(LibraryConfig, metadata["library"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = f"{METADATA} has no field {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{out} is not a usable extraction: {reason}.") from None


# ---- rows ------------------------------------------------------------------------------------------------------------


def parquet_files(out: Path) -> Iterator[Path]:
    """Yield the complete Parquet files of an extraction, sorted by name.

    Incomplete files, which a run may still be writing, are skipped with a warning.
    """
    for path in sorted((out / ROWS).glob("*.parquet")):
        if is_complete(path):
            yield path
        else:
            log.warning("%s is incomplete and is skipped.", path.name)


def remove_incomplete(out: Path) -> None:
    """Delete files that an interrupted run left incomplete.

    Call this only at the start of a run, when no other run is writing to `out`.
    """
    for path in (out / ROWS).glob("*.parquet"):
        if not is_complete(path):
            log.warning("%s is incomplete and is deleted; its videos are extracted again.", path.name)
            path.unlink()


def is_complete(path: Path) -> bool:
    """Return whether a Parquet file has its footer, which is written last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except pa.ArrowInvalid:
        return False
    return True


def read_batches(path: Path, columns: list[str] | None = None, rows: int | None = None) -> Iterator[Any]:
    """Yield the rows of one file as Arrow batches.

    columns: names of the columns to read; None reads all. rows: largest number of rows of a batch, `MAX_TRANSITIONS` if
    None.
    """
    import pyarrow.parquet as pq

    # Without a buffer size, Arrow reads the columns of a whole row group at once.
    with pq.ParquetFile(path, buffer_size=PAGE_BYTES) as file:
        yield from file.iter_batches(rows or MAX_TRANSITIONS, columns=columns)


def read_rows(out: str | Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield each row of an extraction as a dictionary. columns: names of the columns to read; None reads all."""
    for path in parquet_files(Path(out)):
        for batch in read_batches(path, columns, 64):
            yield from batch.to_pylist()


def list_rows(out: Path) -> tuple[set[str], dict[str, str]]:
    """Return the names of all videos that have a row, and the reason for each skipped video by name."""
    import pyarrow.compute as pc

    names: set[str] = set()
    skipped: dict[str, str] = {}
    for path in parquet_files(out):
        for batch in read_batches(path, ["clip", "error"]):
            names.update(batch["clip"].to_pylist())
            batch = batch.filter(pc.call_function("not_equal", [batch["error"], ""]))
            skipped |= zip(batch["clip"].to_pylist(), batch["error"].to_pylist(), strict=True)
    return names, skipped


def read_transitions(path: Path, max_frames: int, motion: bool = False) -> Iterator[Transitions]:
    """Yield the transitions of one file in batches of at most `MAX_TRANSITIONS`, or of one clip if it has more.

    Skipped videos are left out. max_frames: largest number of frames of a clip in the file, which determines the rows
    per batch. motion: whether to read motion summaries.
    """
    import pyarrow.compute as pc

    columns = ["clip", "error", "action", *(["motion"] if motion else [])]
    for batch in read_batches(path, columns, max(1, MAX_TRANSITIONS // (max_frames - 1))):
        batch = batch.filter(pc.call_function("equal", [batch["error"], ""]))
        if batch.num_rows:
            yield Transitions(
                names=batch["clip"].to_pylist(),
                count_B=batch["action"].value_lengths().to_numpy(),
                action_XA=to_tensor(batch["action"]),
                motion_X6=to_tensor(batch["motion"]) if motion else None,
            )


def to_tensor(column: Any) -> Tensor:
    """Return the vectors of a column of lists of vectors as one tensor, vector_XA. All have the same length."""
    vectors = column.flatten()
    return torch.from_numpy(np.array(vectors.flatten()).reshape(len(vectors), -1))
