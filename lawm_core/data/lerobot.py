"""Reader of robot videos with action labels: folders in the layout of LeRobotDataset v3.0.

    meta/info.json                                          rates, features, templates of the paths below
    meta/episodes/chunk-000/file-000.parquet                position of each episode in the other files
    meta/tasks.parquet                                      description of each task
    meta/stats.json                                         statistics of the features, which are not read here
    data/chunk-000/file-000.parquet                         one row per frame: action, state, time
    videos/CAMERA/chunk-000/file-000.mp4                    many consecutive episodes

Source of the layout: huggingface/lerobot, `src/lerobot/datasets/utils.py`. Reading needs pyarrow but not lerobot.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lawm_core.data.lerobot_info import DatasetError, DatasetInfo
from lawm_core.types import VideoError
from lawm_core.video.video_reader import SandboxedVideoReader, VideoReader

MAX_OPEN_FILES = 16  # limit for videos, and the same limit for tables
MAX_VALUES = 50_000_000  # in a column of one file: 400 MB as float64
MAX_EPISODES = 200_000  # rows of a file of episodes, or of the file of tasks
MAX_TASK_LETTERS = 1000  # longer texts are truncated
CAMERA = "observation.images.camera"  # name in the data sets that our own simulators record
ACTION, STATE = "action", "observation.state"
ACTION_KINDS = ("auto", "delta", "absolute", "state")
# Names of dimensions that are changes or speeds, and of those that are positions.
CHANGE = re.compile(r"delta|diff|vel(ocity)?\b|vel_|speed|twist|rate|^v?d_?(x|y|z|yaw|roll|pitch|theta)", re.IGNORECASE)
TARGET = re.compile(r"pos(ition)?\b|pos_|joint|motor|shoulder|elbow|wrist|angle|goal|target", re.IGNORECASE)
SCENE = "scene_seed"  # column of meta/episodes in our own data sets: the seed passed to `Simulator.reset`


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How to interpret a data set's actions, and which camera to use.

    actions: `delta` if they are changes, which are summed between frames; `absolute` if they are targets, whose
    differences between frames are used; `state` to use differences of the state instead of the actions; `auto` to
    choose between delta and absolute, see `guess_action_kind`. camera: name of a video feature, or None for the first.
    Raises ValueError if actions is none of these.
    """

    actions: str = "auto"
    camera: str | None = None

    def __post_init__(self) -> None:
        if self.actions not in ACTION_KINDS:
            raise ValueError(f"actions must be one of {', '.join(ACTION_KINDS)}, got {self.actions!r}.")


def guess_action_kind(names: tuple[str, ...], state_names: tuple[str, ...] = ()) -> str:
    """Return `delta` or `absolute`, guessed from the names of an action's dimensions.

    A name of a change or a speed (dx, delta_yaw, vel_x) means delta. Otherwise, a name of a joint or a position means
    absolute, and so do names that equal those of the state's dimensions. All other names mean delta.
    """
    if any(CHANGE.search(name) for name in names):
        return "delta"
    same = bool(names) and names == state_names
    return "absolute" if same or any(TARGET.search(name) for name in names) else "delta"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Frames of an episode at the requested rate, with its actions and states.

    index: number of the episode in its data set. frame_TCHW: float32 in [0, 1]. action_UR: actions between frames in
    the data set's units, U = T - 1. pose_TR: state at each frame, or None if the data set has no state. task:
    description of the task, or an empty text. scene: seed of the simulated scene; None unless our own simulators
    recorded the data set.
    """

    index: int
    frame_TCHW: Tensor
    action_UR: Tensor
    pose_TR: Tensor | None
    task: str
    frames_per_second: float
    scene: int | None = None


class LeRobotFolder:
    """Reader of the episodes of a LeRobotDataset folder.

    Up to MAX_OPEN_FILES videos and as many tables stay open between reads.

    labels: interpretation of the actions, and the camera. trusted: decode videos in this process instead of the
    sandbox, which is faster for windows at random positions; only for folders of known origin. Raises DatasetError if
    the folder is invalid.
    """

    def __init__(self, folder: str | Path, labels: LabelConfig | None = None, trusted: bool = False) -> None:
        self.folder, labels = Path(folder), labels or LabelConfig()
        self.info = DatasetInfo.read(self.folder)
        self.frames_per_second, features = self.info.frames_per_second, self.info.features
        self.cameras = tuple(name for name, feature in features.items() if feature.get("dtype") == "video")
        if not self.cameras:
            raise DatasetError(f"{self.folder.name} has no feature of dtype video; it has {', '.join(features)}.")
        self.camera = labels.camera or self.cameras[0]
        for kind, name, available in (("camera", self.camera, self.cameras), ("feature", ACTION, features)):
            if name not in available:
                raise DatasetError(f"{self.folder.name} has no {kind} {name!r}; it has {', '.join(available)}.")
        self.has_state = STATE in features
        state_names = self.info.names(STATE) if self.has_state else ()
        self.actions = labels.actions if labels.actions != "auto" else guess_action_kind(self.action_names, state_names)
        self.rows = self._read_episodes()
        self.tasks = self._read_tasks()
        self.open_video = VideoReader if trusted else SandboxedVideoReader
        self.videos: OrderedDict[Path, VideoReader | SandboxedVideoReader] = OrderedDict()
        self.tables: OrderedDict[Path, dict[str, np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.rows)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the action's dimensions."""
        return self.info.names(ACTION)

    def episodes(self, split: str | None = None) -> list[int]:
        """Return the numbers of the episodes of a split, which info.json gives as a range like `0:540`.

        split: None returns all episodes. Raises DatasetError for an unknown split.
        """
        splits = self.info.splits
        if split is None:
            return list(range(len(self)))
        if split not in splits:
            raise DatasetError(f"{self.folder.name} has no split {split!r}; it has {', '.join(splits) or 'none'}.")
        start, _, stop = splits[split].partition(":")
        return list(range(int(start or 0), min(int(stop or len(self)), len(self))))

    def frames(self, episode: int) -> int:
        """Return the number of frames of an episode at the data set's own rate."""
        return int(self._row(episode)["length"])

    def read(
        self,
        episode: int,
        size: int,
        frames_per_second: float | None = None,
        frames: int | None = None,
        start_seconds: float = 0.0,
    ) -> Episode:
        """Read consecutive frames of an episode, with their actions and states.

        size: height and width of the frames, in pixels. frames_per_second: rate of the frames; by default, the data
        set's own. frames: number of frames; by default, all until the end of the episode. start_seconds: time of the
        first frame, counted from the start of the episode.

        Raises DatasetError if the episode has fewer frames, or if its video or its table cannot be read.
        """
        row, rate = self._row(episode), frames_per_second or self.frames_per_second
        table = self._episode_table(row)
        duration = (len(table[ACTION]) - 1) / self.frames_per_second
        available = math.floor(duration * rate - start_seconds * rate + 1e-6) + 1
        count = available if frames is None else frames
        if not 2 <= count <= available:
            raise DatasetError(
                f"episode {episode} of {self.folder.name} has {max(available, 0)} frames at {rate:g} per second from "
                f"{start_seconds:g} s on, but {count} were requested; request 2 or more, up to that number."
            )
        try:
            video_start = float(row[f"videos/{self.camera}/from_timestamp"]) + start_seconds
            frame_TCHW = self._video(row).read(rate, size, count, video_start)
        except VideoError as error:
            raise DatasetError(
                f"the video of episode {episode} of {self.folder.name} cannot be read: {error}"
            ) from error
        if len(frame_TCHW) < count:
            raise DatasetError(
                f"the video of episode {episode} of {self.folder.name} ends after {len(frame_TCHW)} of {count} frames; "
                "it may be truncated."
            )
        row_T = (start_seconds + np.arange(count) / rate) * self.frames_per_second  # fractional rows of the table
        action_UR = np.diff(interpolate(self._action_sums(table), row_T), axis=0)
        pose_TR = interpolate(table[STATE], row_T) if self.has_state else None
        return Episode(
            index=episode,
            frame_TCHW=frame_TCHW,
            action_UR=torch.from_numpy(action_UR).float(),
            pose_TR=None if pose_TR is None else torch.from_numpy(pose_TR).float(),
            task=self.tasks.get(int(table["task_index"][0]), "") if "task_index" in table else "",
            frames_per_second=rate,
            scene=int(row[SCENE]) if SCENE in row else None,
        )

    def close(self) -> None:
        """Close all files."""
        for video in self.videos.values():
            video.close()
        self.videos.clear()
        self.tables.clear()

    def _action_sums(self, table: dict[str, np.ndarray]) -> np.ndarray:
        """Return values (rows, R) such that the action from one row to another is the difference of their values.

        Raises DatasetError if actions are differences of the state and the data set has no state.
        """
        if self.actions == "absolute":
            return table[ACTION]
        if self.actions == "delta":
            return np.concatenate((np.zeros_like(table[ACTION][:1]), table[ACTION].cumsum(axis=0)))
        if not self.has_state:
            raise DatasetError(
                f"{self.folder.name} has no {STATE!r}, so actions cannot be `state`; choose `delta` or `absolute`."
            )
        return table[STATE]

    def _read_episodes(self) -> list[dict]:
        """Return the rows of all tables in meta/episodes, sorted by the number of the episode."""
        files = sorted((self.folder / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise DatasetError(
                f"{self.folder.name} has no meta/episodes/*/*.parquet, in which LeRobotDataset v3.0 lists episodes."
            )
        video = f"videos/{self.camera}"
        needed = [
            "episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index",
            f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp",
        ]  # fmt: skip
        tables = [self._read_columns(path, needed, (SCENE,), MAX_EPISODES) for path in files]
        for path, table in zip(files, tables, strict=True):
            self._check_numbers(path, table, table)
        rows = [{key: table[key][i] for key in table} for table in tables for i in range(len(table["length"]))]
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def _read_tasks(self) -> dict[int, str]:
        """Return the description of each task by the task's index, or an empty dictionary if there are none.

        Descriptions are in the column `task`, or in the column in which pandas stores an unnamed index.
        """
        path = self.folder / "meta" / "tasks.parquet"
        if not path.is_file():
            return {}
        columns = self._read_columns(path, ["task_index"], ("task", "__index_level_0__"), MAX_EPISODES)
        self._check_numbers(path, columns, ["task_index"])
        text = next((values for key, values in columns.items() if key != "task_index"), None)
        return {} if text is None else dict(zip(map(int, columns["task_index"]), map(str, text), strict=True))

    def _check_numbers(self, path: Path, columns: dict[str, np.ndarray], keys: Iterable[str]) -> None:
        """Raise DatasetError unless these columns have one finite number of at least 0 in every row.

        path: file of the columns, for the message. keys: names of the columns to check.
        """
        for key in keys:
            values = columns[key]
            scalar = np.issubdtype(values.dtype, np.number) and values.ndim == 1
            if not scalar or not np.isfinite(values).all() or (values < 0).any():
                raise DatasetError(
                    f"column {key} of {self._name(path)} must have one number of at least 0 in every row."
                )

    def _name(self, path: Path) -> str:
        """Return how messages name a file: its path inside the folder, and the folder."""
        return f"{path.relative_to(self.folder)} of {self.folder.name}"

    def _read_columns(
        self, path: Path, needed: list[str], optional: tuple[str, ...], max_rows: int = MAX_VALUES
    ) -> dict[str, np.ndarray]:
        """Return columns of a parquet file by name: (rows,), or (rows, R) for lists of R numbers.

        needed: columns that must exist. optional: columns that are read if they exist. max_rows: largest accepted
        number of rows. Raises DatasetError if a column is missing, or if the file is too large or cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        name = self._name(path)
        try:
            available = parquet.read_schema(path).names
            missing = [key for key in needed if key not in available]
            if missing:
                raise DatasetError(f"{name} has no column {', '.join(missing)}.")
            metadata = parquet.read_metadata(path)
            rows, values = metadata.num_rows, max_column_values(metadata)
            if rows > max_rows or values > MAX_VALUES:
                raise DatasetError(
                    f"{name} must have at most {max_rows} rows and {MAX_VALUES} values in a column, got {rows} rows "
                    f"and {values} values."
                )
            wanted = [*needed, *(key for key in optional if key in available)]
            table = parquet.read_table(path, columns=wanted, read_dictionary=wanted)  # repeated texts stay compressed
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{name} cannot be read ({error}).") from error
        return {key: as_array(table.column(key), f"column {key} of {name}") for key in table.column_names}

    def _row(self, episode: int) -> dict:
        """Return an episode's row of meta/episodes. Raises DatasetError if there is no such episode."""
        if not 0 <= episode < len(self.rows):
            raise DatasetError(f"episode must be in [0, {len(self.rows) - 1}] for {self.folder.name}, got {episode}.")
        return self.rows[episode]

    def _episode_table(self, row: dict) -> dict[str, np.ndarray]:
        """Return the data columns of one episode, sorted by frame and checked.

        row: the episode's row of meta/episodes. Actions and states are float64 of shape (rows, R). Raises DatasetError
        if rows are missing or values are not finite.
        """
        path = self.folder / self.info.data_file(int(row["data/chunk_index"]), int(row["data/file_index"]))
        table = get_cached(self.tables, path, lambda: self._read_data(path))
        name, length = f"episode {int(row['episode_index'])} of {self.folder.name}", int(row["length"])
        index_X = np.flatnonzero(table["episode_index"] == int(row["episode_index"]))
        if len(index_X) != length:
            raise DatasetError(
                f"{name} must have {length} rows, got {len(index_X)} in {path.relative_to(self.folder)}."
            )
        index_X = index_X[np.argsort(table["index"][index_X], kind="stable")]
        columns = {key: values[index_X] for key, values in table.items()}
        for key in {ACTION, STATE} & set(columns):
            if not np.issubdtype(columns[key].dtype, np.number) or not np.isfinite(columns[key]).all():
                raise DatasetError(f"{key} of {name} must consist of finite numbers.")
            columns[key] = columns[key].reshape(length, -1).astype(np.float64)  # (rows,) if R is 1
        return columns

    def _read_data(self, path: Path) -> dict[str, np.ndarray]:
        """Return the columns of a data file that episodes need. Raises DatasetError if they are invalid."""
        needed = ["episode_index", "index", ACTION, *((STATE,) if self.has_state else ())]
        columns = self._read_columns(path, needed, ("task_index",))
        self._check_numbers(path, columns, [key for key in columns if key not in (ACTION, STATE)])
        return columns

    def _video(self, row: dict) -> VideoReader | SandboxedVideoReader:
        """Return the reader of an episode's video file, which is opened on first use."""
        chunk, file = (int(row[f"videos/{self.camera}/{key}"]) for key in ("chunk_index", "file_index"))
        path = self.folder / self.info.video_file(self.camera, chunk, file)
        return get_cached(self.videos, path, lambda: self.open_video(path))


def max_column_values(metadata) -> int:
    """Return the number of values in the longest column of a parquet file, from the file's metadata.

    It is checked before the file is read, because a few compressed bytes may stand for billions of values.
    """
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    totals = [sum(group.column(i).num_values for group in groups) for i in range(metadata.num_columns)]
    return max([metadata.num_rows, *totals])


def get_cached(cache: OrderedDict[Path, Any], path: Path, load: Callable[[], Any]) -> Any:
    """Return the cached value of a path, which is loaded first if it is missing.

    If the cache then has more than MAX_OPEN_FILES values, the least recently used ones are removed and closed.
    """
    if path not in cache:
        cache[path] = load()
    cache.move_to_end(path)
    while len(cache) > MAX_OPEN_FILES:
        _, oldest = cache.popitem(last=False)
        if hasattr(oldest, "close"):
            oldest.close()
    return cache[path]


def as_array(column, name: str) -> np.ndarray:
    """Convert a parquet column to (rows,), or to (rows, R) if each row is a list of R numbers. Raises DatasetError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):  # truncate first, because many rows may repeat a long text
        parts, slice_options = [], pc.SliceOptions(0, MAX_TASK_LETTERS)
        for chunk in column.chunks:
            texts = pc.call_function("utf8_slice_codeunits", [chunk.dictionary], slice_options)
            truncated = pa.DictionaryArray.from_arrays(chunk.indices, texts)
            parts.append(truncated.dictionary_decode().to_numpy(zero_copy_only=False))
        return np.concatenate(parts or [[]])
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return column.to_numpy()
    if (
        column.null_count
        or len(widths := set(pc.call_function("list_value_length", [column]).unique().to_pylist())) > 1
    ):
        raise DatasetError(f"{name} must have a list of the same length in every row.")
    flat = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks] or [np.zeros(0)])
    return flat.reshape(len(column), max(widths, default=0))


def interpolate(value_XR: np.ndarray, row_T: np.ndarray) -> np.ndarray:
    """Return the values at fractional row indices, linearly interpolated: (T, R)."""
    low_T = np.clip(np.floor(row_T + 1e-9).astype(int), 0, len(value_XR) - 1)
    high_T = np.minimum(low_T + 1, len(value_XR) - 1)
    weight_T1 = np.clip(row_T - low_T, 0, 1)[:, None]
    return value_XR[low_T] * (1 - weight_T1) + value_XR[high_T] * weight_T1
