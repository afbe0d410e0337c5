"""Where all transitions of an extraction lie on a map of some of them: MAP/places, a Parquet file for each of rows.

They lie beside the map and not beside the rows, since they mean nothing without it: an extraction may have many maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lawm_core.evaluation.library import ActionLibrary
from lawm_core.evaluation.rows import Transitions, parquet_files, read_about, read_transitions
from lawm_core.saving import atomic_path, write_text
from lawm_core.schema import sum_of

PLACES, OF = "places", "of.json"


def place_fields() -> list[tuple[str, Any]]:
    """A row a transition: from frame `frame` of `clip` to the next.

    Coordinates are the map's own. approximate: placed between the nearest points of the map; False for those points
    themselves.
    """
    import pyarrow as pa

    places = [(name, pa.float32()) for name in ("umap_x", "umap_y", "pca_x", "pca_y")]
    return [("clip", pa.string()), ("frame", pa.int32()), *places, ("approximate", pa.bool_())]


def place_all(extraction: str | Path, library: ActionLibrary) -> int:
    """Writes the places of all transitions of an extraction on a map of a sample of it; how many there are.

    The files lie in `places` beside the map's own, of the same names as the extraction's; each is there whole or not at
    all. Those that are there stay, where the map is the same: a stopped run goes on. Raises ValueError where the map is
    another model's, or of other settings.
    """
    import pyarrow.parquet as pq

    extraction, home = Path(extraction), library.sprite.parent / PLACES
    made_by, what = read_about(extraction)
    if (made_by, what) != (library.index.fingerprint, library.index.config):
        raise ValueError(f"{home.parent} is not a map of {extraction}: another model's, or of other settings.")
    demand_places_of(library, home)
    first, names, total = first_points(library), set(), 0
    for path in parquet_files(extraction):
        names.add(path.name)
        if not (placed := home / path.name).is_file():
            place_file(path, placed, what.frames, library, first)
        total += pq.read_metadata(placed).num_rows
    for gone in {path.name for path in home.glob("*.parquet")} - names:
        (home / gone).unlink()  # its rows are gone; their videos were done again, and lie in other files
    return total


def demand_places_of(library: ActionLibrary, home: Path) -> None:
    """Makes the folder, and empties it where its places are of another map."""
    home.mkdir(exist_ok=True)
    stamp = json.dumps([sum_of(home.parent / name) for name in ("library.json", "library.safetensors")])
    if (home / OF).is_file() and (home / OF).read_text() == stamp:
        return
    (home / OF).unlink(missing_ok=True)  # first: what a stop leaves is never taken for the new map's
    for old in home.glob("*.parquet"):
        old.unlink()
    write_text(home / OF, stamp)


def place_file(path: Path, out: Path, frames: int, library: ActionLibrary, first: dict[tuple[str, int], int]) -> None:
    """One file of rows to one of places; frames: the most that a clip has; first: as `first_points` tells."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, repeated = pa.schema(place_fields()), ["clip", "frame"]
    with atomic_path(out) as part, pq.ParquetWriter(part, schema, use_dictionary=repeated) as writer:
        for some in read_transitions(path, frames):
            writer.write_table(pa.table(place_rows(some, library, first), schema=schema))


def first_points(library: ActionLibrary) -> dict[tuple[str, int], int]:
    """The first point on the map of each of its clips, by name and transitions."""
    clips = [(clip.name, clip.frames - 1) for clip in library.index.clips]
    point_C = np.cumsum([0, *(count for _, count in clips)])
    return dict(zip(clips, point_C.tolist(), strict=False))


def place_rows(some: Transitions, library: ActionLibrary, first: dict[tuple[str, int], int]) -> dict[str, np.ndarray]:
    """The columns of `place_fields`, of some clips."""
    frame_X = np.concatenate([np.arange(count) for count in some.count_C])
    # Those of the map's own clips are where they are; -1: of none of them.
    first_C = [first.get(clip, -1) for clip in zip(some.names, some.count_C.tolist(), strict=True)]
    first_X = np.repeat(first_C, some.count_C)
    other_X = torch.from_numpy(first_X < 0)
    point_X = torch.from_numpy(first_X + frame_X)[~other_X]
    umap_X2, pca_X2 = torch.empty(len(frame_X), 2), torch.empty(len(frame_X), 2)
    umap_X2[~other_X], pca_X2[~other_X] = library.umap_P2[point_X], library.pca_P2[point_X]
    if other_X.any():
        umap_X2[other_X], pca_X2[other_X] = library.place(some.action_XA[other_X])
    places = torch.cat([umap_X2, pca_X2], dim=1).numpy().T
    named = dict(zip(("umap_x", "umap_y", "pca_x", "pca_y"), places, strict=True))
    return {
        "clip": np.repeat(np.array(some.names, object), some.count_C),
        "frame": frame_X.astype(np.int32),
        **named,
        "approximate": other_X.numpy(),
    }


def read_places(home: str | Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of the places beside a map, file by file."""
    import pyarrow.parquet as pq

    for path in sorted((Path(home) / PLACES).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
