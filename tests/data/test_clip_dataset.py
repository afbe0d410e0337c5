"""Data set of a folder of videos: decoded once, split by manifest, damaged files skipped with a reason."""

import csv

import pytest
import torch

from lawm_core.data import clip_dataset as clips_module
from lawm_core.data.clip_dataset import ClipCacheConfig, ClipDataset, build_cache, cache_config, open_dataset
from lawm_core.video.files import write_clip

CONFIG = ClipCacheConfig(frames_per_second=12.0, short_side=40)


def ramp(frames: int, level: float) -> torch.Tensor:
    """Return frames of 48 x 64 pixels whose brightness encodes the index of the frame."""
    return (level + torch.arange(frames) / 100).clamp(0, 1)[:, None, None, None].expand(-1, 3, 48, 64).contiguous()


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "videos"
    home.mkdir()
    write_clip(home / "a.mp4", ramp(24, 0.1), 12)
    write_clip(home / "b.mp4", ramp(30, 0.5), 12)
    write_clip(home / "c.mp4", ramp(24, 0.7), 12)
    (home / "broken.mp4").write_text("not a video")
    with (home / "manifest.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerows(
            [["file", "split"], ["a.mp4", "train"], ["b.mp4", "train"], ["c.mp4", "val"], ["broken.mp4", "train"]]
        )
    return home


def test_the_cache_has_all_frames_and_the_reasons_for_skipped_videos(folder, tmp_path):
    dataset = ClipDataset(build_cache(folder, tmp_path / "cache", CONFIG), "train", 6.0, 32)
    assert [c.name for c in dataset.clips] == ["a.mp4", "b.mp4"]
    assert list(dataset.skipped) == ["broken.mp4"] and "broken.mp4" in dataset.skipped["broken.mp4"]
    a, b = dataset.clips
    assert (a.frames, a.height, b.frames) == (24, 40, 30) and a.width in (53, 54)
    brightness = dataset.frames(b).mean(axis=(1, 2, 3)) / 255
    assert abs(brightness[20] - 0.7) < 0.02 and abs(brightness[0] - 0.5) < 0.02


def test_a_second_build_decodes_nothing(folder, tmp_path, monkeypatch):
    home = build_cache(folder, tmp_path / "cache", CONFIG)
    monkeypatch.setattr(clips_module, "read_frames", lambda *a: pytest.fail("decoded again"))
    assert build_cache(folder, tmp_path / "cache", CONFIG) == home


def test_a_changed_folder_is_decoded_again(folder, tmp_path):
    home = build_cache(folder, tmp_path / "cache", CONFIG)
    write_clip(folder / "a.mp4", ramp(12, 0.3), 12)
    assert build_cache(folder, tmp_path / "cache", CONFIG) != home


def test_opening_a_split_decodes_only_its_videos(folder, tmp_path, monkeypatch):
    decoded, read = [], clips_module.read_frames
    monkeypatch.setattr(clips_module, "read_frames", lambda path, *a: decoded.append(path.name) or read(path, *a))
    dataset = open_dataset(folder, tmp_path / "cache", "val", 6.0, 32)
    assert decoded == ["c.mp4"] and [c.name for c in dataset.clips] == ["c.mp4"] and not dataset.skipped


def test_draws_have_the_models_rate_and_depend_on_the_seed_alone(folder, tmp_path):
    dataset = ClipDataset(build_cache(folder, tmp_path / "cache", CONFIG), "train", 6.0, 32)
    one, two = (dataset.draw(16, 5, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (16, 5, 3, 32, 32)
    step = one.mean(dim=(2, 3, 4)).diff(dim=1)
    # Every second frame of a ramp of 1/100 per frame, forwards or backwards.
    assert (step.abs() - 0.02).abs().max() < 0.01 and (step > 0).any() and (step < 0).any()


def test_evaluation_windows_are_centred_and_evenly_spaced(folder, tmp_path):
    dataset = ClipDataset(build_cache(folder, tmp_path / "cache", CONFIG), "val", 6.0, 32)
    frame, names = dataset.windows(4, 3)
    assert frame.shape == (3, 4, 3, 32, 32) and names == ["c.mp4"] * 3
    assert (frame.mean(dim=(2, 3, 4)).diff(dim=1) > 0).all()
    first, names = dataset.first_windows(4)
    assert names == ["c.mp4"] and (first[0].mean(dim=(1, 2, 3)) < frame[0].mean(dim=(1, 2, 3))).all()


def test_too_many_frames_raise_an_error_with_the_longest_video(folder, tmp_path):
    dataset = ClipDataset(build_cache(folder, tmp_path / "cache", CONFIG), "train", 6.0, 32)
    with pytest.raises(ValueError, match=r"no video has 40 frames.*longest has 15"):
        dataset.draw(1, 40, torch.Generator())


def test_cache_settings_follow_the_model():
    assert cache_config(6.0, 64) == ClipCacheConfig(frames_per_second=12.0, short_side=80)
    assert cache_config(6.0, 64, 128) == ClipCacheConfig(frames_per_second=6.0, short_side=144)
