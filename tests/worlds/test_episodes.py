"""Labelled episodes as batches, and several worlds as one."""

import json
import shutil

import pyarrow.parquet as parquet
import pytest
import torch

from lawm_core.worlds.episodes import EpisodeWorld, build_episodes
from lawm_core.worlds.lerobot import DatasetError, LeRobotFolder
from lawm_core.worlds.mixture import MixedWorld
from lawm_core.worlds.recorder import RecorderConfig, record, return_to
from tests.worlds.test_lerobot import ToyWorld


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=10, val_share=0.34, episodes_a_file=3), "go")


@pytest.fixture(scope="module")
def home(folder, tmp_path_factory):
    return build_episodes(folder, tmp_path_factory.mktemp("cache"), 6.0, 40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pieces_are_those_of_the_episodes(home, folder):
    world, data = EpisodeWorld(home, "val"), LeRobotFolder(folder)
    assert world.names == ("dx", "dy") and len(world.spans) == 2
    piece = world.windows(10, 2, seed=0)
    for i, index in enumerate(
        sorted((4, 5), key=lambda e: float((data.read(e, 40).pose_TK[0] - piece.pose_BTK[0, 0]).norm()))
    ):
        episode = data.read(index, 40)
        assert (episode.frame_TCHW - piece.frame_BTCHW[i]).abs().max() < 1 / 255
        assert torch.allclose(episode.action_UK, piece.action_BUK[i]) and torch.allclose(
            episode.pose_TK, piece.pose_BTK[i]
        )


def test_labels_fit_the_frames_they_are_drawn_with(home):
    """A toy's pose is the place of its bright square, and no piece runs over the end of an episode."""
    world = EpisodeWorld(home, "train")
    drawn = world.draw_labelled(64, 4, seeded())
    assert torch.allclose(drawn.pose_BTK.diff(dim=1), drawn.action_BUK, atol=1e-5)
    bright = drawn.frame_BTCHW.mean(dim=2) > 0.55
    place = torch.arange(40.0)
    seen_x = (bright.float().sum(dim=2) * place).sum(dim=-1) / bright.sum(dim=(2, 3)) - 3.5
    assert (seen_x - drawn.pose_BTK[..., 0]).abs().max() < 0.6
    assert torch.equal(
        world.draw_labelled(8, 4, seeded(3)).frame_BTCHW, world.draw_labelled(8, 4, seeded(3)).frame_BTCHW
    )


def test_the_spread_is_that_of_real_actions(home):
    world = EpisodeWorld(home, None)
    whole = world.windows(10, 6, seed=0).action_BUK.flatten(0, 1)
    assert torch.allclose(world.spread_K, whole.std(dim=0), atol=1e-4)


def test_a_second_build_decodes_nothing(home, folder, monkeypatch):
    monkeypatch.setattr(LeRobotFolder, "read", lambda *a, **k: pytest.fail("decoded again"))
    assert build_episodes(folder, home.parent, 6.0, 40) == home


def test_a_broken_episode_is_left_out_and_named(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "data/chunk-000/file-001.parquet").unlink()
    world = EpisodeWorld(build_episodes(broken, tmp_path / "cache", 6.0, 40), "train")
    assert sorted(world.refused) == ["3", "4", "5"] and len(world.spans) == 3
    with pytest.raises(DatasetError, match="no episode of split val"):
        EpisodeWorld(build_episodes(broken, tmp_path / "cache", 6.0, 40), "val")


def test_what_cannot_be_drawn_is_named(home):
    with pytest.raises(DatasetError, match="no episode has 11 frames; the longest has 10"):
        EpisodeWorld(home, "train").draw_labelled(1, 11, seeded())
    with pytest.raises(DatasetError, match="no split 'test'; it has: train, val"):
        EpisodeWorld(home, "test")
    assert json.loads((home / "index.json").read_text())["size"] == 40


class Flat:
    """A world of one grey."""

    def __init__(self, level):
        self.level = level

    def draw(self, clips, frames, generator):
        return torch.full((clips, frames, 3, 8, 8), self.level)

    def stills(self, a_clip, size):
        return torch.full((a_clip, 3, size, size), self.level)


def test_a_mixture_keeps_its_shares():
    world = MixedWorld([Flat(0.1), Flat(0.9), Flat(0.5)], [3, 1, 0])
    generator = seeded()
    level = torch.cat([world.draw(16, 2, generator)[:, 0, 0, 0, 0] for _ in range(60)])
    assert abs((level > 0.8).float().mean() - 0.25) < 0.05 and not (level == 0.5).any()
    assert world.stills(2, 4).shape == (4, 3, 4, 4)
    with pytest.raises(ValueError, match="a share of 0 or more"):
        MixedWorld([Flat(0.1)], [-1])


def test_a_piece_is_found_again_in_the_world_it_was_recorded_in(home):
    piece, world = EpisodeWorld(home, "train").windows(4, 5, seed=2), ToyWorld()
    assert piece.scene_B2[:, 1].any()
    for (seed, frame), pose_TK, frame_TCHW in zip(
        piece.scene_B2.tolist(), piece.pose_BTK, piece.frame_BTCHW, strict=True
    ):
        return_to(world, seed, frame)
        assert world.pose().tolist() == pose_TK[0].tolist()
        assert (world.look() - frame_TCHW[0]).abs().mean() < 0.03


def test_scenes_that_are_not_told_are_not_invented(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "without")
    for path in (copy / "meta" / "episodes").glob("*/*.parquet"):
        parquet.write_table(parquet.read_table(path).drop_columns(["scene_seed"]), path)
    world = EpisodeWorld(build_episodes(copy, tmp_path / "cache", 6.0, 40), None)
    assert world.windows(4, 2, seed=0).scene_B2 is None
    slower = EpisodeWorld(build_episodes(folder, tmp_path / "cache", 3.0, 40), None)  # its frames are other moments
    assert slower.windows(3, 2, seed=0).scene_B2 is None
