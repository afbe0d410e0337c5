"""Reader of LeRobotDataset folders: broken folders, files and episodes, each with the reason."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from lawm_core.data import lerobot
from lawm_core.data.lerobot import DatasetError, LabelConfig, LeRobotFolder
from lawm_core.types import VideoError


def edit_info(folder, **changes):
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_column(path, name):
    parquet.write_table(parquet.read_table(path).drop_columns([name]), path)


def damage_video(folder):
    for path in folder.glob("videos/*/*/*.mp4"):
        path.write_bytes(path.read_bytes()[:200])


BROKEN = {
    "no info": (lambda f: (f / "meta/info.json").unlink(), "meta/info.json"),
    "info is not json": (lambda f: (f / "meta/info.json").write_text("{"), "cannot be read"),
    "older version": (lambda f: edit_info(f, codebase_version="v2.1"), "must have version v3.0, got v2.1"),
    "no rate": (lambda f: edit_info(f, fps=None), "has no fps"),
    "no video": (lambda f: edit_info(f, features={"action": {"dtype": "float32"}}), "dtype video"),
    "no episodes": (lambda f: shutil.rmtree(f / "meta/episodes"), "meta/episodes"),
    "no column": (lambda f: drop_column(f / "meta/episodes/chunk-000/file-000.parquet", "length"), "column length"),
    "an episode without a length": (
        lambda f: rewrite(f / "meta/episodes/chunk-000/file-000.parquet", length=lambda rows: [None, *rows[1:]]),
        "column length of meta/episodes/chunk-000/file-000.parquet of copy must have one number of at least 0",
    ),
    "a negative file index": (
        lambda f: rewrite(
            f / "meta/episodes/chunk-000/file-000.parquet", **{"data/file_index": lambda rows: [-1, *rows[1:]]}
        ),
        "must have one number of at least 0 in every row",
    ),
    "no action": (lambda f: drop_column(f / "data/chunk-000/file-000.parquet", "action"), "column action"),
    "no data": (lambda f: (f / "data/chunk-000/file-000.parquet").unlink(), "file-000.parquet"),
    "damaged data": (lambda f: (f / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1"), "file-000.parquet"),
    "damaged video": (damage_video, "file-000.mp4"),
    "rate as text": (
        lambda f: edit_info(f, fps="ten"),
        r"meta/info.json of copy: fps must be in \(0, 1000\], got 'ten'",
    ),
    "infinite rate": (lambda f: edit_info(f, fps=float("inf")), r"fps must be in \(0, 1000\], got inf"),
    "features in a list": (lambda f: edit_info(f, features=["action"]), "features must map names to objects"),
    "splits as text": (lambda f: edit_info(f, splits={"train": "all"}), "splits must map names to ranges like 0:540"),
    "data outside the folder": (
        lambda f: edit_info(f, data_path="../{chunk_index}/{file_index}"),
        "must be inside the folder",
    ),
    "data anywhere": (lambda f: edit_info(f, data_path="/etc/{file_index}"), "must be inside the folder"),
    "videos outside the folder": (
        lambda f: edit_info(f, video_path="videos/../../{video_key}"),
        "must be inside the folder",
    ),
    "a very wide placeholder": (
        lambda f: edit_info(f, data_path="data/{chunk_index:0999999999999d}"),
        "must be a path with no placeholders other than chunk_index, file_index, got",
    ),
    "attribute access in a placeholder": (
        lambda f: edit_info(f, data_path="{chunk_index.__class__}"),
        "must be a path with no placeholders other than",
    ),
    "a camera in the data path": (
        lambda f: edit_info(f, data_path="{video_key}"),
        "must be a path with no placeholders other than",
    ),
    "no video file": (lambda f: shutil.rmtree(f / "videos"), "file-000.mp4 does not exist"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_raise_an_error_with_the_reason(copy, case):
    damage, message = BROKEN[case]
    damage(copy)
    with pytest.raises(DatasetError, match=message):
        LeRobotFolder(copy).read(1, 32)


def test_a_column_with_too_many_values_is_refused_before_it_is_read(copy, monkeypatch):
    monkeypatch.setattr(lerobot, "MAX_VALUES", 20)
    with pytest.raises(DatasetError, match=r"of copy must have at most \d+ rows and 20 values in a column, got"):
        LeRobotFolder(copy).read(1, 32)


def test_long_tasks_are_truncated_and_missing_indices_raise_an_error(copy):
    tasks = copy / "meta/tasks.parquet"
    rewrite(tasks, task=lambda rows: ["go " * 100_000 for _ in rows])
    assert len(LeRobotFolder(copy).read(0, 32).task) == lerobot.MAX_TASK_LETTERS
    rewrite(tasks, task_index=lambda rows: [None for _ in rows])
    with pytest.raises(DatasetError, match=r"column task_index of meta/tasks.parquet"):
        LeRobotFolder(copy)


def test_actions_without_names_are_numbered_and_without_a_shape_refused(copy):
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    edit_info(copy, features=features | {"action": {"dtype": "float32", "shape": [2]}})
    assert LeRobotFolder(copy).action_names == ("action 0", "action 1")
    for shape in (None, [10**12], "2", [-1]):
        edit_info(copy, features=features | {"action": {"dtype": "float32", "shape": shape}})
        with pytest.raises(DatasetError, match="must have names or a shape"):
            _ = LeRobotFolder(copy).action_names


def test_a_camera_name_cannot_leave_the_folder(copy):
    features = json.loads((copy / "meta/info.json").read_text())["features"]
    edit_info(copy, features={"action": features["action"], "../../secret": {"dtype": "video"}})
    row = {f"videos/../../secret/{key}": 0 for key in ("chunk_index", "file_index", "from_timestamp")}
    path = copy / "meta/episodes/chunk-000/file-000.parquet"
    parquet.write_table(pa.Table.from_pylist([one | row for one in parquet.read_table(path).to_pylist()]), path)
    with pytest.raises(DatasetError, match="must be inside the folder"):
        LeRobotFolder(copy).read(0, 32)


def test_a_truncated_video_raises_an_error(copy):
    """Its index is intact, so it opens, but most frames are missing."""
    video = copy / "videos/observation.images.camera/chunk-000/file-000.mp4"
    whole = bytearray(video.read_bytes())
    start = whole.index(b"mdat") + 400
    whole[start:] = bytes(len(whole) - start)
    video.write_bytes(bytes(whole))
    with pytest.raises((DatasetError, VideoError), match=r"file-000\.mp4|episode 2"):
        LeRobotFolder(copy).read(2, 32)


def rewrite(path, **columns):
    table = parquet.read_table(path)
    for name, change in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(change(table.column(name).to_pylist())))
    parquet.write_table(table, path)


def test_broken_episodes_raise_an_error_and_others_are_read(copy):
    data = copy / "data/chunk-000/file-000.parquet"
    rewrite(data, episode_index=lambda rows: [0 if i == 9 else e for i, e in enumerate(rows)])
    folder = LeRobotFolder(copy)
    with pytest.raises(DatasetError, match="episode 1 of copy must have 9 rows, got 8"):
        folder.read(1, 32)
    assert len(folder.read(2, 32).frame_TCHW) == 9
    rewrite(copy / "data/chunk-000/file-001.parquet", action=lambda rows: [[float("nan"), 0.0], *rows[1:]])
    with pytest.raises(DatasetError, match="action of episode 3"):
        folder.read(3, 32)


def test_requests_out_of_range_raise_an_error(recorded):
    folder = LeRobotFolder(recorded)
    with pytest.raises(DatasetError, match=r"episode must be in \[0, 6\] for toy, got 7"):
        folder.read(7, 32)
    with pytest.raises(
        DatasetError, match="has 9 frames at 6 per second from 0 s on, but 12 were requested; request 2 or more"
    ):
        folder.read(0, 32, frames=12)
    with pytest.raises(DatasetError, match="no split 'test'; it has train, val"):
        folder.episodes("test")
    with pytest.raises(DatasetError, match="no camera 'wrist'"):
        LeRobotFolder(recorded, LabelConfig(camera="wrist"))
