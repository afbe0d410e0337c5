"""ZeroGPU: results equal those of the CPU, errors keep their messages, and users who need no GPU do not wait."""

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
from app import main, zerogpu
from app.clip_selection import ClipSelection
from app.layout import build_page
from app.options import is_zerogpu
from app.studio import Studio
from app.zerogpu import WORKER_ERROR_TITLE, zerogpu_compute
from lawm_core.checkpoint import save_model
from tests.conftest import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_SECONDS = 120
fork = multiprocessing.get_context("fork")


def forked_gpu(duration: int) -> Callable:
    """Stand-in for `spaces.GPU`: runs a function in a thread of a forked process, pickling arguments and results."""

    def wrap(function: Callable) -> Callable:
        def run(connection, *arguments) -> None:
            try:
                connection.send(function(*arguments))
            except Exception as error:
                connection.send(gr.Error(type(error).__name__, title=WORKER_ERROR_TITLE, print_exception=False))

        def child(connection) -> None:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(run, connection, *connection.recv()).result()

        def call(*arguments) -> object:
            ours, theirs = fork.Pipe()
            process = fork.Process(target=child, args=(theirs,), daemon=True)
            process.start()
            ours.send(arguments)
            assert ours.poll(TIMEOUT_SECONDS), "no result arrived"
            result = ours.recv()
            process.join()
            if isinstance(result, gr.Error):
                raise result
            return result

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
def pair(folder) -> tuple[ClipSelection, ClipSelection]:
    return ClipSelection.of(folder / "one.mp4"), ClipSelection.of(folder / "two.mp4")


@pytest.fixture
def local(tiny_model, folder) -> Studio:
    """A studio that computes results itself."""
    return Studio(tiny_model, folder)


@pytest.fixture(params=["forked", "real"])
def remote(request, folder, monkeypatch) -> Studio:
    """A studio as on ZeroGPU, on the CPU: with the stand-in, and with the real package, which wraps nothing here."""
    monkeypatch.setattr(zerogpu, "DEVICE", "cpu")
    if request.param == "forked":
        monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=forked_gpu))
    studio = Studio(build_tiny_model(), folder)
    studio.remote_compute = zerogpu_compute(studio.model)
    return studio


def play(studio: Studio, target: ClipSelection, width: int = 8):
    """Return the result of a script."""
    step = lawm.ScriptStep(terms=(lawm.Term(action="jump"),), repeat=3)
    return studio.play(lawm.ActionScript(steps=(step,)), {"jump": (0.5,) * width}, target)


def test_remote_results_equal_local_ones_bit_for_bit(local, remote, pair):
    fractions = []
    report = lambda fraction, description: fractions.append(fraction)
    local_views = [local.transfer(*pair, capacity=0.6), play(local, pair[1])]
    remote_views = [remote.transfer(*pair, capacity=0.6, progress=report), play(remote, pair[1])]
    for one, other in zip(local_views, remote_views, strict=True):
        assert one.panels == other.panels and one.spec == other.spec and one.result.scores == other.result.scores
        for name in ("frame_TCHW", "control_TCHW", "action_UA"):
            assert torch.equal(getattr(one.result, name), getattr(other.result, name))
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert remote.transfer(*pair, capacity=0.6).panels is remote_views[0].panels


def test_cached_results_are_not_in_shared_memory(remote, pair):
    view = remote.transfer(*pair)
    tensors = (view.source.frame_TCHW, view.target.frame_TCHW, view.result.frame_TCHW, view.result.action_UA)
    assert not any(tensor.is_shared() for tensor in tensors)


def test_whole_results_are_computed_remotely_and_previews_here(local, pair, monkeypatch):
    monkeypatch.setattr(zerogpu, "DEVICE", "cpu")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=forked_gpu))
    local.remote_compute = zerogpu_compute(local.model)
    run_spec, try_actions = lawm.run_spec, lawm.try_actions
    monkeypatch.setattr(lawm, "run_spec", lambda *a: with_process(run_spec(*a)))
    here = []
    monkeypatch.setattr(lawm, "try_actions", lambda *a, **k: here.append(os.getpid()) or try_actions(*a, **k))
    assert local.transfer(*pair).result.scores["process"] != os.getpid()
    local.preview(torch.ones(8), torch.zeros(8), pair[1], steps=2)
    assert here == [os.getpid()]


def with_process(result: lawm.Transfer) -> lawm.Transfer:
    """Add the id of this process to the scores of a result."""
    result.scores["process"] = os.getpid()
    return result


@pytest.mark.parametrize("kind", [lawm.VideoError, ValueError])
def test_errors_for_users_keep_class_and_message(remote, pair, monkeypatch, kind):
    def fail(*_):
        raise kind("one.mp4 has 1 frame; 2 are needed.")

    with pytest.raises(ValueError, match="must have 8 dimensions for tiny, got 5"):
        play(remote, pair[1], width=5)
    monkeypatch.setattr(lawm, "run_spec", fail)
    with pytest.raises(kind, match=r"^one\.mp4 has 1 frame; 2 are needed\.$") as caught:
        remote.transfer(*pair)
    assert type(caught.value) is kind


def test_other_errors_are_not_shown_to_users(remote, pair, monkeypatch):
    monkeypatch.setattr(lawm, "run_spec", lambda *_: {}["gone"])
    with pytest.raises((RuntimeError, KeyError)):  # RuntimeError through `spaces`, KeyError without
        remote.transfer(*pair)


def test_without_a_gpu_the_message_of_the_host_is_shown(local, pair, monkeypatch):
    def fail(*_):
        raise gr.Error("You have exceeded your free quota. ", title="ZeroGPU quota exceeded", print_exception=False)

    monkeypatch.setattr(zerogpu, "DEVICE", "cpu")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lambda duration: lambda function: fail))
    local.remote_compute = zerogpu_compute(local.model)
    with pytest.raises(ValueError, match=r"^You have exceeded your free quota\.$"):
        local.transfer(*pair)


def test_waiting_for_a_gpu_delays_no_other_request(local, pair):
    requested, available = threading.Semaphore(0), threading.Event()

    def wait(spec, source, target, report):
        requested.release()
        assert available.wait(TIMEOUT_SECONDS)
        return lawm.run_spec(local.model, spec, source, target)

    local.remote_compute = wait
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(local.transfer, *pair, capacity=capacity) for capacity in (0.1, 0.2)]
        assert all(requested.acquire(timeout=TIMEOUT_SECONDS) for _ in waiting)  # both at once
        assert pool.submit(local.infer_actions, pair[0]).result(TIMEOUT_SECONDS).shape == (5, 8)
        assert not any(one.done() for one in waiting)
        available.set()
        assert [one.result(TIMEOUT_SECONDS).panels.frames for one in waiting] == [6, 6]


def queues(studio: Studio) -> dict[str, set[str]]:
    """Return the queues of the page's handlers by name."""
    found: dict[str, set[str]] = {}
    for handler in build_page(studio, None, []).fns.values():
        found.setdefault(handler.name, set()).add(handler.concurrency_id)
    return found


def test_remote_results_have_a_queue_of_their_own(local):
    results = {"transfer", "show_transfer", "play", "compare_settings", "apply_action", "capacity_sweep", "replay"}
    before = queues(local)
    assert all(before[name] == {"model"} for name in results)
    local.remote_compute = local._compute
    after = queues(local)
    assert all(after[name] == {"remote"} for name in results)
    others = set(before) - results - {"run_if", "play_if_added"}  # which run one of the results
    assert {"infer_actions", "project", "add_source"} < others
    assert not any("remote" in after[name] for name in others)
    assert all(("model" in after[name]) == ("model" in before[name]) for name in others)


# ---- the app --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "true", "True", "t", "0", "false", "", None])
def test_zerogpu_is_detected_by_the_rule_of_spaces(value, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if value is not None:
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
    assert is_zerogpu() == spaces.config.boolean(value)


def test_a_missing_package_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(main, "find_spec", lambda name: None)
    assert main.main([]) == main.NO_SPACES
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "pip install spaces" in printed


STAND_IN = """
import sys
came_first, calls = not {"torch", "gradio"} & set(sys.modules), []
gradio_auto_wrap = lambda function: function
def GPU(duration):
    return lambda function: lambda *arguments: calls.append(function.__name__) or function(*arguments)
"""
START = """
import sys
from app import main, zerogpu
from app.clip_selection import ClipSelection
zerogpu.DEVICE = "cpu"
def serve(page, studio, desk, options):
    import spaces
    first = len(studio.views), len(spaces.calls)
    source, target = (ClipSelection.of(studio.gallery.path(video.file)) for video in studio.gallery.videos)
    studio.transfer(source, target, capacity=0.5)
    print("FOUND", [studio.remote_compute is not None, spaces.came_first, *first, len(spaces.calls)])
    return 0
main.serve = serve
sys.exit(main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("zero", [False, True])
def test_the_app_uses_zerogpu_on_such_a_space_but_not_for_its_first_result(zero, folder, tmp_path):
    (tmp_path / "spaces.py").write_text(STAND_IN)
    save_model(build_tiny_model(), tmp_path / "tiny")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "SPACES_ZERO_GPU": str(zero)}
    environment["OMP_NUM_THREADS"] = "1"
    options = ["--model", str(tmp_path / "tiny"), "--gallery", str(folder), "--library", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", START, *options], env=environment, capture_output=True, text=True,
        timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.split("FOUND ")[1].lower())
    assert found == [zero, True, 1, 0, int(zero)]
