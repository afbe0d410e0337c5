"""Laws of shards: what a cache gives, from a fraction of the bytes, drawn by number; files that others can read."""

import io
import json
import shutil
import tarfile

import av
import numpy as np
import pytest
import torch
import webdataset

from lawm_core.cli import USAGE, main
from lawm_core.contracts import VideoError
from lawm_core.shares import Share
from lawm_core.training.batches import BatchConfig, PairSource
from lawm_core.video.files import write_clip
from lawm_core.video.packed import pack_frames, unpack_frames
from lawm_core.worlds import shard_writer
from lawm_core.worlds.clips import ClipCacheConfig, ClipWorld, build_cache, open_world
from lawm_core.worlds.shard_writer import ShardConfig, write_shards
from lawm_core.worlds.tracks import TwinConfig

FOOTAGE = ClipCacheConfig(frames_per_second=12.0, short_side=41)
CONFIG = ShardConfig(footage=FOOTAGE, clips=3, workers=2)
VIDEOS = 8
NEAR = 0.03  # mean error of a pixel that packing may cost


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Blobs that wander, so that every frame differs; one file that is no video."""
    home = tmp_path_factory.mktemp("videos")
    place = torch.arange(60) / 60
    for i in range(VIDEOS):
        wave_HW = (6 * place[:48, None] + i).sin() * (5 * place[None, :] + i).cos()
        frame_THW = torch.stack([wave_HW.roll((t, 2 * t), (0, 1)) for t in range(20 + i)]) / 2.2 + 0.5
        write_clip(home / f"clip {i}.mp4", frame_THW[:, None].expand(-1, 3, -1, -1), 12)
    (home / "broken.mp4").write_text("not a video")
    rows = [f"clip {i}.mp4,{'val' if i == 5 else 'train'}" for i in range(VIDEOS)]
    (home / "manifest.csv").write_text("\n".join(["file,split", *rows, "broken.mp4,train"]))
    return home


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("shards")
    assert write_shards(folder, home, CONFIG) == {"clips": VIDEOS, "refused": 1, "shards": 4}
    return home


def cut_cuts(frames: int) -> np.ndarray:
    """Frames that tell their number: squares of 41 x 53 pixels, lighter from frame to frame."""
    level_T = np.linspace(20, 235, frames).round().astype(np.uint8)
    return np.broadcast_to(level_T[:, None, None, None], (frames, 3, 41, 53)).copy()


@pytest.mark.parametrize(
    ("start", "count", "stride"), [(0, 40, 1), (0, 3, 2), (11, 2, 1), (12, 5, 3), (27, 6, 2), (39, 1, 1)]
)
def test_any_frames_of_a_packed_video_are_the_ones_asked_for(start, count, stride):
    true_TCHW = cut_cuts(40)
    packed = pack_frames([true_TCHW[:17], true_TCHW[17:]], 12.0)
    assert packed == pack_frames([true_TCHW], 12.0)
    found_TCHW = unpack_frames(packed, 12.0, 41, 53, start, count, stride)
    assert found_TCHW.shape == (count, 3, 41, 53)
    wanted_TCHW = true_TCHW[start : start + stride * count : stride]
    assert np.abs(found_TCHW.astype(int) - wanted_TCHW).max() <= 2  # neighbours are 5 apart


def test_frames_that_are_not_there_are_refused():
    packed = pack_frames([cut_cuts(10)], 12.0)
    with pytest.raises(VideoError, match="has no frame 10; 3 from 8 on"):
        unpack_frames(packed, 12.0, 41, 53, 8, 3)
    for damaged in (packed[: len(packed) // 2], b"nothing of the kind", b""):
        with pytest.raises(VideoError, match="a packed video"):
            unpack_frames(damaged, 12.0, 41, 53, 0, 2)


def test_shards_give_what_a_cache_gives(folder, shards, tmp_path):
    cached = {c.name: c for c in ClipWorld(build_cache(folder, tmp_path, FOOTAGE), "train", 6.0, 32).clips}
    world, whole = (
        open_world(shards, tmp_path, "train", 6.0, 32),
        ClipWorld(build_cache(folder, tmp_path, FOOTAGE), "train", 6.0, 32),
    )
    assert sorted(c.name for c in world.clips) == sorted(cached) and len(world.clips) == VIDEOS - 1
    assert world.stride == 2 and list(world.refused) == ["broken.mp4"]
    for clip in world.clips:
        other = cached[clip.name]
        assert (clip.frames, clip.height, clip.width) == (other.frames, other.height, other.width)
        off = np.abs(world.frames(clip).astype(float) - whole.frames(other)) / 255
        assert off.mean() < NEAR and off[-1].mean() < NEAR
    assert world.stills(2, 40).shape == whole.stills(2, 40).shape
    ours, theirs = ({n: w for w, n in zip(*each.windows(4, 1), strict=True)} for each in (world, whole))
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().mean() for name in ours) < NEAR


def test_they_are_a_fraction_of_a_cache(folder, shards, tmp_path):
    cache = (build_cache(folder, tmp_path, FOOTAGE) / "frames.bin").stat().st_size
    assert sum(path.stat().st_size for path in shards.iterdir()) < cache / 4


def test_draws_depend_on_their_number_alone(shards, tmp_path):
    config = BatchConfig(clips=8, lanes=4, frames=4, twin_share=0.25, twins=TwinConfig(frame_size=32))
    source = lambda: PairSource(config, open_world(shards, tmp_path, "train", 6.0, 32), torch.device("cpu"), seed=0)
    whole = source().draw(5, Share(0, 1)).target_BTCHW
    parts = [source().draw(5, Share(index, 4)).target_BTCHW for index in (3, 0, 2, 1)]
    assert torch.equal(whole, torch.cat([parts[1], parts[3], parts[2], parts[0]]))
    assert not torch.equal(whole, source().draw(6, Share(0, 1)).target_BTCHW)


def test_webdataset_reads_them(shards):
    found = {}
    for split, last in (("train", 2), ("val", 0)):
        urls = [str(shards / f"{split}-{number:06d}.tar") for number in range(last + 1)]
        for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
            about = json.loads(sample["json"])
            with av.open(io.BytesIO(sample["mp4"])) as container:
                assert sum(1 for _ in container.decode(video=0)) == about["frames"]
            found[about["name"]] = about["split"]
    assert found == {f"clip {i}.mp4": "val" if i == 5 else "train" for i in range(VIDEOS)}


def test_a_stopped_run_goes_on_and_ends_at_the_same_bytes(folder, shards, tmp_path, monkeypatch):
    made, write = [], shard_writer.write_shard

    def stop_at_third(lot, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(lot)
        return write(lot, *rest)

    monkeypatch.setattr(shard_writer, "write_shard", stop_at_third)
    one = ShardConfig(footage=FOOTAGE, clips=3)
    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, tmp_path, one)
    with pytest.raises(ValueError, match="does not hold whole shards"):
        ClipWorld(tmp_path, "train", 6.0, 32)
    monkeypatch.setattr(shard_writer, "write_shard", lambda lot, *rest: made.append(lot) or write(lot, *rest))
    write_shards(folder, tmp_path, one)
    assert sorted((lot.split, lot.number) for lot in made) == [("train", 0), ("train", 1), ("train", 2), ("val", 0)]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in shards.iterdir()}


def test_shards_of_anything_else_are_not_mixed_in(folder, shards, tmp_path):
    with pytest.raises(ValueError, match="Name another folder"):
        write_shards(folder, shards, ShardConfig(footage=FOOTAGE, clips=2))
    for changes in ({"clips": 0}, {"workers": 0}):
        with pytest.raises(ValueError, match="1 or more of each"):
            ShardConfig(footage=FOOTAGE, **changes)


@pytest.mark.parametrize(("rate", "size"), [(5.0, 32), (6.0, 64)])
def test_shards_too_coarse_for_a_model_are_refused(shards, rate, size):
    with pytest.raises(ValueError, match="12 frames a second of 41 pixels; needed: a multiple of"):
        ClipWorld(shards, "train", rate, size)


def test_a_damaged_shard_is_named(folder, tmp_path):
    write_shards(folder, tmp_path, CONFIG)
    for shard in tmp_path.glob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:600] + bytes(shard.stat().st_size - 600))
    world = ClipWorld(tmp_path, "train", 6.0, 32)
    with pytest.raises(VideoError, match=r"clip \d.mp4 in train-00000\d.tar: a packed video"):
        world.draw(4, 4, torch.Generator().manual_seed(0))
    (tmp_path / "index.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="does not hold whole shards"):
        ClipWorld(tmp_path, "train", 6.0, 32)


@pytest.mark.parametrize("end", [None, 0, 600, 9000])
def test_a_shard_that_is_missing_or_cut_is_named_at_once_and_made_anew(folder, shards, tmp_path, end):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    shard = out / "train-000001.tar"
    whole, index = shard.read_bytes(), (out / "index.parquet").read_bytes()
    shard.unlink() if end is None else shard.write_bytes(whole[:end])
    with pytest.raises(
        ValueError, match=r"does not hold whole shards: train-000001.tar (is missing|has only \d+ bytes)"
    ):
        ClipWorld(out, "train", 6.0, 32)
    write_shards(folder, out, ShardConfig(footage=FOOTAGE, clips=3))
    assert shard.read_bytes() == whole and (out / "index.parquet").read_bytes() == index


def test_what_a_killed_run_left_is_removed_and_what_others_made_is_not(folder, shards, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    (out / ".train-000001.tar.a1b2").write_bytes(b"half")
    write_shards(folder, out, ShardConfig(footage=FOOTAGE, clips=3))
    assert {p.name for p in out.iterdir()} == {p.name for p in shards.iterdir()}
    (out / "shards.json").unlink()
    with pytest.raises(ValueError, match=r"train-000000.tar, which was not made by"):
        write_shards(folder, out, ShardConfig(footage=FOOTAGE, clips=3))
    assert not (out / "shards.json").exists()


def test_shards_of_the_shell_train(folder, tmp_path, capsys):
    out = str(tmp_path / "shards")
    assert main(["shards", str(folder), "--out", out, "--clips", "4", "--quiet"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["clips"] == VIDEOS and "left out broken.mp4: " in told.err
    with tarfile.open(tmp_path / "shards" / "train-000000.tar") as tar:
        assert [name.split(".")[1] for name in tar.getnames()] == ["mp4", "json"] * 4
    run = ["train", "encoder", "--data", out, "--out", str(tmp_path / "run"), "--steps", "2", "--quiet"]
    assert main(run) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 2
    with pytest.raises(SystemExit) as ended:
        main(["shards", str(folder), "--out", out, "--recipe", "grand"])
    assert ended.value.code == USAGE and "recipe must be one of" in capsys.readouterr().err
