"""Records episodes of a simulated robot in a LeRobotDataset v3.0 folder, which `data/lerobot.py` reads."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.data.lerobot import ACTION, CAMERA, SCENE, STATE
from lawm_core.simulation.simulator import ActionDimension, Simulator
from lawm_core.video.files import as_bytes, open_writer

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000
TASKS = {"arm": "reach, lift, push and drop objects on the table", "rover": "drive around without hitting anything"}


@dataclass(frozen=True, kw_only=True)
class RecorderConfig:
    """Settings of a recording.

    episodes: number of episodes. frames: number of frames in each episode. seed: seed of the first episode's scene; the
    others follow by 1. val_fraction: fraction of the episodes that form the split `val`; they are the last ones.
    episodes_per_file: number of episodes in one data file and in one video file.
    """

    episodes: int = 600
    frames: int = 24
    seed: int = 0
    val_fraction: float = 0.1
    episodes_per_file: int = 200

    def __post_init__(self) -> None:
        for name, minimum in (("episodes", 1), ("frames", 2), ("episodes_per_file", 1)):
            if getattr(self, name) < minimum:
                raise ValueError(f"{name} must be at least {minimum}, got {getattr(self, name)}.")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"val_fraction must be in [0, 1), got {self.val_fraction:g}.")


@dataclass(frozen=True)
class Recording:
    """One episode.

    frame_TCHW: frames in [0, 1]. action_UR: the action executed between each two frames. pose_TR: the robot's pose at
    each frame. seed: seed of the scene.
    """

    frame_TCHW: Tensor
    action_UR: np.ndarray
    pose_TR: np.ndarray
    seed: int


def play_episode(simulator: Simulator, seed: int, frames: int) -> Recording:
    """Run the demonstrator for `frames` frames in the scene of a seed, and return the episode.

    The recorded actions are computed from the poses before and after them, because contacts and limits can keep the
    robot from executing what the demonstrator asks for.
    """
    frame, poses, actions = [simulator.reset(seed)], [simulator.pose()], []
    for action_R in simulator.demonstrate(frames - 1):
        frame.append(simulator.step(action_R))
        poses.append(simulator.pose())
        actions.append(simulator.action_between(poses[-2], poses[-1]))
    return Recording(torch.stack(frame), np.stack(actions), np.stack(poses), seed)


def seek(simulator: Simulator, seed: int, frame: int) -> Any:
    """Replay the demonstrator's episode of a seed up to the frame with this index; return the saved state there."""
    simulator.reset(seed)
    for action_R in simulator.demonstrate(frame):
        simulator.step(action_R)
    return simulator.save()


def record(
    simulator: Simulator,
    out: str | Path,
    config: RecorderConfig,
    task: str,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Record episodes into the new folder `out` and return its path. The folder appears only once it is complete.

    task: description in words, stored with every episode. progress: called with the fraction done and a description.
    Raises ValueError if `out` exists.
    """
    out, report = Path(out), progress or (lambda fraction, what: None)
    if out.exists():
        raise ValueError(f"{out} exists already; choose a folder that does not exist.")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        writer = LeRobotWriter(part, simulator.action_dims, simulator.frames_per_second, config)
        for episode in range(config.episodes):
            report(episode / config.episodes, f"episode {episode + 1} of {config.episodes}")
            writer.add(play_episode(simulator, config.seed + episode, config.frames), task)
        writer.finish()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    report(1.0, "done")
    return out


class LeRobotWriter:
    """Writes a LeRobotDataset folder: `add` appends one episode, and `finish` writes the metadata."""

    def __init__(
        self, folder: Path, action_dims: tuple[ActionDimension, ...], frames_per_second: float, config: RecorderConfig
    ) -> None:
        self.folder, self.action_dims, self.rate, self.config = folder, action_dims, frames_per_second, config
        self.episodes: list[dict] = []
        self.tasks: dict[str, int] = {}
        self.pending: list[dict[str, np.ndarray]] = []
        self.statistics = {key: Statistics() for key in (ACTION, STATE, CAMERA)}
        self.video, self.frames, self.video_frames = None, 0, 0

    def add(self, recording: Recording, task: str) -> None:
        """Append an episode. Its last frame has no action after it, so zeros are written for that frame's action."""
        byte_THWC = as_bytes(recording.frame_TCHW)
        length, episode, task_index = len(byte_THWC), len(self.episodes), self.tasks.setdefault(task, len(self.tasks))
        self.height, self.width = byte_THWC.shape[1:3]
        columns = {
            ACTION: np.pad(recording.action_UR, ((0, 1), (0, 0))).astype(np.float32),
            STATE: recording.pose_TR.astype(np.float32),
            "timestamp": (np.arange(length) / self.rate).astype(np.float32), "frame_index": np.arange(length),
            "episode_index": np.full(length, episode), "index": self.frames + np.arange(length),
            "task_index": np.full(length, task_index),
        }  # fmt: skip
        self.pending.append(columns)
        for key in (ACTION, STATE):
            self.statistics[key].add(columns[key].astype(np.float64))
        self.statistics[CAMERA].add(byte_THWC[:: max(1, length // 4)].reshape(-1, 3) / 255)
        if self.video is None:
            self.video, self.video_frames = open_writer(self._path(VIDEO_PATH, video_key=CAMERA), self.rate), 0
        for byte_HWC in byte_THWC:
            self.video.append_data(byte_HWC)
        chunk, file = divmod(self._file(), FILES_PER_CHUNK)
        start, end = self.video_frames, self.video_frames + length
        self.episodes.append(
            {
                "episode_index": episode, "tasks": [task], "length": length,
                "dataset_from_index": self.frames, "dataset_to_index": self.frames + length,
                "data/chunk_index": chunk, "data/file_index": file,
                f"videos/{CAMERA}/chunk_index": chunk, f"videos/{CAMERA}/file_index": file,
                f"videos/{CAMERA}/from_timestamp": start / self.rate, f"videos/{CAMERA}/to_timestamp": end / self.rate,
                "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, SCENE: recording.seed,
            }
        )  # fmt: skip
        self.frames, self.video_frames = self.frames + length, end
        if len(self.episodes) % self.config.episodes_per_file == 0:
            self._close_files()

    def finish(self) -> None:
        """Close the open files and write the folder meta/. Call it once, after the last episode."""
        self._close_files()
        columns = {key: [row[key] for row in self.episodes] for key in self.episodes[0]}
        write_table(self._path(EPISODES_PATH, number=0), columns)
        tasks = {"task_index": np.array(list(self.tasks.values())), "task": list(self.tasks)}
        write_table(self.folder / "meta" / "tasks.parquet", tasks, index="task")
        statistics = {key: found.summary() for key, found in self.statistics.items()}
        for name in ("min", "max", "mean", "std"):  # the format wants the shape (3, 1, 1) for statistics of frames
            statistics[CAMERA][name] = [[[value]] for value in statistics[CAMERA][name]]
        for name, content in (("stats.json", statistics), ("info.json", self._info())):
            (self.folder / "meta" / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")

    def _info(self) -> dict:
        """Return the content of meta/info.json."""
        episodes = len(self.episodes)
        train = episodes - math.floor(episodes * self.config.val_fraction)
        vector = {"dtype": "float32", "shape": [len(self.action_dims)]}
        integer = {"dtype": "int64", "shape": [1], "names": None}
        return {
            "codebase_version": "v3.0", "robot_type": None, "total_episodes": episodes, "total_frames": self.frames,
            "total_tasks": len(self.tasks), "chunks_size": FILES_PER_CHUNK, "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200, "fps": int(self.rate) if float(self.rate).is_integer() else self.rate,
            "splits": {"train": f"0:{train}", "val": f"{train}:{episodes}"},
            "data_path": DATA_PATH, "video_path": VIDEO_PATH,
            "features": {
                CAMERA: {
                    "dtype": "video", "shape": [self.height, self.width, 3], "names": ["height", "width", "channels"],
                    "info": {
                        "video.height": self.height, "video.width": self.width, "video.codec": "h264",
                        "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "video.fps": self.rate,
                        "video.channels": 3, "has_audio": False,
                    },
                },
                ACTION: vector | {"names": [dim.name for dim in self.action_dims]},
                STATE: vector | {"names": [dim.name.removeprefix("d") for dim in self.action_dims]},
                "timestamp": {"dtype": "float32", "shape": [1], "names": None},
                **{key: integer for key in ("frame_index", "episode_index", "index", "task_index")},
            },
        }  # fmt: skip

    def _close_files(self) -> None:
        """Close the current video file and write the data file of the same episodes."""
        if self.video is None:
            return
        self.video.close()
        columns = {key: np.concatenate([c[key] for c in self.pending]) for key in self.pending[0]}
        number = int(columns["episode_index"][0]) // self.config.episodes_per_file
        write_table(self._path(DATA_PATH, number=number), columns)
        self.video, self.pending = None, []

    def _file(self) -> int:
        """Return the number of the data and video file that the next episode goes into."""
        return len(self.episodes) // self.config.episodes_per_file

    def _path(self, template: str, number: int | None = None, **names: str) -> Path:
        """Return the path that a template gives for a file, and create its folder.

        number: number of the file; by default that of the next episode. names: values of other fields of the template.
        """
        chunk, file = divmod(self._file() if number is None else number, FILES_PER_CHUNK)
        path = self.folder / template.format(chunk_index=chunk, file_index=file, **names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Statistics:
    """Accumulates minimum, maximum, mean, standard deviation and count of vectors that are added in parts."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0

    def add(self, value_XR: np.ndarray) -> None:
        """Include vectors in the statistics."""
        self.count += len(value_XR)
        moments = (value_XR.min(axis=0), value_XR.max(axis=0), value_XR.sum(axis=0), np.square(value_XR).sum(axis=0))
        self.parts.append(np.stack(moments))

    def summary(self) -> dict[str, list]:
        """Return the statistics by name, as meta/stats.json stores them."""
        low_XR, high_XR, sum_XR, square_XR = np.stack(self.parts, axis=1)
        mean_R = sum_XR.sum(axis=0) / self.count
        std_R = np.sqrt(np.maximum(square_XR.sum(axis=0) / self.count - mean_R**2, 0))
        found = {"min": low_XR.min(axis=0), "max": high_XR.max(axis=0), "mean": mean_R, "std": std_R}
        return {key: value.tolist() for key, value in found.items()} | {"count": [self.count]}


def write_table(path: Path, columns: Mapping[str, Iterable], index: str | None = None) -> None:
    """Write a Parquet file. Columns that are 2-D arrays are stored as lists.

    index: name of the column that pandas uses as the index when it reads the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    values = {k: list(v) if getattr(v, "ndim", 1) == 2 else v for k, v in columns.items()}
    table = pa.table(values)
    if index:
        named = [{"name": k, "field_name": k, "pandas_type": "unicode" if k == index else "int64",
                  "numpy_type": "object" if k == index else "int64", "metadata": None} for k in values]  # fmt: skip
        about = {"index_columns": [index], "column_indexes": [], "columns": named, "pandas_version": "2.0.0"}
        table = table.replace_schema_metadata({"pandas": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)
