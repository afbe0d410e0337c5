"""Action-labelled robot video: folders in the layout of LeRobotDataset v3.0.

    meta/info.json                                          rates, features, templates of the paths below
    meta/episodes/chunk-000/file-000.parquet                where each episode lies
    meta/tasks.parquet  meta/stats.json
    data/chunk-000/file-000.parquet                         a row a frame: action, state, time
    videos/CAMERA/chunk-000/file-000.mp4                    many episodes one after another

Source of the layout: huggingface/lerobot, `src/lerobot/datasets/utils.py`. Reading needs
pyarrow and nothing of lerobot.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lawm_core.contracts import VideoError
from lawm_core.video.opened import GuardedVideo, OpenVideo
from lawm_core.worlds.lerobot_info import DatasetError, DatasetInfo

OPEN_FILES = 16  # of either kind, kept open at once
MOST_VALUES = 50_000_000  # of a column in one file: 400 MB as numbers
MOST_EPISODES = 200_000  # and tasks, in one file
MOST_LETTERS = 1000  # of a task that are read
CAMERA = "observation.images.camera"  # as our own worlds call theirs
ACTION, STATE = "action", "observation.state"
ACTION_KINDS = ("auto", "delta", "absolute", "state")
CHANGE = re.compile(r"delta|diff|vel(ocity)?\b|vel_|speed|twist|rate|^v?d_?(x|y|z|yaw|roll|pitch|theta)", re.IGNORECASE)
TARGET = re.compile(r"pos(ition)?\b|pos_|joint|motor|shoulder|elbow|wrist|angle|goal|target", re.IGNORECASE)
SCENE = "scene_seed"  # our own column of meta/episodes: what `Simulator.reset` made the episode's scene of


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What of a data set is meant.

    actions: `delta`, changes that are added up between frames; `absolute`, targets, whose differences are taken;
    `state`, differences of the state; `auto`, delta or absolute by the names of the numbers. camera: which video
    feature; None takes the first.
    """

    actions: str = "auto"
    camera: str | None = None

    def __post_init__(self) -> None:
        if self.actions not in ACTION_KINDS:
            raise ValueError(f"actions came as {self.actions!r}; needed: one of {', '.join(ACTION_KINDS)}.")


def guess_actions(names: tuple[str, ...], state_names: tuple[str, ...] = ()) -> str:
    """`delta` or `absolute`, by the names of an action's numbers.

    Names of changes and speeds say so (dx, delta_yaw, vel_x); names that the state has too, and those of joints and
    positions, are targets. Names that say nothing count as changes.
    """
    if any(CHANGE.search(name) for name in names):
        return "delta"
    same = bool(names) and names == state_names
    return "absolute" if same or any(TARGET.search(name) for name in names) else "delta"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A piece of one episode at the asked rate.

    frame_TCHW: float32 in [0, 1]. action_UK: what was done between frames, in the data set's units, U = T - 1.
    pose_TK: the state at each frame, or None where the data set has none. scene: the seed of a simulated scene, which
    only our own recordings tell.
    """

    index: int
    frame_TCHW: Tensor
    action_UK: Tensor
    pose_TK: Tensor | None
    task: str
    frames_per_second: float
    scene: int | None = None


class LeRobotFolder:
    """Reads episodes of a folder; what was opened is kept, up to OPEN_FILES.

    labels: which actions and which camera are meant. trusted: for folders of known origin, whose videos are decoded in
    this process, from files that stay open, which is faster for pieces here and there. Raises DatasetError where the
    folder is not what is needed.
    """

    def __init__(self, folder: str | Path, labels: LabelConfig | None = None, trusted: bool = False) -> None:
        self.folder = Path(folder)
        self.info = DatasetInfo.read(self.folder)
        self.frames_per_second, features = self.info.frames_per_second, self.info.features
        self.cameras = tuple(name for name, f in features.items() if f.get("dtype") == "video")
        if not self.cameras:
            raise DatasetError(f"{self.folder.name} has no feature of dtype video; it has: {', '.join(features)}.")
        labels = labels or LabelConfig()
        self.camera = labels.camera or self.cameras[0]
        for name, there in ((self.camera, self.cameras), (ACTION, features)):
            if name not in there:
                raise DatasetError(f"{self.folder.name} has no {name!r}; it has: {', '.join(there)}.")
        self.has_state = STATE in features
        state_names = self.info.names(STATE) if self.has_state else ()
        self.actions = labels.actions if labels.actions != "auto" else guess_actions(self.action_names, state_names)
        self.rows = self._read_episodes()
        self.tasks = self._read_tasks()
        self.open_video = OpenVideo if trusted else GuardedVideo
        self.videos: OrderedDict[Path, OpenVideo | GuardedVideo] = OrderedDict()
        self.tables: OrderedDict[Path, dict[str, np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        """How many episodes."""
        return len(self.rows)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of an action's numbers, as far as the data set tells."""
        return self.info.names(ACTION)

    def episodes(self, split: str | None = None) -> list[int]:
        """Episodes of a split of info.json (`train`: "0:540"), or all. Raises DatasetError for another name."""
        splits = self.info.splits
        if split is None:
            return list(range(len(self)))
        if split not in splits:
            raise DatasetError(f"{self.folder.name} has no split {split!r}; it has: {', '.join(splits) or 'none'}.")
        start, _, stop = splits[split].partition(":")
        return list(range(int(start or 0), min(int(stop or len(self)), len(self))))

    def frames(self, episode: int) -> int:
        """Frames of an episode at the data set's own rate."""
        return int(self._row(episode)["length"])

    def read(
        self,
        episode: int,
        size: int,
        frames_per_second: float | None = None,
        frames: int | None = None,
        start_seconds: float = 0.0,
    ) -> Episode:
        """A piece of an episode: `frames` frames (default: to its end) at a rate (default: the data set's own).

        Raises DatasetError.
        """
        row, rate = self._row(episode), frames_per_second or self.frames_per_second
        table = self._episode_table(row)
        length = len(table[ACTION])
        most = math.floor((length - 1) / self.frames_per_second * rate - start_seconds * rate + 1e-6) + 1
        count = most if frames is None else frames
        if not 2 <= count <= most:
            raise DatasetError(
                f"episode {episode} of {self.folder.name} has {max(most, 0)} frames at {rate:g} a second from "
                f"{start_seconds:g} s on; {count} were asked for, and an action needs at least 2."
            )
        at_T = (start_seconds + np.arange(count) / rate) * self.frames_per_second  # in the data set's own frames
        start = float(row[f"videos/{self.camera}/from_timestamp"]) + start_seconds
        try:
            frame_TCHW = self._video(row).read(rate, size, count, start)
        except VideoError as error:
            raise DatasetError(f"a video of {self.folder.name} cannot be used: {error}") from error
        if len(frame_TCHW) < count:
            raise DatasetError(f"the video of episode {episode} of {self.folder.name} ends early.")
        pose_TK = sampled(table[STATE], at_T) if self.has_state else None
        if self.actions == "state":
            if pose_TK is None:
                raise DatasetError(f"{self.folder.name} has no {STATE!r}, so its differences cannot be taken.")
            action_UK = np.diff(pose_TK, axis=0)
        elif self.actions == "absolute":
            action_UK = np.diff(sampled(table[ACTION], at_T), axis=0)
        else:
            done_TK = np.concatenate((np.zeros_like(table[ACTION][:1]), table[ACTION].cumsum(axis=0)))
            action_UK = np.diff(sampled(done_TK, at_T), axis=0)
        return Episode(
            index=episode,
            frame_TCHW=frame_TCHW,
            action_UK=torch.from_numpy(action_UK).float(),
            pose_TK=None if pose_TK is None else torch.from_numpy(pose_TK).float(),
            task=self.tasks.get(int(table["task_index"][0]), "") if "task_index" in table else "",
            frames_per_second=rate,
            scene=int(row[SCENE]) if SCENE in row else None,
        )

    def close(self) -> None:
        """Lets every file go."""
        for video in self.videos.values():
            video.close()
        self.videos.clear()
        self.tables.clear()

    # ---- the folder ----

    def _read_episodes(self) -> list[dict]:
        files = sorted((self.folder / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise DatasetError(f"{self.folder.name} holds no meta/episodes/*/*.parquet.")
        video = f"videos/{self.camera}"
        needed = [
            "episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index",
            f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp",
        ]  # fmt: skip
        columns = [self._columns(path, needed, (SCENE,), MOST_EPISODES) for path in files]
        for path, of_file in zip(files, columns, strict=True):
            self._demand_numbers(path, of_file, of_file)
        rows = [{k: c[k][i] for k in c} for c in columns for i in range(len(c["length"]))]
        return sorted(rows, key=lambda row: int(row["episode_index"]))

    def _read_tasks(self) -> dict[int, str]:
        """Texts of tasks by index. The text is a column, or pandas' index, whose name differs among versions."""
        path = self.folder / "meta" / "tasks.parquet"
        if not path.is_file():
            return {}
        columns = self._columns(path, ["task_index"], ("task", "__index_level_0__"), MOST_EPISODES)
        self._demand_numbers(path, columns, ["task_index"])
        text = next((v for k, v in columns.items() if k != "task_index"), None)
        return {} if text is None else dict(zip(map(int, columns["task_index"]), map(str, text), strict=True))

    def _demand_numbers(self, path: Path, columns: dict[str, np.ndarray], keys: Iterable[str]) -> None:
        """Raises DatasetError where a column is not a number of 0 or more a row."""
        for key in keys:
            plain = np.issubdtype(columns[key].dtype, np.number) and columns[key].ndim == 1
            if not plain or not np.isfinite(columns[key]).all() or (columns[key] < 0).any():
                name = f"{path.relative_to(self.folder)} of {self.folder.name}"
                raise DatasetError(f"column {key} of {name} holds values that are not numbers of 0 or more.")

    def _columns(
        self, path: Path, needed: list[str], others: tuple[str, ...] = (), most_rows: int | None = None
    ) -> dict[str, np.ndarray]:
        """Columns of a parquet file as arrays, lists of numbers as rows; of `others`, those that are there."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        name = f"{path.relative_to(self.folder)} of {self.folder.name}"
        try:
            there = parquet.read_schema(path).names
            missing = [key for key in needed if key not in there]
            if missing:
                raise DatasetError(f"{name} has no column {', '.join(missing)}.")
            about, most_rows = parquet.read_metadata(path), most_rows or MOST_VALUES
            if about.num_rows > most_rows or most_values(about) > MOST_VALUES:
                raise DatasetError(
                    f"{name} holds {about.num_rows} rows and {most_values(about)} values in a column; at most "
                    f"{most_rows} and {MOST_VALUES} can be read."
                )
            wanted = [*needed, *(key for key in others if key in there)]
            table = parquet.read_table(path, columns=wanted, read_dictionary=wanted)  # texts stay folded
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{name} cannot be read ({error}).") from error
        return {key: as_array(table.column(key), f"column {key} of {name}") for key in table.column_names}

    def _row(self, episode: int) -> dict:
        if not 0 <= episode < len(self.rows):
            raise DatasetError(f"{self.folder.name} has no episode {episode}; it has 0 to {len(self.rows) - 1}.")
        return self.rows[episode]

    def _episode_table(self, row: dict) -> dict[str, np.ndarray]:
        """The rows of one episode, checked against what the folder says of it."""
        path = self.folder / self.info.data_file(int(row["data/chunk_index"]), int(row["data/file_index"]))
        keys = ["episode_index", "index", ACTION, *((STATE,) if self.has_state else ())]
        table = kept(self.tables, path, lambda: self._rows_of(path, keys))
        episode = int(row["episode_index"])
        of_X = np.flatnonzero(table["episode_index"] == episode)
        if len(of_X) != int(row["length"]):
            raise DatasetError(
                f"episode {episode} of {self.folder.name} should have {int(row['length'])} rows; it has {len(of_X)}."
            )
        of_X = of_X[np.argsort(table["index"][of_X], kind="stable")]
        part = {key: values[of_X] for key, values in table.items()}
        for key in {ACTION, STATE} & set(part):
            if not np.issubdtype(part[key].dtype, np.number) or not np.isfinite(part[key]).all():
                raise DatasetError(
                    f"{key} of episode {episode} of {self.folder.name} holds values that are not numbers."
                )
            part[key] = part[key].reshape(len(of_X), -1).astype(np.float64)  # one number a frame comes without brackets
        return part

    def _rows_of(self, path: Path, keys: list[str]) -> dict[str, np.ndarray]:
        """The table of a data file."""
        columns = self._columns(path, keys, ("task_index",))
        self._demand_numbers(path, columns, [key for key in columns if key not in (ACTION, STATE)])
        return columns

    def _video(self, row: dict) -> OpenVideo | GuardedVideo:
        key = f"videos/{self.camera}"
        path = self.folder / self.info.video_file(
            self.camera, int(row[f"{key}/chunk_index"]), int(row[f"{key}/file_index"])
        )
        return kept(self.videos, path, lambda: self.open_video(path))


def most_values(metadata) -> int:
    """How many numbers the longest column of a parquet file unfolds to: packed, a few bytes may be billions."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    totals = [sum(g.column(c).num_values for g in groups) for c in range(metadata.num_columns)]
    return max([metadata.num_rows, *totals])


def kept(shelf: OrderedDict, path: Path, make):
    """What was made for a path, from the shelf or anew; the longest unused goes when there are too many."""
    if path not in shelf:
        shelf[path] = make()
    shelf.move_to_end(path)
    while len(shelf) > OPEN_FILES:
        _, oldest = shelf.popitem(last=False)
        if hasattr(oldest, "close"):
            oldest.close()
    return shelf[path]


def as_array(column, name: str) -> np.ndarray:
    """A parquet column as (X,), or (X, K) where each row is a list of K numbers."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if pa.types.is_dictionary(column.type):  # a few long texts may stand for many rows
        short = [
            pa.DictionaryArray.from_arrays(
                chunk.indices, compute.utf8_slice_codeunits(chunk.dictionary, 0, MOST_LETTERS)
            )
            for chunk in column.chunks
        ]
        return np.concatenate([chunk.dictionary_decode().to_numpy(zero_copy_only=False) for chunk in short] or [[]])
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return column.to_numpy()
    if column.null_count or len(widths := set(compute.list_value_length(column).unique().to_pylist())) > 1:
        raise DatasetError(f"{name} has rows of different lengths.")
    flat = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks] or [np.zeros(0)])
    return flat.reshape(len(column), max(widths, default=0))


def sampled(value_TK: np.ndarray, at_X: np.ndarray) -> np.ndarray:
    """Rows at fractional places, linear between them."""
    low_X = np.clip(np.floor(at_X + 1e-9).astype(int), 0, len(value_TK) - 1)
    high_X = np.minimum(low_X + 1, len(value_TK) - 1)
    part_X1 = np.clip(at_X - low_X, 0, 1)[:, None]
    return value_TK[low_X] * (1 - part_X1) + value_TK[high_X] * part_X1
