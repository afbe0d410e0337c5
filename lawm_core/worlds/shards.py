"""Corpora as shards, for more videos than fit on a disk uncompressed: tar files in WebDataset's layout and an index.

SPLIT-NUMBER.tar holds for every clip KEY.mp4, which any tool plays, and KEY.json; index.parquet says where in which
shard each lies, so that a batch is drawn from anywhere, by number: a stream would tie its order to one number of ranks.
Reading a clip is one read at an offset, of some tens of kB.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lawm_core.contracts import VideoError
from lawm_core.video.packed import unpack_frames

FORMAT, ABOUT, INDEX = 1, "shards.json", "index.parquet"
NUMBERS = ("shard", "offset", "bytes", "frames", "height", "width")  # of a clip; its name and split are words


@dataclass(frozen=True)
class ShardedClip:
    """A clip whose video is `bytes` long and lies in shard number `shard` of its split, from `offset` on."""

    name: str
    split: str
    shard: int
    offset: int
    bytes: int
    frames: int
    height: int
    width: int


def shard_name(split: str, number: int) -> str:
    """As WebDataset's tools expand it from SPLIT-{000000..NNNNNN}.tar."""
    return f"{split}-{number:06d}.tar"


def is_sharded(home: str | Path) -> bool:
    """Whether a folder holds shards rather than videos."""
    return (Path(home) / ABOUT).is_file()


def read_about(home: Path) -> dict | None:
    """What a folder of shards says of itself, if it is one. ValueError where that is damaged."""
    return json.loads((home / ABOUT).read_text(encoding="utf-8")) if is_sharded(home) else None


class ShardFootage:
    """A folder that `write_shards` made. Its videos are decoded in this process, on as many threads as this process has
    cores to itself: PyAV lets others run meanwhile.
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        try:
            about = read_about(self.home) or {"format": None}
            if about["format"] != FORMAT:
                raise ValueError(f"it is of format {about['format']}, {FORMAT} is needed")
            self.frames_per_second = float(about["config"]["frames_per_second"])
            self.short_side = int(about["config"]["short_side"])
            self.refused: dict[str, str] = dict(about["refused"])
            self._table = read_index(self.home / INDEX)
            demand_whole(self.home, self._table)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{home} does not hold whole shards: {error}. `shards` makes them, and goes on.") from None
        cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._readers = ThreadPoolExecutor(max(1, cores), thread_name_prefix="decoding")

    def clips(self, split: str) -> Sequence[ShardedClip]:
        """Those of a split."""
        return ClipRows(self._table, split)

    def lengths(self, split: str) -> np.ndarray:
        """length_C."""
        return ClipRows(self._table, split).column("frames")

    def read(self, pieces: Sequence[tuple[ShardedClip, int]], count: int, stride: int) -> list[np.ndarray]:
        """Decoded side by side. Raises VideoError that names the clip and its shard."""
        return list(self._readers.map(lambda piece: self._read(*piece, count, stride), pieces))

    def _read(self, clip: ShardedClip, start: int, count: int, stride: int) -> np.ndarray:
        shard = self.home / shard_name(clip.split, clip.shard)
        try:
            with shard.open("rb") as file:
                file.seek(clip.offset)
                packed = file.read(clip.bytes)
            return unpack_frames(packed, self.frames_per_second, clip.height, clip.width, start, count, stride)
        except (OSError, VideoError) as error:
            raise VideoError(f"{clip.name} in {shard.name}: {error}") from None


class ClipRows(Sequence):
    """The clips of one split, made when they are asked for: of a million there is a table, and no objects."""

    def __init__(self, table, split: str) -> None:
        import pyarrow.compute as pc

        self._split, self._rows = split, table.filter(pc.equal(table["split"], split)).combine_chunks()
        self._columns = {name: self._rows[name].to_numpy() for name in NUMBERS}

    def __len__(self) -> int:
        return self._rows.num_rows

    def __getitem__(self, index: int) -> ShardedClip:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        numbers = {name: int(column[index]) for name, column in self._columns.items()}
        return ShardedClip(name=self._rows["name"][int(index) % len(self)].as_py(), split=self._split, **numbers)

    def column(self, name: str) -> np.ndarray:
        """A number of every clip."""
        return self._columns[name]


def demand_whole(home: Path, table) -> None:
    """ValueError where a shard is missing or too short: now, and not in the midst of a training."""
    import pyarrow.compute as pc

    ends = table.select(["split", "shard"]).append_column("end", pc.add(table["offset"], table["bytes"]))
    for row in ends.group_by(["split", "shard"]).aggregate([("end", "max")]).to_pylist():
        shard = home / shard_name(row["split"], row["shard"])
        size = shard.stat().st_size if shard.is_file() else None
        if size is None or size < row["end_max"]:
            raise ValueError(f"{shard.name} {'is missing' if size is None else f'has only {size} bytes'}")


def read_index(path: Path):
    """The table of all clips. ValueError where it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=["name", "split", *NUMBERS])
    except pa.ArrowException as error:
        raise ValueError(f"{path.name} cannot be read ({str(error).splitlines()[0]})") from None
