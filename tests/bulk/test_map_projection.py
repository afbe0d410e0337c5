"""Every transition has one position on a map, a map's own points are exact, and memory is bounded."""

import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lawm_core.bulk import extraction_store, map_projection
from lawm_core.bulk.corpus_map import draw_sample, read_sample
from lawm_core.bulk.extraction_store import read_rows, start_extraction
from lawm_core.bulk.map_projection import PROJECTION, project_all, read_projection
from lawm_core.checkpoint import fingerprint, save_model
from lawm_core.library.build import assemble_library
from lawm_core.library.library import LibraryConfig
from tests.bulk.toy_rows import random_row, skipped_row, write_rows
from tests.conftest import build_tiny_model

CONFIG = LibraryConfig(frames=9, thumb_pixels=8)
POINTS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


def write_extraction(out, model, files=6, clips=8):
    """Write clips of one to eight transitions with some skipped videos, and one file of skipped videos only."""
    start_extraction(out, fingerprint(model), CONFIG)
    for i in range(files):
        generator = np.random.default_rng(i)
        rows = [random_row(f"clip-{i}-{j}", 1 + (3 * i + j) % 8, generator) for j in range(clips)]
        write_rows(out, f"rows-{i}", [*rows, skipped_row(f"broken-{i}")])
    write_rows(out, "rows-skipped", [skipped_row("broken")])
    return out


def build_map(extraction, out, points=POINTS):
    """Do what `build_corpus_map` does, with grey thumbnails instead of videos."""
    sample = draw_sample(extraction, points)
    described = read_sample(sample, CONFIG)
    for _, clip in described:
        clip["thumb_THWC"] = np.full((1 + len(clip["action_UA"]), 8, 8, 3), 128, np.uint8)
    model_fingerprint, config = extraction_store.read_metadata(extraction)
    return assemble_library(build_tiny_model(), model_fingerprint, described, sample.skipped(), out, config)


@pytest.fixture(scope="module")
def extraction(model, tmp_path_factory):
    return write_extraction(tmp_path_factory.mktemp("extraction"), model)


@pytest.fixture
def library(extraction, tmp_path):
    return build_map(extraction, tmp_path / "map")


def transitions(extraction) -> Counter:
    """Return clip and frame of all transitions, from the rows."""
    return Counter((r["clip"], u) for r in read_rows(extraction) if not r["error"] for u in range(r["frames"] - 1))


def all_bytes(home) -> dict[str, bytes]:
    """Return the files of a projection."""
    return {path.name: path.read_bytes() for path in (home / PROJECTION).glob("*.parquet")}


def test_every_transition_has_one_position_and_those_of_the_map_are_exact(extraction, library, tmp_path):
    assert project_all(extraction, library) == sum(transitions(extraction).values())
    found = list(read_projection(tmp_path / "map"))
    assert Counter((row["clip"], row["frame"]) for row in found) == transitions(extraction)
    own = {
        (library.index.clips[int(c)].name, int(f)): p
        for p, (c, f) in enumerate(zip(library.clip_P, library.frame_P, strict=True))
    }
    assert {(row["clip"], row["frame"]) for row in found if not row["approximate"]} == set(own)
    assert 0 < len(own) < len(found)
    for row in found:
        if (point := own.get((row["clip"], row["frame"]))) is not None:
            assert [row["umap_x"], row["umap_y"]] == library.umap_P2[point].tolist()
            assert [row["pca_x"], row["pca_y"]] == library.pca_P2[point].tolist()


def test_other_positions_are_weighted_means_of_nearest_points(extraction, library, tmp_path):
    project_all(extraction, library)
    action = {row["clip"]: row["action"] for row in read_rows(extraction)}
    for row in read_projection(tmp_path / "map"):
        if row["approximate"]:
            action_A = torch.tensor(action[row["clip"]][row["frame"]])
            distance_P = (library.action_PA - action_A).norm(dim=1)
            nearest_5 = distance_P.argsort()[:5]
            weight_5 = 1 / distance_P[nearest_5]
            weight_5 = weight_5 / weight_5.sum()
            for names, layout_P2 in ((("umap_x", "umap_y"), library.umap_P2), (("pca_x", "pca_y"), library.pca_P2)):
                expected_2 = (layout_P2[nearest_5] * weight_5[:, None]).sum(dim=0)
                torch.testing.assert_close(torch.tensor([row[n] for n in names]), expected_2, rtol=1e-3, atol=1e-3)


@pytest.fixture
def interrupt_at(monkeypatch):
    """A function that interrupts a projection at a batch, which may be in the middle of a file."""

    def interrupt(number: int) -> None:
        batches, original = [], map_projection.project_batch

        def project_some(*given):
            batches.append(given)
            if len(batches) == number:
                raise KeyboardInterrupt
            return original(*given)

        monkeypatch.setattr(extraction_store, "MAX_TRANSITIONS", 16)
        monkeypatch.setattr(map_projection, "project_batch", project_some)

    return interrupt


@pytest.mark.parametrize("number", [1, 2, 6, 13])
def test_interrupted_projection_continues_with_complete_files(
    extraction, library, tmp_path, monkeypatch, interrupt_at, number
):
    with monkeypatch.context() as patched:
        patched.setattr(extraction_store, "MAX_TRANSITIONS", 16)
        project_all(extraction, build_map(extraction, tmp_path / "uninterrupted"))
    expected = all_bytes(tmp_path / "uninterrupted")
    interrupt_at(number)
    with pytest.raises(KeyboardInterrupt):
        project_all(extraction, library)
    left = all_bytes(tmp_path / "map")
    assert len(left) < 7 and all(expected[name] == found for name, found in left.items())
    again, original = [], map_projection.project_file
    monkeypatch.setattr(
        map_projection, "project_file", lambda path, *rest: again.append(path.name) or original(path, *rest)
    )
    project_all(extraction, library)
    assert not set(again) & set(left) and all_bytes(tmp_path / "map") == expected
    again.clear()
    assert project_all(extraction, library) == sum(transitions(extraction).values()) and not again


def test_positions_of_another_map_are_replaced(extraction, library, tmp_path):
    project_all(extraction, library)
    before = all_bytes(tmp_path / "map")
    smaller = build_map(extraction, tmp_path / "map", POINTS // 2)
    project_all(extraction, smaller)
    after = all_bytes(tmp_path / "map")
    assert before.keys() == after.keys() and before != after
    own = sum(not row["approximate"] for row in read_projection(tmp_path / "map"))
    assert own == len(smaller) < len(library)


def test_new_rows_are_projected_and_positions_of_deleted_rows_are_deleted(model, tmp_path):
    out = write_extraction(tmp_path / "out", model, files=3)
    library = build_map(out, tmp_path / "map", points=20)
    project_all(out, library)
    before = all_bytes(tmp_path / "map")
    deleted = "rows-skipped.parquet"
    (out / "clips" / deleted).unlink()
    write_rows(out, "rows-new", [random_row("clip-new", 4, np.random.default_rng(9))])
    assert project_all(out, library) == sum(transitions(out).values())
    after = all_bytes(tmp_path / "map")
    assert set(after) - set(before) == {"rows-new.parquet"} and set(before) - set(after) == {deleted}
    assert all(after[name] == before[name] for name in set(before) & set(after))


def test_map_of_other_settings_is_rejected(library, model, tmp_path):
    start_extraction(other := tmp_path / "other", fingerprint(model), LibraryConfig(frames=9, thumb_pixels=9))
    with pytest.raises(ValueError, match="is not a map of"):
        project_all(other, library)


class MemoryWatch:
    """Counts what is read and how much of it is held at once: rows in Arrow, transitions in tensors."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.most, self.read = Counter(), Counter(), Counter()
        to_tensor, iter_batches = extraction_store.to_tensor, pq.ParquetFile.iter_batches

        def watched_batches(file, *given, **options):
            return (self.watch("rows", batch, batch.num_rows) for batch in iter_batches(file, *given, **options))

        def watched_tensor(column):
            return self.watch("transitions", found := to_tensor(column), len(found))

        monkeypatch.setattr(extraction_store, "to_tensor", watched_tensor)
        monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched_batches)
        monkeypatch.setattr(pq, "read_table", lambda *_: pytest.fail("a whole table was read"))

    def watch(self, kind: str, thing, count: int):
        self.now[kind] += count
        self.read[kind] += count
        self.most[kind] = max(self.most[kind], self.now[kind])
        weakref.finalize(thing, self.now.subtract, {kind: count})
        return thing


@pytest.mark.parametrize(("files", "clips"), [(1, 100), (1, 400), (40, 10)])
def test_memory_of_a_projection_does_not_grow_with_the_extraction(model, tmp_path, monkeypatch, files, clips):
    monkeypatch.setattr(extraction_store, "MAX_TRANSITIONS", 64)
    out = write_extraction(tmp_path / "out", model, files, clips)
    watch = MemoryWatch(monkeypatch)
    library = build_map(out, tmp_path / "map")
    total = project_all(out, library)
    assert total > 4 * files * clips and pq.read_metadata(out / "clips" / "rows-0.parquet").num_row_groups == 1
    assert watch.read["transitions"] >= total and watch.read["rows"] >= 2 * files * clips
    # One batch is processed while the next is read; the sample reads two columns of each.
    assert watch.most["transitions"] <= 4 * 64 and watch.most["rows"] <= 2 * 64
    assert not list(watch.now.elements())


def test_clips_outside_the_sample_are_not_held(model, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction_store, "MAX_TRANSITIONS", 64)
    peak = {}
    for clips in (100, 100, 2000):  # the first run imports modules
        out = write_extraction(tmp_path / f"{clips}-{len(peak)}", model, 1, clips)
        sample = draw_sample(out, POINTS)
        tracemalloc.start()
        read_sample(sample, CONFIG)
        peak[clips] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak[2000] < 4 * peak[100]  # other threads allocate about 10 kB


def test_rows_are_listed_a_few_at_a_time(model, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction_store, "MAX_TRANSITIONS", 64)
    out = write_extraction(tmp_path / "out", model, files=2, clips=300)
    watch = MemoryWatch(monkeypatch)
    names, skipped = extraction_store.list_rows(out)
    assert len(names) == watch.read["rows"] == 603 and len(skipped) == 3
    assert watch.most["rows"] <= 2 * 64 and not watch.read["transitions"]
