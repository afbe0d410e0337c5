"""Writer of shards: decodes each video of a folder once and stores it at the frame rate and size of training."""

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

from lawm_core.atomic_files import atomic_path, write_text
from lawm_core.data.clip_dataset import ClipCacheConfig
from lawm_core.data.folders import check_readable_videos, list_videos
from lawm_core.data.shards import FORMAT, INDEX, INTEGER_COLUMNS, METADATA, read_metadata, shard_name
from lawm_core.types import VideoError
from lawm_core.video.files import read_frames
from lawm_core.video.packed_video import pack_frames

log = logging.getLogger(__name__)
SKIPPED = ".skipped.json"  # suffix of the file beside a shard that gives the reason for each of its skipped videos


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Settings of `write_shards`.

    frames: frame rate and size of the stored videos. clips_per_shard: number of videos in each shard. workers: number
    of shards that are written in parallel. trusted: decode without the sandbox; only for files of known origin.
    """

    frames: ClipCacheConfig
    clips_per_shard: int = 256
    workers: int = 1
    trusted: bool = False

    def __post_init__(self) -> None:
        for name in ("clips_per_shard", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class ShardPlan:
    """The videos of one shard. number: index of the shard within its split."""

    split: str
    number: int
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name of the shard."""
        return shard_name(self.split, self.number)


def write_shards(
    folder: str | Path, out: str | Path, config: ShardConfig, progress: Callable[[float, str], None] | None = None
) -> dict[str, int]:
    """Pack all videos of `folder` into shards in `out`, with an index.

    Return the number of stored `clips`, of `skipped` videos, and of `shards`.

    Each shard is written atomically. After an interruption, the next run writes only shards that are missing or
    damaged. Videos that cannot be read are skipped, and shards.json lists the reasons. Only one run at a time may write
    to `out`.

    progress: called with the fraction done and the name of the last shard. Raises ValueError if `out` has shards of
    other videos or settings, and VideoError if no video can be read.
    """
    out, report = Path(out), progress or (lambda fraction, what: None)
    plans = list(plan_shards(folder, config.clips_per_shard))
    metadata = {"format": FORMAT, "config": asdict(config.frames), "corpus": corpus_fingerprint(plans)}
    out.mkdir(parents=True, exist_ok=True)
    check_same_run(out, metadata)
    write_text(out / METADATA, json.dumps(metadata | {"skipped": {}}, indent=1) + "\n")
    for unfinished in out.glob(".*.tar.*"):  # of an interrupted run
        unfinished.unlink()
    missing = [plan for plan in plans if read_shard(plan, out) is None]
    with ThreadPoolExecutor(config.workers) as pool:
        for done, plan in enumerate(pool.map(lambda plan: write_shard(plan, out, config), missing), start=1):
            report(done / len(missing), plan.name)
    skipped = {}
    for path in sorted(out.glob(f"*{SKIPPED}")):
        skipped |= json.loads(path.read_text(encoding="utf-8"))
    clips = write_index(plans, out)
    check_readable_videos(folder, clips, skipped)
    write_text(out / METADATA, json.dumps(metadata | {"skipped": skipped}, indent=1) + "\n")
    return {"clips": clips, "skipped": len(skipped), "shards": len(plans)}


def check_same_run(out: Path, metadata: dict) -> None:
    """Raise ValueError if `out` has shards of other videos or settings, or tar files of another program.

    metadata: content of shards.json for this run, without `skipped`.
    """
    if (found := read_metadata(out)) is None:
        if stray := sorted(out.glob("*.tar")):
            raise ValueError(f"{out} has {stray[0].name}, which `lawm shards` did not write. Choose another folder.")
    elif {key: value for key, value in found.items() if key != "skipped"} != metadata:
        raise ValueError(f"{out} has shards of other videos or other settings. Choose another folder.")


def plan_shards(folder: str | Path, clips_per_shard: int) -> Iterator[ShardPlan]:
    """Yield which videos to store in which shard.

    The videos of each split are sorted by a hash of their names, so that each shard is a random sample of its split.
    Raises ValueError if there are no videos, or if the name of a split has other characters than letters, digits and _.
    """
    videos = list_videos(folder)
    for split in sorted({split for _, split in videos}):
        if not re.fullmatch(r"[A-Za-z0-9_]+", split):
            raise ValueError(f"the name of a split must consist of letters, digits and _, got {split!r}.")
        paths = sorted(
            (path for path, video_split in videos if video_split == split),
            key=lambda path: (sha256(path.name), path.name),
        )
        for number, start in enumerate(range(0, len(paths), clips_per_shard)):
            yield ShardPlan(split, number, tuple(paths[start : start + clips_per_shard]))


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def corpus_fingerprint(plans: list[ShardPlan]) -> str:
    """Return a hash of the name, size and shard of every video.

    Modification times are left out, because they change when files are copied.
    """
    size = lambda path: path.stat().st_size if path.is_file() else 0
    files = [(plan.split, plan.number, path.name, size(path)) for plan in plans for path in plan.paths]
    return sha256(json.dumps(files))[:16]


def write_shard(plan: ShardPlan, out: Path, config: ShardConfig) -> ShardPlan:
    """Write one tar file in WebDataset's layout, with KEY.mp4 and KEY.json for every clip. Return the plan.

    The reasons for skipped videos are written to a file beside it.
    """
    shard, skipped = out / plan.name, {}
    with atomic_path(shard) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, path in enumerate(plan.paths):
            try:
                packed, metadata = pack_video(path, plan.split, config)
            except VideoError as error:
                skipped[path.name] = str(error)
                continue
            for suffix, data in (("mp4", packed), ("json", json.dumps(metadata).encode())):
                # An entry has no time and no owner, so that the same videos give the same bytes.
                entry = tarfile.TarInfo(f"{plan.number:06d}{number:05d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        # Written while the shard still has its temporary name, because a later run skips shards that are complete.
        reasons = shard.with_suffix(SKIPPED)
        write_text(reasons, json.dumps(skipped)) if skipped else reasons.unlink(missing_ok=True)
    return plan


def pack_video(path: Path, split: str, config: ShardConfig) -> tuple[bytes, dict]:
    """Return a video, decoded and compressed again at the configured rate and size, and the content of its KEY.json.

    Raises VideoError if the video cannot be read.
    """
    rate, shapes = config.frames.frames_per_second, []

    def parts() -> Iterator[np.ndarray]:
        for byte_TCHW in read_frames(path, rate, config.frames.short_side, config.trusted):
            shapes.append(byte_TCHW.shape)
            yield byte_TCHW.numpy()

    packed = pack_frames(parts(), rate)
    height, width = shapes[-1][2:]
    metadata = {"name": path.name, "split": split, "frames": sum(shape[0] for shape in shapes)}
    return packed, metadata | {"height": height, "width": width, "frames_per_second": rate}


def write_index(plans: list[ShardPlan], out: Path) -> int:
    """Write index.parquet with the position of every clip, and return the number of clips.

    Positions are read from the shards themselves. Raises ValueError if a shard is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = [(name, pa.int64()) for name in INTEGER_COLUMNS]
    schema = pa.schema([("name", pa.string()), ("split", pa.string()), *integers])
    clips = 0
    with atomic_path(out / INDEX) as part, pq.ParquetWriter(part, schema, compression="zstd") as index:
        for plan in plans:
            if (rows := read_shard(plan, out)) is None:
                raise ValueError(
                    f"{out / plan.name} was damaged or deleted after it was written; run the command again."
                )
            clips += len(rows)
            if rows:
                index.write_table(pa.Table.from_pylist(rows, schema=schema))
    return clips


def read_shard(plan: ShardPlan, out: Path) -> list[dict] | None:
    """Return the rows of the index for the clips of a shard, or None if the shard is missing or damaged."""
    rows, video = [], None
    try:
        with tarfile.open(out / plan.name, "r:") as tar:
            for entry in tar:
                if entry.name.endswith(".mp4"):
                    video = entry
                    continue
                content = tar.extractfile(entry)
                if content is None or video is None:
                    raise ValueError(f"{entry.name} does not follow a video")
                row = json.loads(content.read())
                row.pop("frames_per_second")
                rows.append(row | {"shard": plan.number, "offset": video.offset_data, "bytes": video.size})
    except FileNotFoundError:
        return None
    except (tarfile.TarError, ValueError, KeyError, AttributeError) as error:
        log.warning("%s is damaged (%s) and must be written again.", plan.name, error)
        return None
    return rows
