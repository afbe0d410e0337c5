"""Laws of bulk extraction on a cluster of two nodes: the library's own numbers, and nothing lost or doubled."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from lawm_core.checkpoint import save_model
from lawm_core.cli import USAGE, main
from lawm_core.evaluation import extraction
from lawm_core.evaluation.extraction import Describer, ExtractionConfig, extract
from lawm_core.evaluation.librarian import build_library
from lawm_core.evaluation.library import LibraryConfig
from lawm_core.evaluation.overview import library_of
from lawm_core.evaluation.places import place_all, read_places
from lawm_core.evaluation.rows import demand_same, read_rows
from tests.conftest import build_tiny_model
from tests.evaluation.toy_rows import film_clips

WHAT = LibraryConfig(frames=6, thumb_pixels=8)
CONFIG = ExtractionConfig(what=WHAT, models=2, clips_a_file=2)
CLIPS = 8


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each on this machine; what a test takes away, it gives back."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=made.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    home = tmp_path_factory.mktemp("videos")
    film_clips(home, CLIPS)
    (home / "broken.mp4").write_text("not a video")
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def expected(videos, model, tmp_path_factory):
    """What one process finds, one video after another; on one thread, as workers of one processor are: the last digits
    of a sum depend on how it is shared out.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_library(build_tiny_model(), videos, tmp_path_factory.mktemp("library") / "out", WHAT, model)
    torch.set_num_threads(threads)


def assert_whole(out: Path, videos: Path, model: Path, expected, tmp_path: Path) -> None:
    """A row a video, no more and no less, without pictures, and the very library that one process makes."""
    counts = Counter(row["clip"] for row in read_rows(out))
    assert counts == Counter([*(f"clip-{i}.mp4" for i in range(CLIPS)), "broken.mp4"])
    assert all(set(row) == {"clip", "frames", "action", "motion", "error"} for row in read_rows(out))
    found = library_of(out, videos, tmp_path / "library", model)
    assert found.index == expected.index
    for name in ("action_PA", "motion_P6", "umap_P2", "pca_P2", "clip_P", "frame_P"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("library.json", "library.safetensors", "sprite.webp"):
        assert found.sprite.with_name(name).read_bytes() == expected.sprite.with_name(name).read_bytes(), name
    assert place_all(out, found) == len(expected)
    assert not any(row["approximate"] for row in read_places(tmp_path / "library"))


@pytest.mark.slow
def test_many_models_find_what_one_finds(cluster, videos, model, expected, tmp_path):
    told = extract(videos, tmp_path / "out", model, CONFIG)
    assert told[0] == CLIPS
    assert_whole(tmp_path / "out", videos, model, expected, tmp_path)


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_what_is_missing(cluster, videos, model, expected, tmp_path, monkeypatch):
    out, ran, run = tmp_path / "out", [], extraction.run
    extract(videos, out, model, CONFIG)
    whole, *others = sorted((out / "clips").glob("*.parquet"))
    kept = {row["clip"] for row in pq.read_table(whole).to_pylist()}
    for i, path in enumerate(others):  # half written, or never
        path.write_bytes(path.read_bytes()[:-9]) if i % 2 else path.unlink()
    monkeypatch.setattr(extraction, "run", lambda rows, *rest: ran.extend(r["clip"] for r in rows) or run(rows, *rest))
    assert extract(videos, out, model, CONFIG)[0] == CLIPS
    assert len(ran) == CLIPS + 1 - len(kept) and not kept & set(ran)
    assert_whole(out, videos, model, expected, tmp_path)
    ran.clear()
    extract(videos, out, model, CONFIG)
    assert ran == []


def killed_once(flag: Path) -> type[Describer]:
    """A model whose process is killed in the midst of a clip, the first time that it comes to it."""

    class Killed(Describer):
        def __call__(self, table):
            if table["clip"][0].as_py() == "clip-4.mp4" and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(table)

    return Killed


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(cluster, videos, model, expected, tmp_path, monkeypatch):
    flag = tmp_path / "died"
    monkeypatch.setattr(extraction, "Describer", killed_once(flag))
    assert extract(videos, tmp_path / "out", model, CONFIG)[0] == CLIPS
    assert flag.exists(), "the worker was killed"
    assert_whole(tmp_path / "out", videos, model, expected, tmp_path)


def test_another_model_other_settings_or_an_older_format_need_another_folder(videos, model, tmp_path):
    for number, about in enumerate(
        ({"format": 2, "fingerprint": "0" * 16, "what": {}}, {"format": 1, "fingerprint": "0" * 16, "what": {}})
    ):
        demand_same(out := tmp_path / str(number), about)
        with pytest.raises(ValueError, match="Name another folder"):
            extract(videos, out, model, CONFIG)
    assert main(["extract", str(videos / "nowhere"), "--out", str(tmp_path / "new")]) == USAGE


def test_two_videos_of_one_name_are_refused(videos, model, tmp_path):
    (tmp_path / "manifest.csv").write_text("file,split\none/clip.mp4,train\ntwo/clip.mp4,train\n")
    with pytest.raises(ValueError, match=r"two videos are called clip\.mp4"):
        extract(tmp_path, tmp_path / "out", model, CONFIG)


@pytest.mark.slow
def test_the_command_lays_out_a_sample_and_places_the_others(cluster, videos, model, tmp_path, capsys):
    words = ["extract", str(videos), "--out", str(tmp_path / "out"), "--model", str(model), "--frames", "6"]
    assert main([*words, "--library", str(tmp_path / "map"), "--points", "12"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {**told, "out": ""} == {"out": "", "clips": CLIPS, "refused": 1, "actions": 15, "placed": 5 * CLIPS - 15}
    assert sum(row["approximate"] for row in read_places(tmp_path / "map")) == told["placed"]


@pytest.mark.parametrize("changes", [{"models": 0}, {"processors": 0}, {"gpus": -1}, {"clips_a_file": 0}])
def test_settings_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match="needed: at least one model"):
        ExtractionConfig(**changes)
