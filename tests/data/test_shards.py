"""Shards: same clips as a cache from a fraction of the bytes, drawn by index, in files that other tools read."""

import io
import json
import shutil
import tarfile

import av
import numpy as np
import pytest
import torch
import webdataset

from lawm_core.batch_slice import BatchSlice
from lawm_core.bulk import shard_writer
from lawm_core.bulk.shard_writer import ShardConfig, write_shards
from lawm_core.cli.main import USAGE, main
from lawm_core.data.clip_dataset import ClipCacheConfig, ClipDataset, build_cache, open_dataset
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.training.batches import PairBatchConfig, PairSource
from lawm_core.types import VideoError
from lawm_core.video.files import write_clip
from lawm_core.video.packed_video import pack_frames, unpack_frames

FRAMES = ClipCacheConfig(frames_per_second=12.0, short_side=41)
CONFIG = ShardConfig(frames=FRAMES, clips_per_shard=3, workers=2)
VIDEOS = 8
NEAR = 0.03  # allowed mean error of a pixel due to compression


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of moving blobs, in which every frame differs, and a file that is no video."""
    home = tmp_path_factory.mktemp("videos")
    line = torch.arange(60) / 60
    for i in range(VIDEOS):
        wave_HW = (6 * line[:48, None] + i).sin() * (5 * line[None, :] + i).cos()
        frame_THW = torch.stack([wave_HW.roll((t, 2 * t), (0, 1)) for t in range(20 + i)]) / 2.2 + 0.5
        write_clip(home / f"clip {i}.mp4", frame_THW[:, None].expand(-1, 3, -1, -1), 12)
    (home / "broken.mp4").write_text("not a video")
    rows = [f"clip {i}.mp4,{'val' if i == 5 else 'train'}" for i in range(VIDEOS)]
    (home / "manifest.csv").write_text("\n".join(["file,split", *rows, "broken.mp4,train"]))
    return home


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("shards")
    assert write_shards(folder, home, CONFIG) == {"clips": VIDEOS, "skipped": 1, "shards": 4}
    return home


def brightening(frames: int) -> np.ndarray:
    """Return byte_TCHW of 41 x 53 pixels in which each frame is brighter than the one before."""
    level_T = np.linspace(20, 235, frames).round().astype(np.uint8)
    return np.broadcast_to(level_T[:, None, None, None], (frames, 3, 41, 53)).copy()


@pytest.mark.parametrize(
    ("start", "count", "stride"), [(0, 40, 1), (0, 3, 2), (11, 2, 1), (12, 5, 3), (27, 6, 2), (39, 1, 1)]
)
def test_any_frames_of_a_packed_video_can_be_decoded(start, count, stride):
    true_TCHW = brightening(40)
    packed = pack_frames([true_TCHW[:17], true_TCHW[17:]], 12.0)
    assert packed == pack_frames([true_TCHW], 12.0)
    found_TCHW = unpack_frames(packed, 12.0, 41, 53, start, count, stride)
    assert found_TCHW.shape == (count, 3, 41, 53)
    wanted_TCHW = true_TCHW[start : start + stride * count : stride]
    assert np.abs(found_TCHW.astype(int) - wanted_TCHW).max() <= 2  # neighbours are 5 apart


def test_missing_frames_and_damaged_videos_raise_an_error():
    packed = pack_frames([brightening(10)], 12.0)
    with pytest.raises(VideoError, match="has no frame 10; 3 frames from 8 on were requested"):
        unpack_frames(packed, 12.0, 41, 53, 8, 3)
    for damaged in (packed[: len(packed) // 2], b"not a video", b""):
        with pytest.raises(VideoError, match="the stored video"):
            unpack_frames(damaged, 12.0, 41, 53, 0, 2)


def test_shards_give_the_same_clips_as_a_cache(folder, shards, tmp_path):
    cached = {c.name: c for c in ClipDataset(build_cache(folder, tmp_path, FRAMES), "train", 6.0, 32).clips}
    dataset, whole = (
        open_dataset(shards, tmp_path, "train", 6.0, 32),
        ClipDataset(build_cache(folder, tmp_path, FRAMES), "train", 6.0, 32),
    )
    assert sorted(c.name for c in dataset.clips) == sorted(cached) and len(dataset.clips) == VIDEOS - 1
    assert dataset.stride == 2 and list(dataset.skipped) == ["broken.mp4"]
    for clip in dataset.clips:
        other = cached[clip.name]
        assert (clip.frames, clip.height, clip.width) == (other.frames, other.height, other.width)
        error = np.abs(dataset.frames(clip).astype(float) - whole.frames(other)) / 255
        assert error.mean() < NEAR and error[-1].mean() < NEAR
    assert dataset.stills(2, 40).shape == whole.stills(2, 40).shape
    ours, theirs = ({n: w for w, n in zip(*each.windows(4, 1), strict=True)} for each in (dataset, whole))
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().mean() for name in ours) < NEAR


def test_shards_are_smaller_than_a_quarter_of_a_cache(folder, shards, tmp_path):
    cache = (build_cache(folder, tmp_path, FRAMES) / "frames.bin").stat().st_size
    assert sum(path.stat().st_size for path in shards.iterdir()) < cache / 4


def test_a_batch_does_not_depend_on_its_number_of_slices(shards, tmp_path):
    config = PairBatchConfig(
        clips=8, num_shards=4, frames=4, synthetic_fraction=0.25, scenes=SyntheticConfig(frame_size=32)
    )
    source = lambda: PairSource(config, open_dataset(shards, tmp_path, "train", 6.0, 32), torch.device("cpu"), seed=0)
    whole = source().draw(5, BatchSlice(0, 1)).target_BTCHW
    parts = [source().draw(5, BatchSlice(index, 4)).target_BTCHW for index in (3, 0, 2, 1)]
    assert torch.equal(whole, torch.cat([parts[1], parts[3], parts[2], parts[0]]))
    assert not torch.equal(whole, source().draw(6, BatchSlice(0, 1)).target_BTCHW)


def test_webdataset_reads_shards(shards):
    found = {}
    for split, last in (("train", 2), ("val", 0)):
        urls = [str(shards / f"{split}-{number:06d}.tar") for number in range(last + 1)]
        for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
            metadata = json.loads(sample["json"])
            with av.open(io.BytesIO(sample["mp4"])) as container:
                assert sum(1 for _ in container.decode(video=0)) == metadata["frames"]
            found[metadata["name"]] = metadata["split"]
    assert found == {f"clip {i}.mp4": "val" if i == 5 else "train" for i in range(VIDEOS)}


def test_an_interrupted_run_continues_and_gives_the_same_bytes(folder, shards, tmp_path, monkeypatch):
    written, write = [], shard_writer.write_shard

    def stop_at_third(plan, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(plan)
        return write(plan, *rest)

    monkeypatch.setattr(shard_writer, "write_shard", stop_at_third)
    config = ShardConfig(frames=FRAMES, clips_per_shard=3)
    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, tmp_path, config)
    with pytest.raises(ValueError, match="does not have complete shards"):
        ClipDataset(tmp_path, "train", 6.0, 32)
    monkeypatch.setattr(shard_writer, "write_shard", lambda plan, *rest: written.append(plan) or write(plan, *rest))
    write_shards(folder, tmp_path, config)
    assert sorted((plan.split, plan.number) for plan in written) == [("train", i) for i in range(3)] + [("val", 0)]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}


def test_shards_of_other_settings_are_not_mixed(folder, shards, tmp_path):
    with pytest.raises(ValueError, match="Choose another folder"):
        write_shards(folder, shards, ShardConfig(frames=FRAMES, clips_per_shard=2))
    for name in ("clips_per_shard", "workers"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            ShardConfig(frames=FRAMES, **{name: 0})


@pytest.mark.parametrize(("rate", "size"), [(5.0, 32), (6.0, 64)])
def test_shards_with_too_few_frames_or_pixels_raise_an_error(shards, rate, size):
    with pytest.raises(ValueError, match=r"must have a multiple of .*, got 12 frames per second and 41 pixels"):
        ClipDataset(shards, "train", rate, size)


def test_a_damaged_shard_raises_an_error_with_its_name(folder, tmp_path):
    write_shards(folder, tmp_path, CONFIG)
    for shard in tmp_path.glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:600] + bytes(shard.stat().st_size - 600))
    dataset = ClipDataset(tmp_path, "train", 6.0, 32)
    with pytest.raises(VideoError, match=r"clip \d.mp4 in train-00000\d.tar: the stored video"):
        dataset.draw(4, 4, torch.Generator().manual_seed(0))
    (tmp_path / "index.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="does not have complete shards"):
        ClipDataset(tmp_path, "train", 6.0, 32)


@pytest.mark.parametrize("end", [None, 0, 600, 9000])
def test_a_missing_or_truncated_shard_raises_an_error_and_is_written_again(folder, shards, tmp_path, end):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    shard = out / "train-000001.tar"
    whole, index = shard.read_bytes(), (out / "index.parquet").read_bytes()
    shard.unlink() if end is None else shard.write_bytes(whole[:end])
    with pytest.raises(
        ValueError, match=r"does not have complete shards: train-000001.tar (is missing|has only \d+ bytes)"
    ):
        ClipDataset(out, "train", 6.0, 32)
    write_shards(folder, out, ShardConfig(frames=FRAMES, clips_per_shard=3))
    assert shard.read_bytes() == whole and (out / "index.parquet").read_bytes() == index


def test_leftovers_of_a_killed_run_are_removed_and_files_of_others_are_kept(folder, shards, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    (out / ".train-000001.tar.a1b2").write_bytes(b"half")
    write_shards(folder, out, ShardConfig(frames=FRAMES, clips_per_shard=3))
    assert {p.name for p in out.iterdir()} == {p.name for p in shards.iterdir()}
    (out / "shards.json").unlink()
    with pytest.raises(ValueError, match=r"train-000000.tar, which `lawm shards` did not write"):
        write_shards(folder, out, ShardConfig(frames=FRAMES, clips_per_shard=3))
    assert not (out / "shards.json").exists()


def test_the_command_writes_shards_for_training(folder, tmp_path, capsys):
    out = str(tmp_path / "shards")
    assert main(["shards", str(folder), "--out", out, "--clips", "4", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["clips"] == VIDEOS and "skipped broken.mp4: " in printed.err
    with tarfile.open(tmp_path / "shards" / "train-000000.tar") as tar:
        assert [name.split(".")[1] for name in tar.getnames()] == ["mp4", "json"] * 4
    run = ["train", "encoder", "--data", out, "--out", str(tmp_path / "run"), "--steps", "2", "--quiet"]
    assert main(run) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 2
    with pytest.raises(SystemExit) as ended:
        main(["shards", str(folder), "--out", out, "--recipe", "grand"])
    assert ended.value.code == USAGE and "recipe must be one of" in capsys.readouterr().err
