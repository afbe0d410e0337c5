"""Reader of shards: tar files of compressed videos in WebDataset's layout, with an index.

Shards are for data sets that are too large to store uncompressed. SPLIT-NUMBER.tar contains KEY.mp4, which any player
opens, and KEY.json for every clip. index.parquet gives the position of each clip in its tar file. A batch can therefore
draw clips at random, and reading a clip takes a single read of some tens of kB. If shards were read as a stream
instead, the order of clips would depend on the number of ranks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lawm_core.data.frame_store import StoredClip
from lawm_core.types import VideoError
from lawm_core.video.packed_video import unpack_frames

FORMAT, METADATA, INDEX = 2, "shards.json", "index.parquet"
INTEGER_COLUMNS = ("shard", "offset", "bytes", "frames", "height", "width")  # of the index, besides name and split


@dataclass(frozen=True)
class ShardedClip(StoredClip):
    """A clip whose mp4 file is at bytes `offset` to `offset + bytes` of shard number `shard` of its split."""

    shard: int
    offset: int
    bytes: int


def shard_name(split: str, number: int) -> str:
    """Return the file name of a shard, such as train-000012.tar.

    WebDataset's tools accept all shards of a split as one pattern, SPLIT-{000000..NNNNNN}.tar.
    """
    return f"{split}-{number:06d}.tar"


def is_sharded(home: str | Path) -> bool:
    """Return whether a folder contains shards instead of videos."""
    return (Path(home) / METADATA).is_file()


def read_metadata(home: Path) -> dict | None:
    """Return the content of shards.json, or None if there is no such file. Raises ValueError if it is damaged."""
    return json.loads((home / METADATA).read_text(encoding="utf-8")) if is_sharded(home) else None


class ShardFrameStore:
    """Store of a folder of shards that `write_shards` wrote. Raises ValueError if it is incomplete or damaged.

    Videos are decoded in this process, in one thread per processor core of this rank. Threads run in parallel because
    PyAV releases the GIL.
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        try:
            metadata = read_metadata(self.home) or {"format": None}
            if metadata["format"] != FORMAT:
                raise ValueError(f"the format of {METADATA} must be {FORMAT}, got {metadata['format']}")
            self.frames_per_second = float(metadata["config"]["frames_per_second"])
            self.short_side = int(metadata["config"]["short_side"])
            self.skipped: dict[str, str] = dict(metadata["skipped"])
            self._table = read_index(self.home / INDEX)
            check_complete(self.home, self._table)
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = f"{METADATA} has no field {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{home} does not have complete shards: {reason}. Run `lawm shards` again to write what is missing."
            ) from None
        cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._threads = ThreadPoolExecutor(max(1, cores), thread_name_prefix="decoding")

    def clips(self, split: str) -> Sequence[ShardedClip]:
        """Return the clips of a split."""
        return ClipTable(self._table, split)

    def lengths(self, split: str) -> np.ndarray:
        """Return length_X, the number of frames of each clip of a split, in the order of `clips`."""
        return ClipTable(self._table, split).column("frames")

    def read(self, windows: Sequence[tuple[ShardedClip, int]], count: int, stride: int) -> list[np.ndarray]:
        """Same as `FrameStore.read`; windows are decoded in parallel.

        Raises VideoError with the names of the clip and the shard if a clip cannot be decoded.
        """
        return list(self._threads.map(lambda window: self._read(window, count, stride), windows))

    def _read(self, window: tuple[ShardedClip, int], count: int, stride: int) -> np.ndarray:
        """Decode one window, see `read`."""
        clip, start = window
        shard = self.home / shard_name(clip.split, clip.shard)
        try:
            with shard.open("rb") as file:
                file.seek(clip.offset)
                packed = file.read(clip.bytes)
            return unpack_frames(packed, self.frames_per_second, clip.height, clip.width, start, count, stride)
        except (OSError, VideoError) as error:
            raise VideoError(f"{clip.name} in {shard.name}: {error}") from None


class ClipTable(Sequence):
    """Sequence of the clips of one split.

    They are stored as a table and become objects one by one, because a million objects would fill the memory. table:
    all clips, see `read_index`.
    """

    def __init__(self, table, split: str) -> None:
        import pyarrow.compute as pc

        self._split, self._rows = (
            split,
            table.filter(pc.call_function("equal", [table["split"], split])).combine_chunks(),
        )
        self._columns = {name: self._rows[name].to_numpy() for name in INTEGER_COLUMNS}

    def __len__(self) -> int:
        return self._rows.num_rows

    def __getitem__(self, index: int) -> ShardedClip:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be in [-{len(self)}, {len(self) - 1}], got {index}")
        integers = {name: int(column[index]) for name, column in self._columns.items()}
        return ShardedClip(name=self._rows["name"][int(index) % len(self)].as_py(), split=self._split, **integers)

    def column(self, name: str) -> np.ndarray:
        """Return the values of one of INTEGER_COLUMNS for all clips."""
        return self._columns[name]


def check_complete(home: Path, table) -> None:
    """Raise ValueError if a shard is missing or truncated, so that this is found before training starts.

    home: folder of the shards. table: all clips, see `read_index`.
    """
    import pyarrow.compute as pc

    ends = table.select(["split", "shard"]).append_column(
        "end", pc.call_function("add", [table["offset"], table["bytes"]])
    )
    for row in ends.group_by(["split", "shard"]).aggregate([("end", "max")]).to_pylist():
        shard = home / shard_name(row["split"], row["shard"])
        size = shard.stat().st_size if shard.is_file() else None
        if size is None or size < row["end_max"]:
            found = "is missing" if size is None else f"has only {size} bytes of at least {row['end_max']}"
            raise ValueError(f"{shard.name} {found}")


def read_index(path: Path):
    """Return index.parquet as a table with one row per clip. Raises ValueError if the file is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=["name", "split", *INTEGER_COLUMNS])
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} cannot be read ({str(error).splitlines()[0]})") from None
