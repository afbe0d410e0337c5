"""Makes shards of a folder of videos: decoded once, under the guard, at the rate and size that training needs."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lawm_core.contracts import VideoError
from lawm_core.saving import atomic_path, write_text
from lawm_core.video.files import read_frames
from lawm_core.video.packed import pack_frames
from lawm_core.worlds.clips import ClipCacheConfig
from lawm_core.worlds.folders import demand_readable, list_videos
from lawm_core.worlds.shards import ABOUT, FORMAT, INDEX, NUMBERS, read_about, shard_name

log = logging.getLogger(__name__)
REFUSED = ".refused.json"  # beside a shard: which of its videos it has not, and why


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """footage: rate and size, as of a cache. clips: videos of a shard. workers: shards that are made at once."""

    footage: ClipCacheConfig
    clips: int = 256
    workers: int = 1
    trusted: bool = False

    def __post_init__(self) -> None:
        if min(self.clips, self.workers) < 1:
            raise ValueError(f"{self.clips} clips a shard, {self.workers} workers; needed: 1 or more of each.")


@dataclass(frozen=True)
class Lot:
    """The videos that one shard is made of."""

    split: str
    number: int
    paths: tuple[Path, ...]


def write_shards(
    folder: str | Path,
    out: str | Path,
    config: ShardConfig,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, int]:
    """Shards of all videos of `folder` in OUT, and their index; how many `clips`, `refused`, `shards` there are.

    A shard is whole or not there: a run that was stopped goes on with those that are missing, and makes damaged ones
    anew. Videos that cannot be read are left out and named. One run at a time writes to OUT; ValueError where it holds
    anything else.
    """
    out, lots = Path(out), list(deal(folder, config.clips))
    about = {"format": FORMAT, "config": asdict(config.footage), "corpus": corpus_mark(lots)}
    out.mkdir(parents=True, exist_ok=True)
    demand_same(out, about)
    write_text(out / ABOUT, json.dumps(about | {"refused": {}}, indent=1) + "\n")
    for unfinished in out.glob(".*.tar.*"):  # of a run that was killed
        unfinished.unlink()
    missing = [lot for lot in lots if read_shard(lot, out) is None]
    with ThreadPoolExecutor(config.workers) as pool:
        for done, lot in enumerate(pool.map(lambda lot: write_shard(lot, out, config), missing), start=1):
            if progress:
                progress(done / len(missing), shard_name(lot.split, lot.number))
    refused = {}
    for path in sorted(out.glob(f"*{REFUSED}")):
        refused |= json.loads(path.read_text(encoding="utf-8"))
    clips = write_index(lots, out)
    demand_readable(folder, clips, refused)
    write_text(out / ABOUT, json.dumps(about | {"refused": refused}, indent=1) + "\n")
    return {"clips": clips, "refused": len(refused), "shards": len(lots)}


def demand_same(out: Path, about: dict) -> None:
    """ValueError where OUT holds shards of other videos or settings, or any that are not ours."""
    if (found := read_about(out)) is None:
        if stray := sorted(out.glob("*.tar")):
            raise ValueError(f"{out} holds {stray[0].name}, which was not made by `shards`. Name another folder.")
    elif {k: v for k, v in found.items() if k != "refused"} != about:
        raise ValueError(f"{out} holds shards of other videos or of another size. Name another folder.")


def deal(folder: str | Path, clips: int) -> Iterator[Lot]:
    """Each split's videos in an order that has nothing to do with what they show, so that a shard is a sample."""
    videos = list_videos(folder)
    for split in sorted({split for _, split in videos}):
        if not re.fullmatch(r"[A-Za-z0-9_]+", split):
            raise ValueError(f"a split is called {split!r}; a shard's name takes letters, digits and _.")
        mixed = sorted((path for path, of in videos if of == split), key=lambda path: (mark(path.name), path.name))
        for number, first in enumerate(range(0, len(mixed), clips)):
            yield Lot(split, number, tuple(mixed[first : first + clips]))


def mark(text: str) -> str:
    """A hash that says nothing but who."""
    return hashlib.sha256(text.encode()).hexdigest()


def corpus_mark(lots: list[Lot]) -> str:
    """Of which videos go where, by name and size: times change as a corpus is copied."""
    files = [(lot.split, lot.number, p.name, p.stat().st_size if p.is_file() else 0) for lot in lots for p in lot.paths]
    return mark(json.dumps(files))[:16]


def write_shard(lot: Lot, out: Path, config: ShardConfig) -> Lot:
    """One tar file in WebDataset's layout: KEY.mp4 and KEY.json of every clip. The lot itself."""
    shard, refused = out / shard_name(lot.split, lot.number), {}
    beside = shard.with_suffix(REFUSED)
    with atomic_path(shard) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, path in enumerate(lot.paths):
            try:
                packed, about = pack(path, lot.split, config)
            except VideoError as error:
                refused[path.name] = str(error)
                continue
            key = f"{lot.number:06d}{number:05d}"
            add(tar, f"{key}.mp4", packed)
            add(tar, f"{key}.json", json.dumps(about).encode())
        # Before the shard takes its name: one that is there is not looked at again.
        write_text(beside, json.dumps(refused)) if refused else beside.unlink(missing_ok=True)
    return lot


def pack(path: Path, split: str, config: ShardConfig) -> tuple[bytes, dict]:
    """A video's bytes and what its KEY.json says. Raises VideoError."""
    rate, shape, frames = config.footage.frames_per_second, (0, 0), 0

    def pieces() -> Iterator[np.ndarray]:
        nonlocal shape, frames
        for byte_TCHW in read_frames(path, rate, config.footage.short_side, config.trusted):
            shape, frames = tuple(byte_TCHW.shape[2:]), frames + len(byte_TCHW)
            yield byte_TCHW.numpy()

    packed = pack_frames(pieces(), rate)
    about = {"name": path.name, "split": split, "frames": frames, "height": shape[0], "width": shape[1]}
    return packed, about | {"frames_per_second": rate}


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file of a shard, without times and owners: the same videos give the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def write_index(lots: list[Lot], out: Path) -> int:
    """Where every clip lies; how many there are. Shards are read for it, not what made them: it tells what is there.

    ValueError where one has been damaged meanwhile.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("name", pa.string()), ("split", pa.string()), *((number, pa.int64()) for number in NUMBERS)]
    clips = 0
    with (
        atomic_path(out / INDEX) as part,
        pq.ParquetWriter(part, pa.schema(fields), compression="zstd") as index,
    ):
        for lot in lots:
            if (rows := read_shard(lot, out)) is None:
                raise ValueError(f"{out / shard_name(lot.split, lot.number)} cannot be read any more; start again.")
            clips += len(rows)
            if rows:
                index.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)))
    return clips


def read_shard(lot: Lot, out: Path) -> list[dict] | None:
    """A row of the index for every clip of a shard; None where it is missing or damaged."""
    shard, rows, video = out / shard_name(lot.split, lot.number), [], None
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                if entry.name.endswith(".mp4"):
                    video = entry
                    continue
                about = json.loads(tar.extractfile(entry).read())
                about.pop("frames_per_second")
                rows.append(about | {"shard": lot.number, "offset": video.offset_data, "bytes": video.size})
    except FileNotFoundError:
        return None
    except (tarfile.TarError, ValueError, KeyError, AttributeError) as error:
        log.warning("%s is damaged (%s); it is made anew.", shard.name, error)
        return None
    return rows
