"""Reader of LeRobotDataset folders: recorded episodes and the official layout."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from lawm_core.data import lerobot
from lawm_core.data.lerobot import DatasetError, LabelConfig, LeRobotFolder, guess_action_kind
from lawm_core.simulation.recorder import RecorderConfig, record
from lawm_core.video import containers, sandbox
from lawm_core.video.files import write_clip
from lawm_core.video.video_reader import VideoReader
from tests.toy_world import ToyWorld


def test_recorded_episodes_are_read_back(recorded):
    folder = LeRobotFolder(recorded)
    assert len(folder) == 7 and folder.frames(6) == 9 and folder.action_names == ("dx", "dy")
    assert folder.episodes("train") == [0, 1, 2, 3, 4] and folder.episodes("val") == [5, 6]
    for index in (6, 0, 4):
        simulator = ToyWorld()
        frames, actions, poses = [simulator.reset(5 + index)], [], [simulator.pose()]
        for action in simulator.demonstrate(8):
            frames.append(simulator.step(action))
            actions.append(action)
            poses.append(simulator.pose())
        episode = folder.read(index, 40)
        assert (episode.frame_TCHW - torch.stack(frames)).abs().mean() < 0.01
        assert torch.allclose(episode.action_UR, torch.tensor(np.stack(actions)).float(), atol=1e-5)
        assert torch.allclose(episode.pose_TR, torch.tensor(np.stack(poses)).float(), atol=1e-5)
        assert episode.task == "go" and episode.frames_per_second == 6.0


def test_actions_are_summed_at_a_lower_rate_and_read_from_any_start(recorded):
    folder = LeRobotFolder(recorded)
    whole, half = folder.read(2, 40), folder.read(2, 40, frames_per_second=3.0)
    assert torch.equal(half.frame_TCHW, whole.frame_TCHW[::2])
    assert torch.allclose(half.action_UR, whole.action_UR.unflatten(0, (4, 2)).sum(dim=1), atol=1e-5)
    middle = folder.read(2, 40, frames=4, start_seconds=0.5)
    assert torch.equal(middle.frame_TCHW, whole.frame_TCHW[3:7])
    assert torch.allclose(middle.action_UR, whole.action_UR[3:6], atol=1e-5)
    changes = LeRobotFolder(recorded, LabelConfig(actions="state")).read(2, 40, frames_per_second=4.0)
    assert torch.allclose(changes.action_UR, changes.pose_TR.diff(dim=0), atol=1e-5)


@pytest.mark.parametrize(
    ("names", "state", "kind"),
    [
        (("dx", "dy", "dyaw"), (), "delta"),
        (("delta_x", "delta_y", "gripper"), ("x", "y", "gripper"), "delta"),
        (("vx", "vy"), (), "delta"),
        (("linear_vel", "angular_vel"), (), "delta"),
        (("shoulder_pan.pos", "elbow_flex.pos", "gripper.pos"), (), "absolute"),
        (("motor_0", "motor_1"), ("motor_0", "motor_1"), "absolute"),
        (("a", "b"), ("a", "b"), "absolute"),
        (("action 0", "action 1"), ("observation.state 0", "observation.state 1"), "delta"),
    ],
)
def test_the_kind_of_action_is_guessed_from_names(names, state, kind):
    assert guess_action_kind(names, state) == kind


def test_absolute_actions_are_differenced(copy):
    """The action between two frames is how far the target moved."""
    table = LeRobotFolder(copy).read(2, 40)
    info = json.loads((copy / "meta" / "info.json").read_text())
    info["features"]["action"]["names"] = ["x.pos", "y.pos"]
    (copy / "meta" / "info.json").write_text(json.dumps(info))
    targets, plain = LeRobotFolder(copy), LeRobotFolder(copy, LabelConfig(actions="delta"))
    assert targets.actions == "absolute" and torch.equal(plain.read(2, 40).action_UR, table.action_UR)
    table_TR = targets._episode_table(targets.rows[2])["action"]
    assert np.allclose(targets.read(2, 40).action_UR, np.diff(table_TR, axis=0), atol=1e-6)
    with pytest.raises(DatasetError, match="has no camera 'observation"):
        LeRobotFolder(copy, LabelConfig(camera="observation.images.side"))
    with pytest.raises(ValueError, match="actions must be one of auto, delta, absolute, state, got 'sum'"):
        LabelConfig(actions="sum")


def test_trusted_files_stay_open(recorded, monkeypatch):
    opened = []
    monkeypatch.setattr(lerobot, "VideoReader", lambda path: opened.append(path) or VideoReader(path))
    folder = LeRobotFolder(recorded, trusted=True)
    for index in (0, 1, 2, 0, 6, 1):
        folder.read(index, 40)
    assert len(opened) == 2


def test_untrusted_videos_are_decoded_in_the_sandbox(recorded, monkeypatch):
    """One process decodes several episodes, and the frames are those of a trusted file."""
    requests, run = [], sandbox._run
    monkeypatch.setattr(sandbox, "_run", lambda *given: requests.append(given) or run(*given))
    monkeypatch.setattr(containers, "open_container", None)  # nothing is opened in this process
    folder = LeRobotFolder(recorded)
    sandboxed = [folder.read(index, 40).frame_TCHW for index in range(7)]
    assert len(requests) <= 3
    monkeypatch.undo()
    trusted = LeRobotFolder(recorded, trusted=True)
    for index, frame_TCHW in enumerate(sandboxed):
        assert torch.equal(frame_TCHW, trusted.read(index, 40).frame_TCHW)


def test_recording_is_atomic_and_overwrites_nothing(recorded, tmp_path):
    with pytest.raises(ValueError, match="exists"):
        record(ToyWorld(), recorded, RecorderConfig(episodes=1, frames=2), "go")

    class Failing(ToyWorld):
        def step(self, action_R):
            raise RuntimeError("out of power")

    with pytest.raises(RuntimeError):
        record(Failing(), tmp_path / "new", RecorderConfig(episodes=1, frames=3), "go")
    assert list(tmp_path.iterdir()) == []


def test_info_and_statistics_follow_the_format(recorded):
    info = json.loads((recorded / "meta" / "info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_episodes"] == 7 and info["total_frames"] == 63
    assert info["features"]["observation.images.camera"]["shape"] == [40, 40, 3]
    stats = json.loads((recorded / "meta" / "stats.json").read_text())
    actions = np.concatenate([LeRobotFolder(recorded).read(i, 16).action_UR for i in range(7)])
    actions = np.concatenate((actions, np.zeros((7, 2))))  # the last frame of each episode
    assert np.allclose(stats["action"]["mean"], actions.mean(axis=0), atol=1e-6)
    assert np.allclose(stats["action"]["std"], actions.std(axis=0), atol=1e-6)
    assert np.array(stats["observation.images.camera"]["mean"]).shape == (3, 1, 1)
    rows = parquet.read_table(recorded / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["data/file_index"] for row in rows] == [0, 0, 0, 1, 1, 1, 2]
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows[2:4]] == [(18, 27), (27, 36)]
    assert rows[1]["videos/observation.images.camera/from_timestamp"] == 1.5


def official_sample(home):
    """Write a folder as lerobot's own recorder does.

    It has two cameras, several files and chunks, tasks as pandas' index, statistics among the columns of episodes, an
    action of one dimension, and episodes of different lengths.
    """
    key = "observation.images.laptop"
    lengths, files = [10, 6, 8], [(0, 0), (0, 0), (1, 0)]
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    features = {
        "action": {"dtype": "float32", "shape": [1], "names": {"motors": ["gripper.pos"]}},
        "observation.state": {"dtype": "float32", "shape": [2], "names": ["a", "b"]},
        "observation.images.phone": {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        key: {"dtype": "video", "shape": [48, 64, 3], "names": ["height", "width", "channels"]},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v3.0", "robot_type": "so101_follower", "total_episodes": 3, "total_frames": 24, "fps": 10,
        "chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200, "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "video_path": video_path,
        "features": features,
    }  # fmt: skip
    (home / "meta/episodes/chunk-000").mkdir(parents=True)
    (home / "meta/info.json").write_text(json.dumps(info))
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": ["Pick the cube", "Place it"]})
    parquet.write_table(tasks, home / "meta/tasks.parquet")
    rows, first, seconds = [], 0, {}
    for episode, (length, (chunk, file)) in enumerate(zip(lengths, files, strict=True)):
        start = seconds.get(chunk, 0.0)
        row = {
            "episode_index": episode, "tasks": [["Pick the cube"], ["Place it"], ["Place it"]][episode],
            "length": length,
            "data/chunk_index": chunk, "data/file_index": file, "dataset_from_index": first,
            "dataset_to_index": first + length, "stats/action/mean": [0.5], "meta/episodes/chunk_index": 0,
        }  # fmt: skip
        for camera in (key, "observation.images.phone"):
            row |= {f"videos/{camera}/chunk_index": chunk, f"videos/{camera}/file_index": file}
            row |= {f"videos/{camera}/from_timestamp": start, f"videos/{camera}/to_timestamp": start + length / 10}
        rows.append(row)
        first, seconds[chunk] = first + length, start + length / 10
    parquet.write_table(pa.Table.from_pylist(rows[::-1]), home / "meta/episodes/chunk-000/file-000.parquet")
    for chunk in (0, 1):
        mine = [e for e in range(3) if files[e][0] == chunk]
        frames = torch.cat([torch.linspace(0.1, 0.9, lengths[e])[:, None, None, None] for e in mine])
        for camera, tint in ((key, 1.0), ("observation.images.phone", 0.5)):
            path = home / video_path.format(video_key=camera, chunk_index=chunk, file_index=0)
            path.parent.mkdir(parents=True)
            write_clip(path, tint * frames.expand(-1, 3, 48, 64), 10)
        table = {
            "action": pa.array([float(t) for e in mine for t in range(lengths[e])], pa.float32()),
            "observation.state": [[float(e), float(t)] for e in mine for t in range(lengths[e])],
            "timestamp": pa.array([t / 10 for e in mine for t in range(lengths[e])], pa.float32()),
            "frame_index": [t for e in mine for t in range(lengths[e])],
            "episode_index": [e for e in mine for t in range(lengths[e])],
            "index": [sum(lengths[:e]) + t for e in mine for t in range(lengths[e])],
            "task_index": [min(e, 1) for e in mine for t in range(lengths[e])],
        }
        path = home / f"data/chunk-{chunk:03d}/file-000.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pa.table(table), path)
    return home


def test_the_official_layout_is_read(tmp_path):
    folder = LeRobotFolder(official_sample(tmp_path / "set"), LabelConfig(camera="observation.images.laptop"))
    assert folder.cameras == ("observation.images.phone", "observation.images.laptop")
    assert folder.action_names == ("gripper.pos",) and folder.episodes("train") == [0, 1, 2]
    for index, length in enumerate((10, 6, 8)):
        episode = folder.read(index, 32)
        level = episode.frame_TCHW.mean(dim=(1, 2, 3))
        assert torch.allclose(level, torch.linspace(0.1, 0.9, length), atol=0.02)
        assert episode.action_UR[:, 0].tolist() == [1.0] * (length - 1)  # targets by their name
        assert episode.pose_TR.tolist() == [[index, t] for t in range(length)]
        assert episode.task == ("Pick the cube" if index == 0 else "Place it")
    assert LeRobotFolder(tmp_path / "set").read(1, 32).frame_TCHW.max() < 0.6  # the other camera
