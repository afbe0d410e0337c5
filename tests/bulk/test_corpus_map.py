"""A corpus map samples whole clips by their names and equals the library of the sampled videos."""

import dataclasses
import errno
import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lawm_core.bulk import corpus_map
from lawm_core.bulk.corpus_map import Sample, build_corpus_map, draw_sample
from lawm_core.bulk.extraction_store import METADATA, read_rows, remove_incomplete
from lawm_core.checkpoint import save_model
from lawm_core.cli.main import USAGE, main
from lawm_core.library.build import build_library
from lawm_core.library.library import LibraryConfig
from lawm_core.types import VideoError
from lawm_core.video.files import write_clip
from tests.bulk.toy_rows import extract_here, random_row, skipped_row, write_moving_clips, write_rows
from tests.conftest import build_tiny_model

CONFIG = LibraryConfig(frames=6, thumb_pixels=8)
CLIPS, POINTS = 9, 12  # clips have 5 transitions, so three of them make the sample


# ---- the sample ------------------------------------------------------------------------------------------------------


def random_corpus(clips: int) -> list[tuple[str, int | None, str]]:
    """Return name, number of frames and error of clips of many lengths; one in seven was skipped."""
    lengths = random.Random(0)
    return [
        (f"clip-{i}.mp4", *((None, f"broken {i}") if i % 7 == 3 else (lengths.randint(2, 40), "")))
        for i in range(clips)
    ]


def sample_of(corpus, points: int) -> Sample:
    """Return the sample of a corpus, added in its order."""
    sample = Sample(points)
    for name, frames, error in corpus:
        sample.add(name, frames, Path("rows"), error)
    return sample


def content(sample: Sample):
    """Return everything that two equal samples share."""
    return [(clip.name, clip.transitions) for clip in sample.clips()], sample.skipped(), sample.transitions


@pytest.mark.parametrize("points", [4, 5, 100, 1000, 10**6])
def test_sample_is_the_first_clips_by_hash_until_there_are_enough_points(points):
    corpus = random_corpus(300)
    chosen, skipped, transitions = {}, {}, 0
    for name, frames, error in sorted(corpus, key=lambda row: hashlib.sha256(row[0].encode()).hexdigest()):
        if error:
            skipped[name] = error
        elif transitions >= points:
            break
        else:
            chosen[name] = frames - 1
            transitions += frames - 1
    assert content(sample_of(corpus, points)) == (sorted(chosen.items()), skipped, transitions)


@pytest.mark.parametrize("points", [5, 100, 1000])
def test_sample_does_not_depend_on_the_order_of_rows(points):
    corpus, expected = random_corpus(300), content(sample_of(random_corpus(300), points))
    for seed in range(20):
        random.Random(seed).shuffle(corpus)
        assert content(sample_of(corpus, points)) == expected


def test_sample_does_not_depend_on_files(tmp_path):
    generator = np.random.default_rng(0)
    rows = [random_row(f"clip-{i}", 3 + i % 5, generator) for i in range(30)] + [skipped_row("broken")]
    samples = []
    for seed, size in enumerate((1, 4, 31)):
        random.Random(seed).shuffle(rows)
        for start in range(0, len(rows), size):
            write_rows(tmp_path / str(seed), f"{random.Random(start).random()}", rows[start : start + size])
        samples.append(draw_sample(tmp_path / str(seed), 40))
    assert content(samples[0]) == content(samples[1]) == content(samples[2]) and len(samples[0].clips()) < 30
    found = [corpus_map.read_sample(sample, CONFIG) for sample in samples]
    for (name, clip), *others in zip(*found, strict=True):
        row = next(row for row in rows if row["clip"] == name)
        assert all(other == name for other, _ in others)
        for arrays in (clip, *(other for _, other in others)):
            assert arrays["action_UA"].tolist() == row["action"] and arrays["motion_U6"].tolist() == row["motion"]


def test_all_clips_are_sampled_if_all_fit():
    corpus = random_corpus(100)
    total = sum(frames - 1 for _, frames, error in corpus if not error)
    for points in (total, total + 1):
        assert len(sample_of(corpus, points)) == 100
    assert len(sample_of(corpus, total // 2)) < 100


def test_growing_corpus_keeps_most_of_its_sample():
    small, larger, twice = (
        {name for name, _ in content(sample_of(random_corpus(clips), 3000))[0]} for clips in (1000, 1100, 2000)
    )
    assert len(small & larger) > 0.85 * len(small) and len(small & twice) > 0.4 * len(small)


def test_memory_does_not_grow_with_the_corpus():
    held = {}
    for clips in (1000, 10_000):
        sample = Sample(2000)
        held[clips] = 0
        for name, frames, error in random_corpus(clips):
            sample.add(name, frames, Path("rows"), error)
            held[clips] = max(held[clips], len(sample))
            assert sample.transitions < 2000 + 40
    assert held[10_000] < 1.2 * held[1000] < 200


def test_too_few_points_are_rejected():
    with pytest.raises(ValueError, match="points must be at least 4, got 3"):
        Sample(3)


# ---- the map ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    home = tmp_path_factory.mktemp("videos")
    write_moving_clips(home, CLIPS)
    for name in ("broken-a.mp4", "broken-b.mp4"):
        (home / name).write_text("not a video")
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def extraction(videos, model, tmp_path_factory):
    """An extraction in one thread, as in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    extract_here(videos, home := tmp_path_factory.mktemp("extraction") / "out", model, CONFIG)
    yield home
    torch.set_num_threads(threads)


def assert_same_map(one: Path, other: Path) -> None:
    """Assert that two libraries are equal byte for byte."""
    for name in ("library.json", "library.safetensors", "sprite.webp"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("points", [POINTS, 5 * CLIPS, 10**6])
def test_map_equals_the_library_of_the_sampled_videos(extraction, videos, model, tmp_path, points):
    sample = draw_sample(extraction, points)
    assert sample.transitions == (15 if points == POINTS else 5 * CLIPS)
    (sampled := tmp_path / "videos").mkdir()
    for name in [clip.name for clip in sample.clips()] + list(sample.skipped()):
        shutil.copy(videos / name, sampled)
    build_library(build_tiny_model(), sampled, tmp_path / "expected", CONFIG, model)
    found = build_corpus_map(extraction, videos, tmp_path / "found", model, points)
    assert_same_map(tmp_path / "found", tmp_path / "expected")
    assert len(found) == sample.transitions


def test_only_sampled_videos_are_decoded(extraction, videos, model, tmp_path, monkeypatch):
    decoded, original = [], corpus_map.read_library_clip
    monkeypatch.setattr(
        corpus_map, "read_library_clip", lambda path, *given: decoded.append(path.name) or original(path, *given)
    )
    found = build_corpus_map(extraction, videos, tmp_path / "map", model, POINTS)
    assert decoded == [clip.name for clip in found.index.clips] and len(decoded) == 3


def test_map_of_the_same_clips_is_kept_and_of_others_replaced(extraction, videos, model, tmp_path, monkeypatch):
    out = tmp_path / "map"
    first = build_corpus_map(extraction, videos, out, model, POINTS)
    with monkeypatch.context() as patched:
        patched.setattr(corpus_map, "assemble_library", lambda *_: pytest.fail("the map was built again"))
        again = build_corpus_map(extraction, videos, out, model, POINTS)
    assert again.index == first.index and torch.equal(again.umap_P2, first.umap_P2)
    assert len(build_corpus_map(extraction, videos, out, model, POINTS + 5)) == 20
    (out / "sprite.webp").unlink()
    assert len(build_corpus_map(extraction, videos, out, model, POINTS + 5)) == 20 and (out / "sprite.webp").is_file()


def test_map_of_other_videos_with_the_same_names_and_lengths_is_replaced(extraction, videos, model, tmp_path):
    build_corpus_map(extraction, videos, out := tmp_path / "map", model, 10**6)
    others = tmp_path / "videos"
    write_moving_clips(others, CLIPS, seed=1)
    extract_here(others, tmp_path / "extraction", model, CONFIG)
    replaced = build_corpus_map(tmp_path / "extraction", others, out, model, 10**6)
    build_corpus_map(tmp_path / "extraction", others, tmp_path / "fresh", model, 10**6)
    assert_same_map(out, tmp_path / "fresh")
    names = {clip.name for clip in replaced.index.clips}
    actions = [row["action"] for row in read_rows(tmp_path / "extraction") if row["clip"] in names]
    assert torch.equal(replaced.action_PA, torch.tensor([action for clip in actions for action in clip]))


def test_incomplete_file_is_skipped_by_readers_and_removed_by_a_new_run(extraction, tmp_path):
    out = shutil.copytree(extraction, tmp_path / "out")
    cut = out / "clips" / "zz-unfinished.parquet"
    cut.write_bytes(next((out / "clips").glob("*.parquet")).read_bytes()[:-9])
    assert list(read_rows(out)) == list(read_rows(extraction)) and cut.is_file()
    remove_incomplete(out)
    assert list(read_rows(out)) == list(read_rows(extraction)) and not cut.exists()


def test_file_that_cannot_be_opened_is_not_taken_for_incomplete(extraction, tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.EMFILE, "Too many open files")

    out = shutil.copytree(extraction, tmp_path / "out")
    before = sorted((out / "clips").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(pq, "read_metadata", fail)
        for function in (remove_incomplete, lambda home: list(read_rows(home))):
            with pytest.raises(OSError, match="Too many open files"):
                function(out)
    assert sorted((out / "clips").iterdir()) == before


def test_too_few_points_are_rejected_before_extraction(videos, model, tmp_path, capsys):
    where = ["--out", str(tmp_path / "out"), "--library", str(tmp_path / "map"), "--model", str(model)]
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(videos), *where, "--points", "3"])
    assert ended.value.code == USAGE and not (tmp_path / "out").exists()
    assert "--points: must be at least 4, got 3" in capsys.readouterr().err


def test_missing_and_changed_videos_are_named(extraction, videos, model, tmp_path):
    copy = shutil.copytree(videos, tmp_path / "videos")
    first = draw_sample(extraction, POINTS).clips()[0].name
    write_clip(copy / first, torch.rand(4, 3, 40, 40), 6)
    with pytest.raises(ValueError, match=f"{first} has changed: it must have 6 frames, got 4"):
        build_corpus_map(extraction, copy, tmp_path / "map", model, POINTS)
    (copy / first).write_text("not a video")
    with pytest.raises(VideoError, match=first):
        build_corpus_map(extraction, copy, tmp_path / "map", model, POINTS)
    (copy / first).unlink()
    with pytest.raises(ValueError, match=f"{first} not found in"):
        build_corpus_map(extraction, copy, tmp_path / "map", model, POINTS)


def test_unusable_extractions_are_rejected(extraction, videos, model, tmp_path):
    metadata = json.loads((extraction / METADATA).read_text())
    for change, reason in (
        ({"format": 1}, "format must be 3, got 1"),
        ({"fingerprint": "0" * 16}, "extracted with the model 0000"),
        ({"library": {"evil": 1}}, "not a usable extraction"),
    ):
        (tmp_path / METADATA).write_text(json.dumps(metadata | change))
        with pytest.raises(ValueError, match=reason):
            build_corpus_map(tmp_path, videos, tmp_path / "map", model)
    with pytest.raises(ValueError, match="not a usable extraction"):
        build_corpus_map(tmp_path / "nowhere", videos, tmp_path / "map", model)


def test_too_many_frames_for_a_sprite_are_rejected_before_decoding(extraction, videos, model, tmp_path):
    large = tmp_path / "large"
    write_rows(large, "rows", [random_row(f"clip-{i}.mp4", 119, np.random.default_rng(i)) for i in range(40)])
    metadata = json.loads((extraction / METADATA).read_text())
    metadata["library"] = dataclasses.asdict(LibraryConfig(thumb_pixels=256))
    (large / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="about 3969 frames of 256 pixels, got 4800"):
        build_corpus_map(large, videos, tmp_path / "map", model)
