"""Episodes of a world to a folder in the layout of LeRobotDataset v3.0: see `lerobot.py`, which reads it."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.video.files import as_bytes, open_writer
from lawm_core.worlds.lerobot import ACTION, CAMERA, SCENE, STATE
from lawm_core.worlds.simulator import KnownAction, Simulator

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_A_CHUNK = 1000
TASKS = {"arm": "reach, lift, push and drop what is on the table", "rover": "drive around without hitting anything"}


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """val_share: of the episodes, the last ones. episodes_a_file: of the data and video files."""

    episodes: int = 600
    frames: int = 24
    seed: int = 0
    val_share: float = 0.1
    episodes_a_file: int = 200

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.frames < 2 or not 0 <= self.val_share < 1 or self.episodes_a_file < 1:
            raise ValueError(
                f"{self.episodes} episodes of {self.frames} frames, {self.val_share:g} of them val, "
                f"{self.episodes_a_file} a file; needed: at least 1 episode of at least 2 frames, a share below 1."
            )


@dataclass(frozen=True)
class Recording:
    """One episode: frame_TCHW in [0, 1], action_UK as it was really done, pose_TK; the scene's seed."""

    frame_TCHW: Tensor
    action_UK: np.ndarray
    pose_TK: np.ndarray
    seed: int


def play(world: Simulator, seed: int, frames: int) -> Recording:
    """One demonstrated episode of a world. Actions are told in the units and axes that `step` takes."""
    shown, poses, done = [world.reset(seed)], [world.pose()], []
    for action_K in world.demonstrate(frames - 1):
        shown.append(world.step(action_K))
        poses.append(world.pose())
        done.append(world.action_between(poses[-2], poses[-1]))
    return Recording(torch.stack(shown), np.stack(done), np.stack(poses), seed)


def return_to(world: Simulator, seed: int, frame: int) -> Any:
    """Brings a world to a frame of the episode that `play` made of a seed: that moment, as `restore` takes it."""
    world.reset(seed)
    for action_K in world.demonstrate(frame):
        world.step(action_K)
    return world.save()


def record(
    world: Simulator, out: str | Path, config: RecorderConfig, task: str, progress: Callable | None = None
) -> Path:
    """Plays `config.episodes` episodes, seeds from `config.seed` on, into a new folder; never half a folder.

    progress(fraction, what). Raises ValueError where `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists; needed: a folder that does not, for a fresh data set.")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        writer = LeRobotWriter(part, world.known, world.frames_per_second, config)
        for episode in range(config.episodes):
            if progress:
                progress(episode / config.episodes, f"episode {episode + 1} of {config.episodes}")
            writer.add(play(world, config.seed + episode, config.frames), task)
        writer.finish()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if progress:
        progress(1.0, "done")
    return out


class LeRobotWriter:
    """Takes episodes one by one; `finish` writes what describes them."""

    def __init__(
        self, folder: Path, known: tuple[KnownAction, ...], frames_per_second: float, config: RecorderConfig
    ) -> None:
        self.folder, self.known, self.rate, self.config = folder, known, frames_per_second, config
        self.rows: list[dict] = []
        self.tasks: dict[str, int] = {}
        self.pending: list[dict[str, np.ndarray]] = []
        self.sums = {key: Statistics() for key in (ACTION, STATE, CAMERA)}
        self.video, self.frames, self.in_file = None, 0, 0
        self.shape: tuple[int, int] | None = None

    def add(self, recording: Recording, task: str) -> None:
        """The next episode. The action of its last frame, which nothing follows, is written as zeros."""
        byte_THWC = as_bytes(recording.frame_TCHW)
        action_TK = np.pad(recording.action_UK, ((0, 1), (0, 0)))
        self.shape = byte_THWC.shape[1:3]
        if self.video is None:
            path = self._path(VIDEO_PATH, video_key=CAMERA)
            self.video, self.in_file = open_writer(path, self.rate), 0
        for byte_HWC in byte_THWC:
            self.video.append_data(byte_HWC)
        length, episode = len(byte_THWC), len(self.rows)
        columns = {
            ACTION: action_TK.astype(np.float32), STATE: recording.pose_TK.astype(np.float32),
            "timestamp": (np.arange(length) / self.rate).astype(np.float32), "frame_index": np.arange(length),
            "episode_index": np.full(length, episode), "index": self.frames + np.arange(length),
            "task_index": np.full(length, self.tasks.setdefault(task, len(self.tasks))),
        }  # fmt: skip
        self.pending.append(columns)
        self._count(columns, byte_THWC)
        chunk, file = divmod(self._file(), FILES_A_CHUNK)
        self.rows.append(
            {
                "episode_index": episode, "tasks": [task], "length": length,
                "dataset_from_index": self.frames, "dataset_to_index": self.frames + length,
                "data/chunk_index": chunk, "data/file_index": file,
                f"videos/{CAMERA}/chunk_index": chunk, f"videos/{CAMERA}/file_index": file,
                f"videos/{CAMERA}/from_timestamp": self.in_file / self.rate,
                f"videos/{CAMERA}/to_timestamp": (self.in_file + length) / self.rate,
                "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, SCENE: recording.seed,
            }
        )  # fmt: skip
        self.frames, self.in_file = self.frames + length, self.in_file + length
        if len(self.rows) % self.config.episodes_a_file == 0:
            self._close_files()

    def finish(self) -> None:
        """Writes what is pending, and meta/."""
        if not self.rows:
            raise ValueError("0 episodes were recorded; at least 1 is needed.")
        self._close_files()
        write_table(self._path(EPISODES_PATH, number=0), {k: [row[k] for row in self.rows] for k in self.rows[0]})
        tasks = {"task_index": np.array(list(self.tasks.values())), "task": list(self.tasks)}
        write_table(self.folder / "meta" / "tasks.parquet", tasks, index="task")
        told = {key: sums.told() for key, sums in self.sums.items()}
        for name in ("min", "max", "mean", "std"):  # a picture's, one a colour, stand as (3, 1, 1)
            told[CAMERA][name] = [[[value]] for value in told[CAMERA][name]]
        self._write_json("stats.json", told)
        self._write_json("info.json", self._info())

    def _info(self) -> dict:
        episodes = len(self.rows)
        train = episodes - math.floor(episodes * self.config.val_share)
        numbers = {"dtype": "float32", "shape": [len(self.known)]}
        whole = {"dtype": "int64", "shape": [1], "names": None}
        height, width = self.shape
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_A_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self.rate) if float(self.rate).is_integer() else self.rate,
            "splits": {"train": f"0:{train}", "val": f"{train}:{episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": {
                CAMERA: {
                    "dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"],
                    "info": {
                        "video.height": height, "video.width": width, "video.codec": "h264",
                        "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": self.rate,
                        "video.channels": 3, "has_audio": False,
                    },
                },
                ACTION: numbers | {"names": [k.name for k in self.known]},
                STATE: numbers | {"names": [k.name.removeprefix("d") for k in self.known]},
                "timestamp": {"dtype": "float32", "shape": [1], "names": None},
                **{key: whole for key in ("frame_index", "episode_index", "index", "task_index")},
            },
        }  # fmt: skip

    def _count(self, columns: dict[str, np.ndarray], byte_THWC: np.ndarray) -> None:
        for key in (ACTION, STATE):
            self.sums[key].add(columns[key].astype(np.float64))
        self.sums[CAMERA].add(byte_THWC[:: max(1, len(byte_THWC) // 4)].reshape(-1, 3) / 255)

    def _close_files(self) -> None:
        if self.video is None:
            return
        self.video.close()
        columns = {key: np.concatenate([c[key] for c in self.pending]) for key in self.pending[0]}
        first = int(columns["episode_index"][0]) // self.config.episodes_a_file
        write_table(self._path(DATA_PATH, number=first), columns)
        self.video, self.pending = None, []

    def _file(self) -> int:
        return len(self.rows) // self.config.episodes_a_file

    def _path(self, template: str, number: int | None = None, **names: str) -> Path:
        chunk, file = divmod(self._file() if number is None else number, FILES_A_CHUNK)
        path = self.folder / template.format(chunk_index=chunk, file_index=file, **names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_json(self, name: str, content: dict) -> None:
        (self.folder / "meta" / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


class Statistics:
    """Least, most, mean, standard deviation and count of rows (X, K), taken in pieces."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0

    def add(self, value_XK: np.ndarray) -> None:
        self.count += len(value_XK)
        moments = (value_XK.min(axis=0), value_XK.max(axis=0), value_XK.sum(axis=0), np.square(value_XK).sum(axis=0))
        self.parts.append(np.stack(moments))

    def told(self) -> dict[str, list]:
        """As meta/stats.json has it."""
        part_P4K = np.stack(self.parts)
        mean_K = part_P4K[:, 2].sum(axis=0) / self.count
        spread_K = np.sqrt(np.maximum(part_P4K[:, 3].sum(axis=0) / self.count - mean_K**2, 0))
        told = {
            "min": part_P4K[:, 0].min(axis=0), "max": part_P4K[:, 1].max(axis=0), "mean": mean_K, "std": spread_K,
        }  # fmt: skip
        return {key: value.tolist() for key, value in told.items()} | {"count": [self.count]}


def write_table(path: Path, columns: dict[str, Iterable], index: str | None = None) -> None:
    """A parquet file; arrays of (X, K) become lists. index: the column that pandas should take as its index."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = {k: list(v) if getattr(v, "ndim", 1) == 2 else v for k, v in columns.items()}
    table = pa.table(rows)
    if index:
        named = [{"name": k, "field_name": k, "pandas_type": "unicode" if k == index else "int64",
                  "numpy_type": "object" if k == index else "int64", "metadata": None} for k in rows]  # fmt: skip
        about = {"index_columns": [index], "column_indexes": [], "columns": named, "pandas_version": "2.0.0"}
        table = table.replace_schema_metadata({"pandas": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
