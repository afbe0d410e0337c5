"""The latent actions of a corpus of videos, by Ray Data: decoded and inferred by many processes, to Parquet.

A row a video. What is done is what lies in the Parquet files: Ray does again what a worker that died was at, and a run
that was stopped goes on with the videos that have no row yet, so nothing is lost or doubled.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lawm_core.checkpoint import find_model, fingerprint, load_model
from lawm_core.contracts import VideoError
from lawm_core.evaluation.librarian import describe_clip
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.rows import FORMAT, PACKING, ROWS, count_rows, demand_same, remove_unfinished, row_fields
from lawm_core.runtime import pick_device
from lawm_core.video.files import read_clip
from lawm_core.video.info import DecodeLimits
from lawm_core.worlds.folders import demand_readable, list_videos


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """what: family, capacity and lengths, as of a library.

    models: how many infer at once. processors, gpus: that each of them takes; a video that is decoded takes one
    processor, and as many are decoded at once as there are free ones and as models can follow. clips_a_file: rows of a
    Parquet file; a run that is stopped loses at most so many a model. trusted: videos of known origin, see `read_clip`.
    """

    what: LibraryConfig = field(default_factory=LibraryConfig)
    models: int = 1
    processors: float = 1.0
    gpus: float = 0.0
    clips_a_file: int = 64
    trusted: bool = False

    def __post_init__(self) -> None:
        if min(self.models, self.clips_a_file) < 1 or self.processors <= 0 or self.gpus < 0:
            raise ValueError(
                f"{self.models} models of {self.processors:g} processors and {self.gpus:g} GPUs, {self.clips_a_file} "
                "clips a file; needed: at least one model, on more than no processor, and one clip."
            )


def extract(
    folder: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    config: ExtractionConfig | None = None,
    address: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Infers the latent actions of every video in `folder` into OUT/clips; return how many clips are there, and why
    others were refused.

    address: of a Ray cluster; without one, the one that was joined before (`ray.init`), or this machine alone. What an
    earlier run with the same model and settings has done is not done again; one run at a time writes to OUT. ValueError
    where it holds anything else, or two videos have one name.
    """
    config, out = config or ExtractionConfig(), Path(out).resolve()
    demand_same(out, {"format": FORMAT, "fingerprint": fingerprint(model), "what": asdict(config.what)})
    remove_unfinished(out)
    done, refused = count_rows(out)
    rows = [{"clip": path.name, "path": str(path.resolve())} for path, _ in list_videos(folder)]
    demand_names(row["clip"] for row in rows)
    if rows := [row for row in rows if row["clip"] not in done]:
        with joined(address):
            run(rows, out / ROWS, find_model(model).resolve(), config)
        done, refused = count_rows(out)
    demand_readable(folder, len(done) - len(refused), refused)
    return len(done) - len(refused), refused


def demand_names(names: Iterable[str]) -> None:
    """ValueError where one comes twice: a row is known by its video's name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two videos are called {name}; needed: a name of its own for each.")
        seen.add(name)


def run(rows: list[dict[str, str]], out: Path, model: Path, config: ExtractionConfig) -> None:
    """The pipeline, over videos that have no row yet."""
    ray = load_ray()
    loaded = load_model(model)
    read = Reader(loaded.frames_per_second, loaded.frame_size, config.what.frames, config.trusted)
    # Blocks small enough that every model has its share, and that decoded frames lie about for few videos.
    blocks = max(1, min(len(rows), max(4 * config.models, math.ceil(len(rows) / 16))))
    (
        ray.data.from_items(rows, override_num_blocks=blocks)
        .map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=1)
        .map_batches(
            Describer, fn_constructor_args=(model, config), batch_size=1, batch_format="pyarrow",
            num_cpus=config.processors, num_gpus=config.gpus, compute=ray.data.ActorPoolStrategy(size=config.models),
        )
        # Small row groups: whoever reads has one of them in memory at least.
        .write_parquet(
            str(out), min_rows_per_file=config.clips_a_file, row_group_size=config.clips_a_file, **PACKING
        )
    )  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """Decodes one video a call: its frames as the bytes of float32, or why there are none."""

    frames_per_second: float
    size: int
    frames: int
    trusted: bool

    def __call__(self, table: Any) -> Any:
        """Columns clip, path to clip, frames, error."""
        import pyarrow as pa

        clip, path = table["clip"][0].as_py(), table["path"][0].as_py()
        frames, error = None, ""
        try:
            video = read_clip(
                path,
                self.frames_per_second,
                self.size,
                num_frames=self.frames,
                trusted=self.trusted,
                limits=DecodeLimits.unattended(),
            )
            frames = video.frame_TCHW.numpy().tobytes()
        except (VideoError, OSError) as refusal:
            error = str(refusal)
        fields = [("clip", pa.string()), ("frames", pa.large_binary()), ("error", pa.string())]
        return pa.table({"clip": [clip], "frames": [frames], "error": [error]}, schema=pa.schema(fields))


class Describer:
    """A model in a process of its own: frames to latent actions and motions."""

    def __init__(self, model: Path, config: ExtractionConfig) -> None:
        self.what = config.what
        if not config.gpus:
            torch.set_num_threads(max(1, round(config.processors)))
        self.model = load_model(model, pick_device("auto" if config.gpus else "cpu"))

    def __call__(self, table: Any) -> Any:
        """Columns clip, frames, error to those of `row_fields`."""
        import pyarrow as pa

        row = {"clip": table["clip"][0].as_py(), "error": table["error"][0].as_py()}
        row |= dict.fromkeys(("frames", "action", "motion"), None)
        if (frames := table["frames"][0].as_py()) is not None:
            side = self.model.frame_size
            frame_TCHW = torch.frombuffer(bytearray(frames), dtype=torch.float32).unflatten(0, (-1, 3, side, side))
            found = describe_clip(self.model, frame_TCHW, self.what)
            row["frames"] = len(frame_TCHW)
            row |= {"action": found["action_UA"].tolist(), "motion": found["motion_U6"].tolist()}
        return pa.Table.from_pylist([row], schema=pa.schema(row_fields()))


@contextlib.contextmanager
def joined(address: str | None) -> Iterator[None]:
    """On a Ray cluster for the block; on the one that was joined before, if any."""
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
    """Ray, which is large, and needed here alone."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise ValueError("extraction runs on Ray Data; it needs: pip install -r requirements-scale.txt") from None
    return ray
