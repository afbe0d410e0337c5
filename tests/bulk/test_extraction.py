"""Extraction on a cluster of two nodes gives the library's actions, and no row is lost or duplicated."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from lawm_core.bulk import extraction
from lawm_core.bulk.corpus_map import build_corpus_map
from lawm_core.bulk.extraction import ExtractionConfig, ModelWorker, extract
from lawm_core.bulk.extraction_store import METADATA, read_rows, start_extraction
from lawm_core.bulk.map_projection import project_all, read_projection
from lawm_core.checkpoint import fingerprint, save_model
from lawm_core.cli.main import USAGE, main
from lawm_core.library.build import build_library
from lawm_core.library.library import LibraryConfig
from tests.bulk.toy_rows import write_moving_clips
from tests.conftest import build_tiny_model

LIBRARY = LibraryConfig(frames=6, thumb_pixels=8)
CONFIG = ExtractionConfig(library=LIBRARY, models=2, clips_per_file=2)
CLIPS = 8


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each on this machine."""
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
    write_moving_clips(home, CLIPS)
    (home / "broken.mp4").write_text("not a video")
    return home


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(build_tiny_model(), tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def expected(videos, model, tmp_path_factory):
    """The library that one process builds, in one thread as in a worker, because rounding depends on threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_library(build_tiny_model(), videos, tmp_path_factory.mktemp("library") / "out", LIBRARY, model)
    torch.set_num_threads(threads)


def assert_complete(out: Path, videos: Path, model: Path, expected, tmp_path: Path) -> None:
    """Assert that there is one row per video, without frames, and that the map equals the expected library."""
    counts = Counter(row["clip"] for row in read_rows(out))
    assert counts == Counter([*(f"clip-{i}.mp4" for i in range(CLIPS)), "broken.mp4"])
    assert all(set(row) == {"clip", "frames", "action", "motion", "error"} for row in read_rows(out))
    found = build_corpus_map(out, videos, tmp_path / "library", model)
    assert found.index == expected.index
    for name in ("action_PA", "motion_P6", "umap_P2", "pca_P2", "clip_P", "frame_P"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("library.json", "library.safetensors", "sprite.webp"):
        assert found.sprite.with_name(name).read_bytes() == expected.sprite.with_name(name).read_bytes(), name
    assert project_all(out, found) == len(expected)
    assert not any(row["approximate"] for row in read_projection(tmp_path / "library"))


@pytest.mark.slow
def test_several_models_give_the_results_of_one(cluster, videos, model, expected, tmp_path):
    clips, skipped = extract(videos, tmp_path / "out", model, CONFIG)
    assert clips == CLIPS and list(skipped) == ["broken.mp4"]
    assert_complete(tmp_path / "out", videos, model, expected, tmp_path)


@pytest.mark.slow
def test_interrupted_run_continues_with_missing_videos(cluster, videos, model, expected, tmp_path, monkeypatch):
    out, started, original = tmp_path / "out", [], extraction.run_pipeline
    extract(videos, out, model, CONFIG)
    complete, *others = sorted((out / "clips").glob("*.parquet"))
    kept = {row["clip"] for row in pq.read_table(complete).to_pylist()}
    for i, path in enumerate(others):  # incomplete or missing
        path.write_bytes(path.read_bytes()[:-9]) if i % 2 else path.unlink()
    monkeypatch.setattr(
        extraction, "run_pipeline", lambda rows, *rest: started.extend(r["clip"] for r in rows) or original(rows, *rest)
    )
    assert extract(videos, out, model, CONFIG)[0] == CLIPS
    assert len(started) == CLIPS + 1 - len(kept) and not kept & set(started)
    assert_complete(out, videos, model, expected, tmp_path)
    started.clear()
    extract(videos, out, model, CONFIG)
    assert started == []


def killed_once(flag: Path) -> type[ModelWorker]:
    """Return a worker whose process is killed the first time that it comes to a certain clip."""

    class Killed(ModelWorker):
        def __call__(self, table):
            if table["clip"][0].as_py() == "clip-4.mp4" and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(table)

    return Killed


@pytest.mark.slow
def test_killed_worker_loses_and_duplicates_no_row(cluster, videos, model, expected, tmp_path, monkeypatch):
    flag = tmp_path / "killed"
    monkeypatch.setattr(extraction, "ModelWorker", killed_once(flag))
    assert extract(videos, tmp_path / "out", model, CONFIG)[0] == CLIPS
    assert flag.exists(), "the worker was not killed"
    assert_complete(tmp_path / "out", videos, model, expected, tmp_path)


def test_rows_of_another_model_settings_or_format_are_not_mixed(videos, model, tmp_path):
    start_extraction(tmp_path / "model", "0" * 16, LIBRARY)
    start_extraction(tmp_path / "settings", fingerprint(model), LibraryConfig(frames=7, thumb_pixels=8))
    start_extraction(tmp_path / "format", fingerprint(model), LIBRARY)
    metadata = tmp_path / "format" / METADATA
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"format": 1}))
    for name in ("model", "settings", "format"):
        with pytest.raises(ValueError, match="Choose another folder"):
            extract(videos, tmp_path / name, model, CONFIG)
    assert main(["extract", str(videos / "nowhere"), "--out", str(tmp_path / "new")]) == USAGE


def test_videos_with_equal_names_are_rejected(videos, model, tmp_path):
    (tmp_path / "manifest.csv").write_text("file,split\none/clip.mp4,train\ntwo/clip.mp4,train\n")
    with pytest.raises(ValueError, match=r"names of videos must be unique, got clip\.mp4 twice"):
        extract(tmp_path, tmp_path / "out", model, CONFIG)


@pytest.mark.slow
def test_command_maps_a_sample_and_projects_the_others(cluster, videos, model, tmp_path, capsys):
    words = ["extract", str(videos), "--out", str(tmp_path / "out"), "--model", str(model), "--frames", "6"]
    assert main([*words, "--library", str(tmp_path / "map"), "--points", "12"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {**report, "out": ""} == {
        "out": "", "clips": CLIPS, "skipped": 1, "actions": 15, "projected": 5 * CLIPS - 15,
    }  # fmt: skip
    assert sum(row["approximate"] for row in read_projection(tmp_path / "map")) == report["projected"]


@pytest.mark.parametrize("change", [{"models": 0}, {"processors": 0}, {"gpus": -1}, {"clips_per_file": 0}])
def test_invalid_config_is_rejected(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        ExtractionConfig(**change)
