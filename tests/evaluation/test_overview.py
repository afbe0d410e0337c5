"""Laws of a map of very many clips: whole clips by their names alone, the map that a folder of them would give."""

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

from lawm_core.checkpoint import save_model
from lawm_core.cli import USAGE, main
from lawm_core.contracts import VideoError
from lawm_core.evaluation import overview
from lawm_core.evaluation.librarian import build_library
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.overview import Sample, draw_sample, library_of
from lawm_core.evaluation.rows import ABOUT, read_rows, remove_unfinished
from lawm_core.video.files import write_clip
from tests.conftest import build_tiny_model
from tests.evaluation.toy_rows import extract_here, film_clips, made_up_row, refused_row, write_rows

WHAT = LibraryConfig(frames=6, thumb_pixels=8)
CLIPS, POINTS = 9, 12  # of 5 transitions each; so three clips make the sample


# ---- which clips ----------------------------------------------------------------------------------------------------


def made_up_corpus(clips: int) -> list[tuple[str, int | None, str]]:
    """Name, frames and error of clips of many lengths; one in seven was refused."""
    lengths = random.Random(0)
    return [
        (f"clip-{i}.mp4", *((None, f"broken {i}") if i % 7 == 3 else (lengths.randint(2, 40), "")))
        for i in range(clips)
    ]


def sample_of(corpus, points: int) -> Sample:
    sample = Sample(points)
    for name, frames, error in corpus:
        sample.offer(name, frames, Path("rows"), error)
    return sample


def told(sample: Sample):
    return [(clip.name, clip.transitions) for clip in sample.clips()], sample.refused(), sample.transitions


@pytest.mark.parametrize("points", [4, 5, 100, 1000, 10**6])
def test_the_sample_is_what_comes_first_by_hash_until_there_are_enough(points):
    corpus = made_up_corpus(300)
    chosen, refused, transitions = {}, {}, 0
    for name, frames, error in sorted(corpus, key=lambda row: hashlib.sha256(row[0].encode()).hexdigest()):
        if error:
            refused[name] = error
        elif transitions >= points:
            break
        else:
            chosen[name] = frames - 1
            transitions += frames - 1
    assert told(sample_of(corpus, points)) == (sorted(chosen.items()), refused, transitions)


@pytest.mark.parametrize("points", [5, 100, 1000])
def test_the_sample_is_the_same_whatever_the_order(points):
    corpus, expected = made_up_corpus(300), told(sample_of(made_up_corpus(300), points))
    for seed in range(20):
        random.Random(seed).shuffle(corpus)
        assert told(sample_of(corpus, points)) == expected


def test_the_sample_is_the_same_however_rows_lie_in_files(tmp_path):
    generator = np.random.default_rng(0)
    rows = [made_up_row(f"clip-{i}", 3 + i % 5, generator) for i in range(30)] + [refused_row("broken")]
    samples = []
    for seed, size in enumerate((1, 4, 31)):
        random.Random(seed).shuffle(rows)
        for start in range(0, len(rows), size):
            write_rows(tmp_path / str(seed), f"{random.Random(start).random()}", rows[start : start + size])
        samples.append(draw_sample(tmp_path / str(seed), 40))
    assert told(samples[0]) == told(samples[1]) == told(samples[2]) and len(samples[0].clips()) < 30
    parts = [overview.read_parts(sample, WHAT) for sample in samples]
    for (name, part), *others in zip(*parts, strict=True):
        row = next(row for row in rows if row["clip"] == name)
        assert all(other == name for other, _ in others)
        for found in (part, *(other for _, other in others)):
            assert found["action_UA"].tolist() == row["action"] and found["motion_U6"].tolist() == row["motion"]


def test_all_clips_are_taken_where_all_fit():
    corpus = made_up_corpus(100)
    total = sum(frames - 1 for _, frames, error in corpus if not error)
    for points in (total, total + 1):
        assert len(sample_of(corpus, points)) == 100
    assert len(sample_of(corpus, total // 2)) < 100


def test_a_corpus_that_grows_keeps_most_of_its_sample():
    few, more, twice = (
        {name for name, _ in told(sample_of(made_up_corpus(clips), 3000))[0]} for clips in (1000, 1100, 2000)
    )
    assert len(few & more) > 0.85 * len(few) and len(few & twice) > 0.4 * len(few)


def test_no_more_is_held_than_the_sample_takes():
    held = {}
    for clips in (1000, 10_000):
        sample = Sample(2000)
        held[clips] = 0
        for name, frames, error in made_up_corpus(clips):
            sample.offer(name, frames, Path("rows"), error)
            held[clips] = max(held[clips], len(sample))
            assert sample.transitions < 2000 + 40
    assert held[10_000] < 1.2 * held[1000] < 200


def test_points_that_make_no_map_are_refused():
    with pytest.raises(ValueError, match="3 points came"):
        Sample(3)


# ---- their map ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    home = tmp_path_factory.mktemp("videos")
    film_clips(home, CLIPS)
    for name in ("broken-a.mp4", "broken-b.mp4"):
        (home / name).write_text("not a video")
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def extraction(videos, model, tmp_path_factory):
    """In one thread, as workers are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    extract_here(videos, home := tmp_path_factory.mktemp("extraction") / "out", model, WHAT)
    yield home
    torch.set_num_threads(threads)


def assert_same_map(one: Path, other: Path) -> None:
    for name in ("library.json", "library.safetensors", "sprite.webp"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("points", [POINTS, 5 * CLIPS, 10**6])
def test_the_map_is_that_of_a_folder_with_the_clips_of_the_sample(extraction, videos, model, tmp_path, points):
    sample = draw_sample(extraction, points)
    assert sample.transitions == min(5 * CLIPS, 15 if points == POINTS else 5 * CLIPS)
    (alone := tmp_path / "videos").mkdir()
    for name in [clip.name for clip in sample.clips()] + list(sample.refused()):
        shutil.copy(videos / name, alone)
    build_library(build_tiny_model(), alone, tmp_path / "expected", WHAT, model)
    found = library_of(extraction, videos, tmp_path / "found", model, points)
    assert_same_map(tmp_path / "found", tmp_path / "expected")
    assert len(found) == sample.transitions


def test_only_videos_of_the_sample_are_decoded(extraction, videos, model, tmp_path, monkeypatch):
    opened, real = [], overview.read_clip
    monkeypatch.setattr(overview, "read_clip", lambda path, *a, **k: opened.append(path.name) or real(path, *a, **k))
    found = library_of(extraction, videos, tmp_path / "map", model, POINTS)
    assert opened == [clip.name for clip in found.index.clips] and len(opened) == 3


def test_a_map_of_the_same_clips_is_kept_and_of_others_made_anew(extraction, videos, model, tmp_path, monkeypatch):
    out = tmp_path / "map"
    first = library_of(extraction, videos, out, model, POINTS)
    with monkeypatch.context() as patched:
        patched.setattr(overview, "join_parts", lambda *_: pytest.fail("it was made again"))
        again = library_of(extraction, videos, out, model, POINTS)
    assert again.index == first.index and torch.equal(again.umap_P2, first.umap_P2)
    assert len(library_of(extraction, videos, out, model, POINTS + 5)) == 20
    (out / "sprite.webp").unlink()
    assert len(library_of(extraction, videos, out, model, POINTS + 5)) == 20 and (out / "sprite.webp").is_file()


def test_a_map_of_other_videos_with_the_same_names_and_lengths_is_made_anew(extraction, videos, model, tmp_path):
    library_of(extraction, videos, out := tmp_path / "map", model, 10**6)
    others = tmp_path / "videos"
    film_clips(others, CLIPS, seed=1)
    extract_here(others, tmp_path / "extraction", model, WHAT)
    renewed = library_of(tmp_path / "extraction", others, out, model, 10**6)
    assert_same_map(out, library_of(tmp_path / "extraction", others, tmp_path / "fresh", model, 10**6).sprite.parent)
    shown = {clip.name for clip in renewed.index.clips}
    found = [row["action"] for row in read_rows(tmp_path / "extraction") if row["clip"] in shown]
    assert torch.equal(renewed.action_PA, torch.tensor([action for clip in found for action in clip]))


def test_a_file_that_is_being_written_is_passed_over_and_left_alone(extraction, tmp_path):
    out = shutil.copytree(extraction, tmp_path / "out")
    cut = out / "clips" / "zz-unfinished.parquet"
    cut.write_bytes(next((out / "clips").glob("*.parquet")).read_bytes()[:-9])
    assert list(read_rows(out)) == list(read_rows(extraction)) and cut.is_file()
    remove_unfinished(out)
    assert list(read_rows(out)) == list(read_rows(extraction)) and not cut.exists()


def test_files_that_cannot_be_read_just_now_are_not_taken_for_unfinished(extraction, tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.EMFILE, "Too many open files")

    out = shutil.copytree(extraction, tmp_path / "out")
    before = sorted((out / "clips").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(pq, "read_metadata", fail)
        for work in (remove_unfinished, lambda home: list(read_rows(home))):
            with pytest.raises(OSError, match="Too many open files"):
                work(out)
    assert sorted((out / "clips").iterdir()) == before


def test_too_few_points_are_refused_before_anything_is_extracted(videos, model, tmp_path, capsys):
    where = ["--out", str(tmp_path / "out"), "--library", str(tmp_path / "map"), "--model", str(model)]
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(videos), *where, "--points", "3"])
    assert ended.value.code == USAGE and not (tmp_path / "out").exists()
    assert "--points: must be at least 4, got 3" in capsys.readouterr().err


def test_videos_that_are_gone_or_changed_are_named(extraction, videos, model, tmp_path):
    copy = shutil.copytree(videos, tmp_path / "videos")
    first = draw_sample(extraction, POINTS).clips()[0].name
    write_clip(copy / first, torch.rand(4, 3, 40, 40), 6)
    with pytest.raises(ValueError, match=f"{first} has 4 frames; it had 6"):
        library_of(extraction, copy, tmp_path / "map", model, POINTS)
    (copy / first).write_text("not a video")
    with pytest.raises(VideoError, match=first):
        library_of(extraction, copy, tmp_path / "map", model, POINTS)
    (copy / first).unlink()
    with pytest.raises(ValueError, match=f"{first}.*not in"):
        library_of(extraction, copy, tmp_path / "map", model, POINTS)


def test_extractions_that_cannot_be_used_are_refused(extraction, videos, model, tmp_path):
    about = json.loads((extraction / ABOUT).read_text())
    for change, why in (
        ({"format": 1}, "format 1, 2 is needed"),
        ({"fingerprint": "0" * 16}, "was made by the model 0000"),
        ({"what": {"evil": 1}}, "not an extraction"),
    ):
        (tmp_path / ABOUT).write_text(json.dumps(about | change))
        with pytest.raises(ValueError, match=why):
            library_of(tmp_path, videos, tmp_path / "map", model)
    with pytest.raises(ValueError, match="not an extraction"):
        library_of(tmp_path / "nowhere", videos, tmp_path / "map", model)


def test_more_frames_than_a_picture_holds_are_refused_before_they_are_drawn(extraction, videos, model, tmp_path):
    large = tmp_path / "large"
    write_rows(large, "rows", [made_up_row(f"clip-{i}.mp4", 119, np.random.default_rng(i)) for i in range(40)])
    about = json.loads((extraction / ABOUT).read_text())
    about["what"] = dataclasses.asdict(LibraryConfig(thumb_pixels=256))
    (large / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="4800 frames of 256 pixels are more than a map's picture holds: about 3969"):
        library_of(large, videos, tmp_path / "map", model)
