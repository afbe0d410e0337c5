"""Expired files are removed, newer ones stay, and nothing outside the folder is touched."""

import time

import pytest

from app.file_expiry import FileExpiry


@pytest.fixture
def folder(tmp_path):
    """A folder with a permanent file in `results`, and a file outside."""
    for name in ("results/permanent/film.mp4", "outside.mp4"):
        write(tmp_path / name)
    return tmp_path


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"film")


def files_in(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_expired_files_and_their_folders_are_removed(folder):
    expiry = FileExpiry(folder / "results", keep_seconds=50)
    expiry.stop()
    write(folder / "results/old/film.mp4")
    assert expiry.remove_expired() == 0 and expiry.remove_expired(now=time.time() + 49) == 0
    assert expiry.remove_expired(now=time.time() + 51) == 1
    assert files_in(folder) == ["outside.mp4", "results/permanent/film.mp4"]
    expiry.remove_expired(now=time.time() + 102)
    assert not (folder / "results/old").exists()


def test_a_touched_file_is_kept_longer(folder):
    expiry = FileExpiry(folder / "results", keep_seconds=50)
    expiry.stop()
    write(folder / "results/old/film.mp4")
    changed = (folder / "results/old/film.mp4").stat().st_ctime
    time.sleep(0.05)
    (folder / "results/old/film.mp4").touch()
    assert expiry.remove_expired(now=changed + 50.01) == 0 and expiry.remove_expired(now=changed + 60) == 1


def test_the_thread_continues_after_an_error(folder):
    class FailsOnce:
        """A lock that raises the first time, as a folder does that vanishes while it is listed."""

        entered = 0

        def __enter__(self):
            self.entered += 1
            if self.entered == 1:
                raise FileNotFoundError("gone")

        def __exit__(self, *_):
            return None

    expiry = FileExpiry(folder / "results", keep_seconds=1, lock=(lock := FailsOnce()))
    write(folder / "results/old/film.mp4")
    end = time.monotonic() + 30
    while "results/old/film.mp4" in files_in(folder) and time.monotonic() < end:
        time.sleep(0.05)
    expiry.stop()
    assert files_in(folder) == ["outside.mp4", "results/permanent/film.mp4"] and lock.entered > 1
