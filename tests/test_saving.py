"""Folders that are built once: complete or not there, whoever asks and whatever stops them."""

import subprocess
import sys
import threading

import pytest

from lawm_core.saving import build_folder


def test_processes_that_ask_at_once_get_one_complete_folder(tmp_path):
    """Each of four processes waits for the one that builds; nobody sees half of it."""
    program = (
        "import sys, time; from pathlib import Path; from lawm_core.saving import build_folder\n"
        "def fill(folder):\n"
        "    open(sys.argv[2], 'a').write('x'); time.sleep(0.3)\n"
        "    (folder / 'data').write_text('whole'); (folder / 'index.json').write_text('{}')\n"
        "home = build_folder(Path(sys.argv[1]) / 'home', 'index.json', fill)\n"
        "print((home / 'data').read_text())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "builds")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in started] == ["whole"] * 4
    assert (tmp_path / "builds").read_text() == "x"


def test_a_build_that_fails_leaves_nothing_and_can_be_made_again(tmp_path):
    def fail(folder):
        (folder / "data").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        build_folder(tmp_path / "home", "index.json", fail)
    assert not (tmp_path / "home").exists() and {p.name for p in tmp_path.iterdir()} <= {".home.lock"}
    build_folder(tmp_path / "home", "index.json", lambda folder: (folder / "index.json").touch())
    assert (tmp_path / "home" / "index.json").is_file()


def test_half_a_folder_of_a_stopped_run_is_built_anew(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "frames.part").write_text("half")
    build_folder(tmp_path / "home", "index.json", lambda folder: (folder / "index.json").touch())
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["index.json"]


def test_threads_wait_for_each_other_too(tmp_path):
    builds, begun = [], threading.Barrier(3)

    def ask():
        begun.wait()
        build_folder(tmp_path / "home", "mark", lambda folder: builds.append((folder / "mark").touch()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(builds) == 1
