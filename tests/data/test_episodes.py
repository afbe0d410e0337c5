"""Data set of labelled episodes, and mixtures of data sets."""

import json
import shutil

import pyarrow.parquet as parquet
import pytest
import torch

from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.data.lerobot import DatasetError, LeRobotFolder
from lawm_core.data.mixture import MixedDataset, VideoDataset
from lawm_core.simulation.recorder import RecorderConfig, record, seek
from tests.toy_world import ToyWorld


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=10, val_fraction=0.34, episodes_per_file=3), "go")


@pytest.fixture(scope="module")
def home(folder, tmp_path_factory):
    return build_episodes(folder, tmp_path_factory.mktemp("cache"), 6.0, 40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_windows_are_those_of_the_episodes(home, folder):
    dataset, data = EpisodeDataset(home, "val"), LeRobotFolder(folder)
    assert dataset.names == ("dx", "dy") and len(dataset.spans) == 2
    batch = dataset.windows(10, 2, seed=0)
    for i, index in enumerate(
        sorted((4, 5), key=lambda e: float((data.read(e, 40).pose_TR[0] - batch.pose_BTR[0, 0]).norm()))
    ):
        episode = data.read(index, 40)
        assert (episode.frame_TCHW - batch.frame_BTCHW[i]).abs().max() < 1 / 255
        assert torch.allclose(episode.action_UR, batch.action_BUR[i]) and torch.allclose(
            episode.pose_TR, batch.pose_BTR[i]
        )


def test_labels_belong_to_their_frames(home):
    """The toy's pose is the position of its bright square. No window crosses the end of an episode."""
    dataset = EpisodeDataset(home, "train")
    drawn = dataset.draw_labelled(64, 4, seeded())
    assert torch.allclose(drawn.pose_BTR.diff(dim=1), drawn.action_BUR, atol=1e-5)
    bright = drawn.frame_BTCHW.mean(dim=2) > 0.55
    column = torch.arange(40.0)
    seen_x = (bright.float().sum(dim=2) * column).sum(dim=-1) / bright.sum(dim=(2, 3)) - 3.5
    assert (seen_x - drawn.pose_BTR[..., 0]).abs().max() < 0.6
    assert torch.equal(
        dataset.draw_labelled(8, 4, seeded(3)).frame_BTCHW, dataset.draw_labelled(8, 4, seeded(3)).frame_BTCHW
    )


def test_std_is_that_of_the_recorded_actions(home):
    dataset = EpisodeDataset(home, None)
    whole = dataset.windows(10, 6, seed=0).action_BUR.flatten(0, 1)
    assert torch.allclose(dataset.std_R, whole.std(dim=0), atol=1e-4)


def test_a_second_build_decodes_nothing(home, folder, monkeypatch):
    monkeypatch.setattr(LeRobotFolder, "read", lambda *a, **k: pytest.fail("decoded again"))
    assert build_episodes(folder, home.parent, 6.0, 40) == home


def test_unreadable_episodes_are_skipped_with_a_reason(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "data/chunk-000/file-001.parquet").unlink()
    dataset = EpisodeDataset(build_episodes(broken, tmp_path / "cache", 6.0, 40), "train")
    assert sorted(dataset.skipped) == ["3", "4", "5"] and len(dataset.spans) == 3
    with pytest.raises(DatasetError, match="no episode of split val"):
        EpisodeDataset(build_episodes(broken, tmp_path / "cache", 6.0, 40), "val")


def test_invalid_requests_raise_an_error_with_the_reason(home):
    with pytest.raises(DatasetError, match="no episode has 11 frames; the longest has 10"):
        EpisodeDataset(home, "train").draw_labelled(1, 11, seeded())
    with pytest.raises(DatasetError, match="no split 'test'; it has train, val"):
        EpisodeDataset(home, "test")
    assert json.loads((home / "index.json").read_text())["size"] == 40


class Flat(VideoDataset):
    """A data set of one grey level."""

    def __init__(self, level):
        self.level = level

    def draw(self, clips, frames, generator):
        return torch.full((clips, frames, 3, 8, 8), self.level)

    def stills(self, per_clip, size):
        return torch.full((per_clip, 3, size, size), self.level)


def test_a_mixture_draws_with_its_weights():
    dataset = MixedDataset([Flat(0.1), Flat(0.9), Flat(0.5)], [3, 1, 0])
    generator = seeded()
    level = torch.cat([dataset.draw(16, 2, generator)[:, 0, 0, 0, 0] for _ in range(60)])
    assert abs((level > 0.8).float().mean() - 0.25) < 0.05 and not (level == 0.5).any()
    assert dataset.stills(2, 4).shape == (4, 3, 4, 4)
    with pytest.raises(ValueError, match="one weight of at least 0 per data set"):
        MixedDataset([Flat(0.1)], [-1])


def test_the_simulator_returns_to_the_start_of_a_window(home):
    batch, simulator = EpisodeDataset(home, "train").windows(4, 5, seed=2), ToyWorld()
    assert batch.scene_B2[:, 1].any()
    for (seed, frame), pose_TR, frame_TCHW in zip(
        batch.scene_B2.tolist(), batch.pose_BTR, batch.frame_BTCHW, strict=True
    ):
        seek(simulator, seed, frame)
        assert simulator.pose().tolist() == pose_TR[0].tolist()
        assert (simulator.render() - frame_TCHW[0]).abs().mean() < 0.03


def test_scenes_are_none_if_the_recording_has_none_or_another_rate(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "without")
    for path in (copy / "meta" / "episodes").glob("*/*.parquet"):
        parquet.write_table(parquet.read_table(path).drop_columns(["scene_seed"]), path)
    dataset = EpisodeDataset(build_episodes(copy, tmp_path / "cache", 6.0, 40), None)
    assert dataset.windows(4, 2, seed=0).scene_B2 is None
    slower = EpisodeDataset(
        build_episodes(folder, tmp_path / "cache", 3.0, 40), None
    )  # other frames than the recorded ones
    assert slower.windows(3, 2, seed=0).scene_B2 is None
