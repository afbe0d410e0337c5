"""Positions of all transitions of an extraction on an action map, which may show only a sample of them.

MAP/projection has one Parquet file for each file of the extraction. Positions are stored beside the map and not beside
the extraction, because an extraction may have several maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lawm_core.atomic_files import atomic_path, write_text
from lawm_core.bulk.extraction_store import Transitions, parquet_files, read_metadata, read_transitions
from lawm_core.library.library import INDEX, POINTS, ActionLibrary
from lawm_core.schema import file_sha256

PROJECTION, STAMP = "projection", "map.json"
POSITIONS = ("umap_x", "umap_y", "pca_x", "pca_y")
FirstPoints = dict[tuple[str, int], int]  # index of a clip's first point on the map, by (name, number of transitions)


def projection_fields() -> list[tuple[str, Any]]:
    """Return the name and Arrow type of each column of a projection, which has one row per transition.

    clip, frame: name of the clip, and index of the transition's first frame. umap_x to pca_y: position in both layouts.
    approximate: whether the clip is not on the map, so that the position is interpolated between points of the map.
    """
    import pyarrow as pa

    positions = [(name, pa.float32()) for name in POSITIONS]
    return [("clip", pa.string()), ("frame", pa.int32()), *positions, ("approximate", pa.bool_())]


def project_all(extraction: str | Path, library: ActionLibrary) -> int:
    """Write the positions of all transitions of an extraction on a map of it, and return their number.

    Each file is written atomically and has the name of the extraction's file. Files that the map already has are kept,
    so after an interruption the next run continues. Raises ValueError if the map has another model or other settings.
    """
    import pyarrow.parquet as pq

    extraction, home = Path(extraction), library.sprite.parent / PROJECTION
    if read_metadata(extraction) != (library.index.fingerprint, library.index.config):
        raise ValueError(
            f"{home.parent} is not a map of {extraction}: its model or its settings differ. Build a map of "
            "this extraction."
        )
    prepare_folder(home)
    first, names, total = first_points(library), set(), 0
    for path in parquet_files(extraction):
        names.add(path.name)
        if not (projected := home / path.name).is_file():
            project_file(path, projected, library, first)
        total += pq.read_metadata(projected).num_rows
    for path in home.glob("*.parquet"):
        if path.name not in names:  # the extraction's file was deleted; its videos are in other files now
            path.unlink()
    return total


def prepare_folder(home: Path) -> None:
    """Create MAP/projection, or delete the positions in it if the map has been built again since.

    home: path of that folder.
    """
    home.mkdir(exist_ok=True)
    stamp = json.dumps([file_sha256(home.parent / name) for name in (INDEX, POINTS)])
    if (home / STAMP).is_file() and (home / STAMP).read_text() == stamp:
        return
    (home / STAMP).unlink(missing_ok=True)  # first, so that an interruption cannot mix positions of two maps
    for stale in home.glob("*.parquet"):
        stale.unlink()
    write_text(home / STAMP, stamp)


def project_file(path: Path, out: Path, library: ActionLibrary, first: FirstPoints) -> None:
    """Write the positions of all transitions in one file of an extraction.

    path, out: file of the extraction, and file to write. first: see `first_points`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(projection_fields())
    repeated: Any = ["clip", "frame"]  # columns that are stored as dictionaries
    with atomic_path(out) as part, pq.ParquetWriter(part, schema, use_dictionary=repeated) as writer:
        for batch in read_transitions(path, library.index.config.frames):
            writer.write_table(pa.table(project_batch(batch, library, first), schema=schema))


def first_points(library: ActionLibrary) -> FirstPoints:
    """Return the index of each clip's first point on a map, by the clip's name and number of transitions."""
    clips = [(clip.name, clip.frames - 1) for clip in library.index.clips]
    first = np.cumsum([0, *(count for _, count in clips)])
    return dict(zip(clips, first.tolist(), strict=False))


def project_batch(batch: Transitions, library: ActionLibrary, first: FirstPoints) -> dict[str, np.ndarray]:
    """Return the columns of `projection_fields` for the transitions of some clips. first: see `first_points`."""
    frame_X = np.concatenate([np.arange(count) for count in batch.count_B])
    first_B = [first.get(clip, -1) for clip in zip(batch.names, batch.count_B.tolist(), strict=True)]
    first_X = np.repeat(first_B, batch.count_B)  # -1 for clips that are not on the map
    new_X = torch.from_numpy(first_X < 0)
    point_X = torch.from_numpy(first_X + frame_X)[~new_X]
    position_X4 = torch.empty(len(frame_X), 4)
    position_X4[~new_X] = torch.cat([library.umap_P2[point_X], library.pca_P2[point_X]], dim=1)
    if new_X.any():
        position_X4[new_X] = torch.cat(library.project(batch.action_XA[new_X]), dim=1)
    return {
        "clip": np.repeat(np.array(batch.names, object), batch.count_B),
        "frame": frame_X.astype(np.int32),
        **dict(zip(POSITIONS, position_X4.numpy().T, strict=True)),
        "approximate": new_X.numpy(),
    }


def read_projection(map_folder: str | Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield each row of a map's projection as a dictionary. columns: names of the columns to read; None reads all."""
    import pyarrow.parquet as pq

    for path in sorted((Path(map_folder) / PROJECTION).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
