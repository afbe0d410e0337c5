"""Files and folders are complete or absent, whatever stops a write and however many processes ask for it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lawm_core import atomic_files
from lawm_core.atomic_files import atomic_path, build_folder, write_text

# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "card.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as part:
        Path(part).write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_content_and_name_are_flushed_before_a_write_returns(tmp_path, monkeypatch):
    events, replace = [], atomic_files.os.replace
    monkeypatch.setattr(atomic_files, "sync", lambda path: events.append(Path(path)))
    monkeypatch.setattr(atomic_files.os, "replace", lambda *paths: events.append("renamed") or replace(*paths))
    write_text(tmp_path / "card.md", "good")
    content, renamed, folder = events
    assert renamed == "renamed" and content.parent == folder == tmp_path


# ---- folders --------------------------------------------------------------------------------------------------------


def touch_index(folder: Path) -> None:
    (folder / "index.json").touch()


def test_processes_that_build_at_the_same_time_get_one_complete_folder(tmp_path):
    """One of four processes builds; the others wait and never see a part of it."""
    program = (
        "import sys, time; from pathlib import Path; from lawm_core.atomic_files import build_folder\n"
        "def fill(folder):\n"
        "    open(sys.argv[2], 'a').write('x'); time.sleep(0.3)\n"
        "    (folder / 'data').write_text('whole'); (folder / 'index.json').write_text('{}')\n"
        "home = build_folder(Path(sys.argv[1]) / 'home', 'index.json', fill)\n"
        "print((home / 'data').read_text())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "builds")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["whole"] * 4
    assert (tmp_path / "builds").read_text() == "x"


def test_a_failed_build_leaves_no_folder_and_can_be_repeated(tmp_path):
    def fail(folder):
        (folder / "data").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        build_folder(tmp_path / "home", "index.json", fail)
    assert not (tmp_path / "home").exists() and {p.name for p in tmp_path.iterdir()} <= {".home.lock"}
    build_folder(tmp_path / "home", "index.json", touch_index)
    assert (tmp_path / "home" / "index.json").is_file()


def test_an_incomplete_folder_is_built_again(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "frames.part").write_text("half")
    build_folder(tmp_path / "home", "index.json", touch_index)
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["index.json"]


def test_threads_that_build_at_the_same_time_build_once(tmp_path):
    builds, barrier = [], threading.Barrier(3)

    def fill(folder: Path) -> None:
        builds.append(folder)
        touch_index(folder)

    def build() -> None:
        barrier.wait()
        build_folder(tmp_path / "home", "index.json", fill)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
