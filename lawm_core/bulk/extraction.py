"""Extraction of the latent actions of many videos with Ray Data: its processes decode videos and run models.

Each video becomes one row of a Parquet file. These files are the only record of progress: Ray repeats the work of a
worker that fails, and after an interruption the next run continues with the videos that have no row. No row is
therefore lost or duplicated.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lawm_core.bulk.extraction_store import (
    PARQUET_OPTIONS,
    ROWS,
    list_rows,
    remove_incomplete,
    row_fields,
    start_extraction,
)
from lawm_core.checkpoint import find_model, fingerprint, load_model
from lawm_core.data.folders import check_readable_videos, list_videos
from lawm_core.library.build import describe_clip, read_library_clip
from lawm_core.library.library import LibraryConfig
from lawm_core.runtime import pick_device
from lawm_core.types import VideoError


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """Settings of `extract`.

    library: family, capacity and maximum number of frames per clip, as for a library. models: number of model
    processes. processors, gpus: processor cores and GPUs of each model process; videos are decoded beside them on idle
    cores, one core per video. clips_per_file: rows of a Parquet file; an interrupted run loses at most one unfinished
    file per model process. trusted: decode without the sandbox; only for files of known origin. Raises ValueError if a
    number is too small.
    """

    library: LibraryConfig = field(default_factory=LibraryConfig)
    models: int = 1
    processors: float = 1.0
    gpus: float = 0.0
    clips_per_file: int = 64
    trusted: bool = False

    def __post_init__(self) -> None:
        for name in ("models", "clips_per_file"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.processors <= 0:
            raise ValueError(f"processors must be above 0, got {self.processors:g}.")
        if self.gpus < 0:
            raise ValueError(f"gpus must be at least 0, got {self.gpus:g}.")


def extract(
    folder: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    config: ExtractionConfig | None = None,
    address: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Infer the latent actions of every video in `folder`, and write them to `out`/clips.

    Return the number of extracted clips, and the reason for each skipped video by name.

    Videos that an earlier run with the same model and settings has finished are not repeated. Only one run at a time
    may write to `out`. model: name or folder of the model, as for `load_model`. address: address of a Ray cluster; None
    uses the cluster that this process has joined with `ray.init`, or this machine.

    Raises ValueError if `out` has rows of another model or other settings, or if two videos have the same name, and
    VideoError if no video can be read.
    """
    config, out = config or ExtractionConfig(), Path(out).resolve()
    start_extraction(out, fingerprint(model), config.library)
    remove_incomplete(out)
    names, skipped = list_rows(out)
    rows = [{"clip": path.name, "path": str(path.resolve())} for path, _ in list_videos(folder)]
    if duplicates := [name for name, count in Counter(row["clip"] for row in rows).items() if count > 1]:
        raise ValueError(f"names of videos must be unique, got {duplicates[0]} twice. Rename one of them.")
    if rows := [row for row in rows if row["clip"] not in names]:
        with connect(address):
            run_pipeline(rows, out / ROWS, find_model(model).resolve(), config)
        names, skipped = list_rows(out)
    clips = len(names) - len(skipped)
    check_readable_videos(folder, clips, skipped)
    return clips, skipped


def run_pipeline(rows: list[dict[str, str]], out: Path, model: Path, config: ExtractionConfig) -> None:
    """Decode videos, infer their actions, and write one row for each to Parquet files in `out`.

    rows: name (`clip`) and `path` of each video. model: folder of the model.
    """
    ray = load_ray()
    loaded = load_model(model)
    decode = Decoder(loaded.frames_per_second, loaded.frame_size, config.library.frames, config.trusted)
    # Blocks are small, so that all models have work and few decoded videos are in memory at once.
    blocks = max(1, min(len(rows), max(4 * config.models, math.ceil(len(rows) / 16))))
    decoded = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        decode, batch_size=1, batch_format="pyarrow", num_cpus=1
    )
    described = decoded.map_batches(
        ModelWorker, fn_constructor_args=(model, config), batch_size=1, batch_format="pyarrow",
        num_cpus=config.processors, num_gpus=config.gpus, compute=ray.data.ActorPoolStrategy(size=config.models),
    )  # fmt: skip
    # Row groups are small, because readers hold at least one of them in memory.
    size = config.clips_per_file
    described.write_parquet(str(out), min_rows_per_file=size, row_group_size=size, **PARQUET_OPTIONS)


@dataclass(frozen=True)
class Decoder:
    """Function for Ray that decodes one video per call to the bytes of float32 frames, or to an error.

    frames_per_second, size: rate of the frames, and their height and width in pixels. frames: maximum number of frames.
    trusted: decode without the sandbox.
    """

    frames_per_second: float
    size: int
    frames: int
    trusted: bool

    def __call__(self, table: Any) -> Any:
        """Return a table with one row and the columns clip, frames and error.

        table: one row with the columns clip (name) and path. If the video cannot be read, frames is null and error is
        the reason; otherwise error is empty.
        """
        import pyarrow as pa

        clip, path, frames, error = table["clip"][0].as_py(), table["path"][0].as_py(), None, ""
        try:
            frame_TCHW = read_library_clip(path, self.frames_per_second, self.size, self.frames, self.trusted)
            frames = frame_TCHW.numpy().tobytes()
        except (VideoError, OSError) as reason:
            error = str(reason)
        fields = [("clip", pa.string()), ("frames", pa.large_binary()), ("error", pa.string())]
        return pa.table({"clip": [clip], "frames": [frames], "error": [error]}, schema=pa.schema(fields))


class ModelWorker:
    """Function for Ray that holds a model in its own process and infers the actions and motion summaries of clips.

    Each call handles one clip. model: folder of the model.
    """

    def __init__(self, model: Path, config: ExtractionConfig) -> None:
        self.config = config.library
        if not config.gpus:
            torch.set_num_threads(max(1, round(config.processors)))
        self.model = load_model(model, pick_device("auto" if config.gpus else "cpu"))

    def __call__(self, table: Any) -> Any:
        """Return a table with one row and the columns of `row_fields`. table: result of `Decoder`."""
        import pyarrow as pa

        row = {"clip": table["clip"][0].as_py(), "error": table["error"][0].as_py()}
        row |= dict.fromkeys(("frames", "action", "motion"), None)
        if (frames := table["frames"][0].as_py()) is not None:
            size = self.model.frame_size
            frame_TCHW = torch.frombuffer(bytearray(frames), dtype=torch.float32).unflatten(0, (-1, 3, size, size))
            found = describe_clip(self.model, frame_TCHW, self.config)
            row |= {"frames": len(frame_TCHW), "action": found["action_UA"].tolist()}
            row["motion"] = found["motion_U6"].tolist()
        return pa.Table.from_pylist([row], schema=pa.schema(row_fields()))


@contextlib.contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Context manager that joins a Ray cluster and leaves it at the end.

    It does nothing if this process has joined a cluster before. address: see `extract`.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield
        return
    ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        ray.shutdown()


def load_ray() -> Any:
    """Import Ray, which is optional. Raises ValueError if it is not installed."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise ValueError("extraction needs Ray Data; install it with: pip install -r requirements-scale.txt") from None
    return ray
