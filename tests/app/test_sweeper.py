"""Old files go, young ones stay, and nothing outside is touched."""

import os
import time

import pytest

from app.sweeper import Sweeper


@pytest.fixture
def folder(tmp_path):
    """An old result, a young one, and a file beside the folder."""
    for name, age in (("results/old/film.mp4", 100), ("results/young/film.mp4", 0), ("beside.mp4", 1000)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"film")
        os.utime(path, (time.time() - age,) * 2)
    os.utime(tmp_path / "results" / "old", (time.time() - 100,) * 2)
    return tmp_path


def test_old_files_go_with_their_folders_and_young_ones_stay(folder):
    sweeper = Sweeper(folder / "results", keep_seconds=50)
    sweeper.stop()
    assert sweeper.sweep() == 1 and sweeper.sweep() == 0
    left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert left == ["beside.mp4", "results/young/film.mp4"]


def test_it_goes_on_by_itself(folder):
    sweeper = Sweeper(folder / "results", keep_seconds=1)
    end = time.monotonic() + 30
    while any(p.is_file() for p in (folder / "results").rglob("*")) and time.monotonic() < end:
        time.sleep(0.05)
    sweeper.stop()
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["beside.mp4"]
