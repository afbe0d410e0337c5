"""Laws of the borrowed GPU: results as on the CPU, refusals in words, and nobody waits who needs no GPU."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import spaces
import torch

import lawm_core as lawm
from app import main, zero
from app.layout import build_page
from app.piece import Piece
from app.studio import Studio
from app.zero import BROKEN, borrow_gpu, is_announced
from lawm_core.checkpoint import save_model
from tests.conftest import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST = 120  # seconds that anything here may take
fork = multiprocessing.get_context("fork")


def in_a_fork(duration: int) -> Callable:
    """A stand-in for `spaces.GPU`: what it wraps runs as there, in a thread of a forked process, pickled both ways."""

    def wrap(task: Callable) -> Callable:
        def answer(line, *arguments) -> None:
            try:
                line.send(task(*arguments))
            except Exception as error:
                line.send(gr.Error(type(error).__name__, title=BROKEN, print_exception=False))

        def child(line) -> None:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(answer, line, *line.recv()).result()

        def call(*arguments) -> object:
            ours, theirs = fork.Pipe()
            process = fork.Process(target=child, args=(theirs,), daemon=True)
            process.start()
            ours.send(arguments)
            assert ours.poll(LONGEST), "no answer came"
            found = ours.recv()
            process.join()
            if isinstance(found, gr.Error):
                raise found
            return found

        return call

    return wrap


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A gallery of two clips and a pair."""
    folder, generator = tmp_path_factory.mktemp("gallery"), torch.Generator().manual_seed(0)
    for name in ("one", "two"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        lawm.write_clip(folder / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(6)]), 6)
    clips = [{"file": f"{name}.mp4", "title": name, "about": name} for name in ("one", "two")]
    pairs = [{"title": "both", "source": "one.mp4", "target": "two.mp4", "about": ""}]
    (folder / "gallery.json").write_text(json.dumps({"clips": clips, "pairs": pairs}))
    return folder


@pytest.fixture
def pair(folder) -> tuple[Piece, Piece]:
    return Piece.of(folder / "one.mp4"), Piece.of(folder / "two.mp4")


@pytest.fixture
def desk(tiny_model, folder) -> Studio:
    return Studio(tiny_model, folder)


@pytest.fixture(params=["forked", "real"])
def borrowed(request, folder, monkeypatch) -> Studio:
    """A studio as on ZeroGPU, whose GPU is this processor: with the stand-in, and with the real package, which wraps
    nothing where there is no ZeroGPU.
    """
    monkeypatch.setattr(zero, "DEVICE", "cpu")
    if request.param == "forked":
        monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=in_a_fork))
    studio = Studio(build_tiny_model(), folder)
    studio.elsewhere = borrow_gpu(studio.model)
    return studio


def played(studio: Studio, target: Piece, width: int = 8):
    """A script's result."""
    step = lawm.ScriptStep(terms=(lawm.Term(action="jump"),), repeat=3)
    return studio.play(lawm.ActionScript(steps=(step,)), {"jump": (0.5,) * width}, target)


def test_a_result_is_the_same_to_the_bit(desk, borrowed, pair):
    told = []
    tell = lambda fraction, what: told.append(fraction)
    ours = [desk.transfer(*pair, capacity=0.6), played(desk, pair[1])]
    theirs = [borrowed.transfer(*pair, capacity=0.6, progress=tell), played(borrowed, pair[1])]
    for one, other in zip(ours, theirs, strict=True):
        assert one.shown == other.shown and one.recipe == other.recipe and one.result.scores == other.result.scores
        for name in ("frame_TCHW", "control_TCHW", "action_UA"):
            assert torch.equal(getattr(one.result, name), getattr(other.result, name))
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1
    assert borrowed.transfer(*pair, capacity=0.6).shown is theirs[0].shown


def test_nothing_that_is_kept_lies_in_shared_memory(borrowed, pair):
    view = borrowed.transfer(*pair)
    kept = (view.source.frame_TCHW, view.target.frame_TCHW, view.result.frame_TCHW, view.result.action_UA)
    assert not any(x.is_shared() for x in kept)


def test_it_is_computed_elsewhere_and_all_else_here(desk, pair, monkeypatch):
    monkeypatch.setattr(zero, "DEVICE", "cpu")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=in_a_fork))
    desk.elsewhere = borrow_gpu(desk.model)
    perform, try_actions = lawm.perform, lawm.try_actions
    monkeypatch.setattr(lawm, "perform", lambda *a: named(perform(*a)))
    here = []
    monkeypatch.setattr(lawm, "try_actions", lambda *a, **k: here.append(os.getpid()) or try_actions(*a, **k))
    assert desk.transfer(*pair).result.scores["process"] != os.getpid()
    desk.preview(torch.ones(8), torch.zeros(8), pair[1], steps=2)
    assert here == [os.getpid()]


def named(result: lawm.Transfer) -> lawm.Transfer:
    """With the process that made it among its scores."""
    result.scores["process"] = os.getpid()
    return result


@pytest.mark.parametrize("kind", [lawm.VideoError, ValueError])
def test_what_is_for_people_arrives_as_it_was_said(borrowed, pair, monkeypatch, kind):
    def refuse(*_):
        raise kind("one.mp4 has 1 frame; 2 are needed.")

    with pytest.raises(ValueError, match="5 numbers; tiny needs 8"):
        played(borrowed, pair[1], width=5)
    monkeypatch.setattr(lawm, "perform", refuse)
    with pytest.raises(kind, match=r"^one\.mp4 has 1 frame; 2 are needed\.$") as caught:
        borrowed.transfer(*pair)
    assert type(caught.value) is kind


def test_what_is_for_developers_does_not_pass_for_a_refusal(borrowed, pair, monkeypatch):
    monkeypatch.setattr(lawm, "perform", lambda *_: {}["gone"])
    with pytest.raises((RuntimeError, KeyError)):  # as `spaces` tells it, and as it is
        borrowed.transfer(*pair)


def test_a_gpu_that_cannot_be_had_is_said_in_words_of_the_lender(desk, pair, monkeypatch):
    def refuse(*_):
        raise gr.Error("You have exceeded your free quota. ", title="ZeroGPU quota exceeded", print_exception=False)

    monkeypatch.setattr(zero, "DEVICE", "cpu")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lambda duration: lambda task: refuse))
    desk.elsewhere = borrow_gpu(desk.model)
    with pytest.raises(ValueError, match=r"^You have exceeded your free quota\.$"):
        desk.transfer(*pair)


def test_who_waits_for_a_gpu_keeps_nobody_waiting(desk, pair):
    asked, lent = threading.Semaphore(0), threading.Event()

    def wait(recipe, source, target, report):
        asked.release()
        assert lent.wait(LONGEST)
        return lawm.perform(desk.model, recipe, source, target)

    desk.elsewhere = wait
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(desk.transfer, *pair, capacity=c) for c in (0.1, 0.2)]
        assert all(asked.acquire(timeout=LONGEST) for _ in waiting)  # both at once
        assert pool.submit(desk.infer_actions, pair[0]).result(LONGEST).shape == (5, 8)
        assert not any(one.done() for one in waiting)
        lent.set()
        assert [one.result(LONGEST).shown.frames for one in waiting] == [6, 6]


def queues(studio: Studio) -> dict[str, set[str]]:
    """Which queue each of the page's handlers waits in, by name."""
    found: dict[str, set[str]] = {}
    for handler in build_page(studio, None, []).fns.values():
        found.setdefault(handler.name, set()).add(handler.concurrency_id)
    return found


def test_nor_does_the_pages_queue(desk):
    results = {"transfer", "show_transfer", "play", "compare_settings", "apply_action", "capacity_sweep", "replay"}
    before = queues(desk)
    assert all(before[name] == {"model"} for name in results)
    desk.elsewhere = desk._compute_here
    after = queues(desk)
    assert all(after[name] == {"elsewhere"} for name in results)
    others = set(before) - results - {"go_on"}  # which goes on to one of them
    assert {"infer_actions", "project", "add_source"} < others
    assert not any("elsewhere" in after[name] for name in others)
    assert all(("model" in after[name]) == ("model" in before[name]) for name in others)


# ---- the app's choice -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["1", "true", "True", "t", "0", "false", "", None])
def test_zero_is_announced_as_the_package_reads_it(said, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if said is not None:
        monkeypatch.setenv("SPACES_ZERO_GPU", said)
    assert is_announced() == spaces.config.boolean(said)


def test_without_its_package_zero_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(main, "find_spec", lambda name: None)
    assert main.main([]) == main.NO_SPACES
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install spaces" in said


STAND_IN = """
import sys
came_first, calls = not {"torch", "gradio"} & set(sys.modules), []
gradio_auto_wrap = lambda task: task
def GPU(duration):
    return lambda task: lambda *arguments: calls.append(task.__name__) or task(*arguments)
"""
START = """
import sys
from app import main, zero
from app.piece import Piece
zero.DEVICE = "cpu"
def serve(page, studio, options):
    import spaces
    shown = len(studio.views), len(spaces.calls)
    source, target = (Piece.of(studio.gallery.path(clip.file)) for clip in studio.gallery.clips)
    studio.transfer(source, target, capacity=0.5)
    print("FOUND", [studio.elsewhere is not None, spaces.came_first, *shown, len(spaces.calls)])
    return 0
main.serve = serve
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("announced", [False, True])
def test_the_app_borrows_where_zero_is_announced_and_not_for_its_first_result(announced, folder, tmp_path):
    (tmp_path / "spaces.py").write_text(STAND_IN)
    save_model(build_tiny_model(), tmp_path / "tiny")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "SPACES_ZERO_GPU": str(announced)}
    environment["OMP_NUM_THREADS"] = "1"
    options = ["--model", str(tmp_path / "tiny"), "--gallery", str(folder), "--library", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", START, *options], env=environment, capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.split("FOUND ")[1].lower())
    assert found == [announced, True, 1, 0, int(announced)]
