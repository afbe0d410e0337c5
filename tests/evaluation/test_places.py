"""Laws of places: every transition has one, the map's own are exact, a stop loses nothing, few rows are held."""

import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lawm_core.checkpoint import save_model
from lawm_core.evaluation import places, rows
from lawm_core.evaluation.librarian import join_parts
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.overview import draw_sample, read_parts
from lawm_core.evaluation.places import PLACES, place_all, read_places
from lawm_core.evaluation.rows import read_rows
from tests.conftest import build_tiny_model
from tests.evaluation.toy_rows import made_up_row, note_about, refused_row, write_rows

WHAT = LibraryConfig(frames=9, thumb_pixels=8)
POINTS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


def write_extraction(out, model, files=6, clips=8):
    """Clips of one to eight transitions, some videos refused, one file of refused ones alone."""
    note_about(out, model, WHAT)
    for i in range(files):
        generator = np.random.default_rng(i)
        found = [made_up_row(f"clip-{i}-{j}", 1 + (3 * i + j) % 8, generator) for j in range(clips)]
        write_rows(out, f"rows-{i}", [*found, refused_row(f"broken-{i}")])
    write_rows(out, "rows-refused", [refused_row("broken")])
    return out


def lay_out(extraction, out, model, points=POINTS):
    """`library_of` without videos: grey frames."""
    sample = draw_sample(extraction, points)
    found = read_parts(sample, WHAT)
    for _, part in found:
        part["thumb_THWC"] = np.full((1 + len(part["action_UA"]), 8, 8, 3), 128, np.uint8)
    mark, what = rows.read_about(extraction)
    return join_parts(build_tiny_model(), mark, found, sample.refused(), out, what)


@pytest.fixture(scope="module")
def extraction(model, tmp_path_factory):
    return write_extraction(tmp_path_factory.mktemp("extraction"), model)


@pytest.fixture
def library(extraction, model, tmp_path):
    return lay_out(extraction, tmp_path / "map", model)


def transitions(extraction) -> Counter:
    """Clip and frame of all, from the rows."""
    return Counter((r["clip"], u) for r in read_rows(extraction) if not r["error"] for u in range(r["frames"] - 1))


def all_bytes(home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / PLACES).glob("*.parquet")}


def test_every_transition_has_one_place_and_those_of_the_map_are_exact(extraction, library, tmp_path):
    assert place_all(extraction, library) == sum(transitions(extraction).values())
    found = list(read_places(tmp_path / "map"))
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


def test_others_lie_between_their_nearest_points(extraction, library, tmp_path):
    place_all(extraction, library)
    action = {row["clip"]: row["action"] for row in read_rows(extraction)}
    for row in read_places(tmp_path / "map"):
        if row["approximate"]:
            action_A = torch.tensor(action[row["clip"]][row["frame"]])
            distance_P = (library.action_PA - action_A).norm(dim=1)
            near_K = distance_P.argsort()[:5]
            weight_K = 1 / distance_P[near_K]
            weight_K = weight_K / weight_K.sum()
            for names, place_P2 in ((("umap_x", "umap_y"), library.umap_P2), (("pca_x", "pca_y"), library.pca_P2)):
                expected_2 = (place_P2[near_K] * weight_K[:, None]).sum(dim=0)
                torch.testing.assert_close(torch.tensor([row[n] for n in names]), expected_2, rtol=1e-3, atol=1e-3)


@pytest.fixture
def stopped(monkeypatch):
    """Stops at a number of chunks; in the midst of a file, where chunks are small."""

    def stop_at(chunk: int) -> None:
        asked, real = [], places.place_rows

        def place_some(*given):
            asked.append(given)
            if len(asked) == chunk:
                raise KeyboardInterrupt
            return real(*given)

        monkeypatch.setattr(rows, "CHUNK", 16)
        monkeypatch.setattr(places, "place_rows", place_some)

    return stop_at


@pytest.mark.parametrize("chunk", [1, 2, 6, 13])
def test_a_stopped_run_goes_on_with_whole_files(extraction, library, model, tmp_path, monkeypatch, stopped, chunk):
    with monkeypatch.context() as patched:
        patched.setattr(rows, "CHUNK", 16)
        whole = lay_out(extraction, tmp_path / "whole", model)
        place_all(extraction, whole)
    stopped(chunk)
    with pytest.raises(KeyboardInterrupt):
        place_all(extraction, library)
    left = all_bytes(tmp_path / "map")
    assert len(left) < 7 and all(all_bytes(tmp_path / "whole")[name] == found for name, found in left.items())
    again, real = [], places.place_file
    monkeypatch.setattr(places, "place_file", lambda path, *rest: again.append(path.name) or real(path, *rest))
    place_all(extraction, library)
    assert not set(again) & set(left) and all_bytes(tmp_path / "map") == all_bytes(tmp_path / "whole")
    again.clear()
    assert place_all(extraction, library) == sum(transitions(extraction).values()) and not again


def test_places_of_another_map_are_not_kept(extraction, library, model, tmp_path):
    place_all(extraction, library)
    before = all_bytes(tmp_path / "map")
    smaller = lay_out(extraction, tmp_path / "map", model, POINTS // 2)
    place_all(extraction, smaller)
    after = all_bytes(tmp_path / "map")
    assert before.keys() == after.keys() and before != after
    own = sum(not row["approximate"] for row in read_places(tmp_path / "map"))
    assert own == len(smaller) < len(library)


def test_rows_that_come_are_placed_and_places_of_rows_that_go_go_too(model, tmp_path):
    out = write_extraction(tmp_path / "out", model, files=3)
    library = lay_out(out, tmp_path / "map", model, points=20)
    place_all(out, library)
    before = all_bytes(tmp_path / "map")
    gone = "rows-refused.parquet"
    (out / "clips" / gone).unlink()
    write_rows(out, "rows-new", [made_up_row("clip-new", 4, np.random.default_rng(9))])
    assert place_all(out, library) == sum(transitions(out).values())
    after = all_bytes(tmp_path / "map")
    assert set(after) - set(before) == {"rows-new.parquet"} and set(before) - set(after) == {gone}
    assert all(after[name] == before[name] for name in set(before) & set(after))


def test_a_map_of_other_actions_is_refused(extraction, library, model, tmp_path):
    note_about(other := tmp_path / "other", model, LibraryConfig(frames=9, thumb_pixels=9))
    with pytest.raises(ValueError, match="is not a map of"):
        place_all(other, library)


class Held:
    """How much of what was read is held at once, at most: rows as Arrow has them, transitions as tensors."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.most, self.read = Counter(), Counter(), Counter()
        unnested, iter_batches = rows.unnested, pq.ParquetFile.iter_batches

        def watched_batches(file, *given, **options):
            return (self.watch("rows", batch, batch.num_rows) for batch in iter_batches(file, *given, **options))

        monkeypatch.setattr(
            rows, "unnested", lambda lists: self.watch("transitions", found := unnested(lists), len(found))
        )
        monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched_batches)
        monkeypatch.setattr(pq, "read_table", lambda *_: pytest.fail("a whole table was read"))

    def watch(self, kind: str, thing, count: int):
        self.now[kind] += count
        self.read[kind] += count
        self.most[kind] = max(self.most[kind], self.now[kind])
        weakref.finalize(thing, self.now.subtract, {kind: count})
        return thing


@pytest.mark.parametrize(("files", "clips"), [(1, 100), (1, 400), (40, 10)])
def test_no_more_is_held_however_much_there_is(model, tmp_path, monkeypatch, files, clips):
    monkeypatch.setattr(rows, "CHUNK", 64)
    out = write_extraction(tmp_path / "out", model, files, clips)
    held = Held(monkeypatch)
    library = lay_out(out, tmp_path / "map", model)
    total = place_all(out, library)
    assert total > 4 * files * clips and pq.read_metadata(out / "clips" / "rows-0.parquet").num_row_groups == 1
    assert held.read["transitions"] >= total and held.read["rows"] >= 2 * files * clips
    # One chunk is worked on while the next is read; the sample reads two columns of each.
    assert held.most["transitions"] <= 4 * 64 and held.most["rows"] <= 2 * 64
    assert not list(held.now.elements())


def test_of_clips_that_are_not_on_the_map_nothing_is_kept(model, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 64)
    peak = {}
    for clips in (100, 100, 2000):  # the first time, modules are imported
        out = write_extraction(tmp_path / f"{clips}-{len(peak)}", model, 1, clips)
        sample = draw_sample(out, POINTS)
        tracemalloc.start()
        read_parts(sample, WHAT)
        peak[clips] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak[2000] < 4 * peak[100]  # other threads allocate too, some 10 kB


def test_what_is_done_and_what_was_refused_is_counted_few_rows_at_a_time(model, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 64)
    out = write_extraction(tmp_path / "out", model, files=2, clips=300)
    held = Held(monkeypatch)
    names, refused = rows.count_rows(out)
    assert len(names) == held.read["rows"] == 603 and len(refused) == 3
    assert held.most["rows"] <= 2 * 64 and not held.read["transitions"]
