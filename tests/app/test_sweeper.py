"""Old files go, young ones stay, and nothing outside is touched."""

import time

import pytest

from app.sweeper import Sweeper


@pytest.fixture
def folder(tmp_path):
    """A folder with something of the page's own, and a file beside it."""
    for name in ("results/own/film.mp4", "beside.mp4"):
        write(tmp_path / name)
    return tmp_path


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"film")


def left(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_old_files_go_with_their_folders_and_young_ones_stay(folder):
    sweeper = Sweeper(folder / "results", keep_seconds=50)
    sweeper.stop()
    write(folder / "results/old/film.mp4")
    assert sweeper.sweep() == 0 and sweeper.sweep(now=time.time() + 49) == 0
    assert sweeper.sweep(now=time.time() + 51) == 1
    assert left(folder) == ["beside.mp4", "results/own/film.mp4"]
    sweeper.sweep(now=time.time() + 102)
    assert not (folder / "results/old").exists()


def test_a_file_that_is_wanted_again_stays_longer(folder):
    sweeper = Sweeper(folder / "results", keep_seconds=50)
    sweeper.stop()
    write(folder / "results/old/film.mp4")
    changed = (folder / "results/old/film.mp4").stat().st_ctime
    time.sleep(0.05)
    (folder / "results/old/film.mp4").touch()
    assert sweeper.sweep(now=changed + 50.01) == 0 and sweeper.sweep(now=changed + 60) == 1


def test_it_goes_on_by_itself_also_after_a_round_that_failed(folder):
    class Once:
        """A lock that fails the first time, as a folder that vanishes while it is listed does."""

        entered = 0

        def __enter__(self):
            self.entered += 1
            if self.entered == 1:
                raise FileNotFoundError("gone")

        def __exit__(self, *_):
            return None

    sweeper = Sweeper(folder / "results", keep_seconds=1, lock=(once := Once()))
    write(folder / "results/old/film.mp4")
    end = time.monotonic() + 30
    while "results/old/film.mp4" in left(folder) and time.monotonic() < end:
        time.sleep(0.05)
    sweeper.stop()
    assert left(folder) == ["beside.mp4", "results/own/film.mp4"] and once.entered > 1
