"""The command line as a person meets it: results on stdout, one line on stderr, honest exit codes."""

import argparse
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lawm_core.arguments import assigned_keys
from lawm_core.checkpoint import fingerprint, load_model, save_model
from lawm_core.cli import build_parser, main
from lawm_core.evaluation.library import load_library
from lawm_core.evaluation.recipe import ClipReference, Recipe, content_hash
from lawm_core.video.files import read_clip, write_clip


@pytest.fixture
def model_folder(tiny_model, tmp_path):
    return str(save_model(tiny_model, tmp_path / "tiny"))


@pytest.fixture
def videos(tmp_path):
    generator = torch.Generator().manual_seed(0)
    paths = []
    for name in ("one", "two"):
        still = torch.rand(1, 3, 48, 64, generator=generator)
        frame_TCHW = torch.cat([still.roll(2 * t, dims=-1) for t in range(24)])
        write_clip(tmp_path / f"{name}.mp4", frame_TCHW, 12)
        paths.append(str(tmp_path / f"{name}.mp4"))
    return paths


def test_transfer_writes_four_lanes_and_prints_scores(model_folder, videos, tmp_path, capsys):
    out, report = tmp_path / "result.mp4", tmp_path / "scores.json"
    call = ["transfer", *videos, "--out", str(out), "--model", model_folder, "--frames", "8"]
    code = main([*call, "--json", "--scores", str(report), "--target-start", "0.5"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["source_start_seconds"], printed["target_start_seconds"]) == (0.0, 0.5)
    assert code == 0 and json.loads(report.read_text()) == printed
    assert printed["frames"] == 8 and set(printed["scores"]) == {"prediction_gain", "action_effect", "cycle_ratio"}
    clip = read_clip(out, frames_per_second=6, size=32)
    assert len(clip.frame_TCHW) == 8
    assert main(call) == 0 and "8 frames of two.mp4 under what happens in one.mp4" in capsys.readouterr().out


def test_without_arguments_help_is_printed(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: python -m lawm_core")


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (["transfr", "a.mp4"], "did you mean transfer?"),
        (["transfer", "a.mp4", "b.mp4", "--out", "c.mp4", "--capacty", "1"], "did you mean --capacity?"),
        (["train", "decode", "--out", "x"], "did you mean decoder?"),
    ],
)
def test_what_was_probably_meant_is_named(call, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main(call)
    assert ended.value.code == 2 and meant in capsys.readouterr().err


def test_a_closed_pipe_is_silent():
    command = [sys.executable, "-m", "lawm_core", "models"]
    done = subprocess.run(
        ["bash", "-c", 'exec 3>&1; "$@" 2>&3 | true; exit ${PIPESTATUS[0]}', "bash", *command],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "" and done.stderr == "" and done.returncode in (0, 141)


def test_same_call_same_bytes(model_folder, videos, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        main(["transfer", *videos, "--out", str(tmp_path / name), "--model", model_folder, "--frames", "4"])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_actions_are_saved_with_their_settings(model_folder, videos, tmp_path, capsys):
    out = tmp_path / "new" / "actions.npz"
    assert main(["actions", videos[0], "--out", str(out), "--model", model_folder, "--capacity", "0.5"]) == 0
    saved = np.load(out, allow_pickle=False)
    settings = json.loads(str(saved["settings"]))
    assert saved["action_UA"].shape == (11, 8) and settings["capacity"] == 0.5 and settings["video"] == "one.mp4"


@pytest.mark.slow
def test_a_library_of_a_folder(model_folder, videos, tmp_path, capsys):
    code = main(["library", str(tmp_path), "--out", str(tmp_path / "shelf"), "--model", model_folder, "--frames", "6"])
    printed = json.loads(capsys.readouterr().out)
    assert code == 0 and (printed["clips"], printed["actions"]) == (2, 10)
    assert len(load_library(tmp_path / "shelf")) == 10


def test_a_recipe_is_replayed(model_folder, videos, tmp_path, capsys):
    one, two = (Path(v) for v in videos)
    references = [ClipReference(file=p.name, sha256=content_hash(p), frames=4) for p in (one, two)]
    recipe = Recipe(
        model="tiny", fingerprint=fingerprint(model_folder), family="noisy", capacity=1.0,
        source=references[0], target=references[1],
    )  # fmt: skip
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    out = ["--model", model_folder, "--out"]
    assert main(["replay", str(tmp_path / "recipe.json"), *out, str(tmp_path / "a.mp4")]) == 0
    same = ["--frames", "4", "--precision", recipe.precision]
    assert main(["transfer", *videos, *out, str(tmp_path / "b.mp4"), *same]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_model_is_packed_for_shipping(model_folder, tmp_path, capsys):
    assert main(["pack", model_folder, str(tmp_path / "packed")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bytes"] < 0.75 * sum(p.stat().st_size for p in Path(model_folder).glob("*.safetensors"))
    assert load_model(tmp_path / "packed").families == ("noisy",)


def test_train_and_resume_make_a_model_that_loads(tmp_path, capsys, monkeypatch):
    from lawm_core.training import recipes
    from tests.conftest import tiny_config

    def tiny():
        from dataclasses import replace

        recipe = recipes.nano()
        twins = recipes.BatchConfig(clips=2, frames=3).twins
        small = replace(twins, frame_size=32, objects=1)
        stages = {
            name: replace(stage, batch=replace(stage.batch, clips=2, lanes=1, frames=3, twins=small))
            for name, stage in recipe.stages.items()
        }
        return replace(recipe, model=tiny_config(families=tuple(recipe.model.families)), stages=stages)

    monkeypatch.setitem(recipes.RECIPES, "tiny", tiny)
    monkeypatch.setattr("lawm_core.training.losses.structural_loss", lambda a, b: (a - b).square().mean())
    arguments = ["--recipe", "tiny", "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu"]
    assert main(["train", "all", *arguments, "--steps", "2"]) == 0
    stages = [json.loads(line)["stage"] for line in capsys.readouterr().out.splitlines()]
    assert stages[:3] == ["encoder", "lam-noisy", "lam-sparse"] and {"decoder", "sampler-discrete"} <= set(stages)
    assert main(["train", "lam", "--family", "sparse", *arguments, "--steps", "3", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 3
    assert load_model(tmp_path / "run" / "model").families == ("noisy", "sparse", "discrete")
    assert main(["train", "lam", "--family", "vivid", *arguments]) == 2
    assert "'vivid'" in capsys.readouterr().err


def test_evaluate_writes_a_report_of_the_suites_asked_for(model_folder, videos, tmp_path, capsys):
    data, out = ["--data", str(tmp_path), "--split", "train", "--cache", str(tmp_path / "cache")], tmp_path / "report"
    arguments = ["evaluate", "--model", model_folder, *data, "--quick", "--quiet", "--out", str(out)]
    assert main([*arguments, "--suite", "leakage"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["suite"] for line in lines} == {"leakage"} and "cut_ratio" in {line["name"] for line in lines}
    report = json.loads((out / "report.json").read_text())
    assert list(report["suites"]) == ["leakage"] and len(report["model"]["fingerprint"]) == 16
    assert "Do actions copy the future?" in (out / "report.md").read_text() and (out / "report.html").is_file()
    # Two seconds of rollout need thirteen frames, and these clips have twelve.
    whole = [argument for argument in arguments if argument != "--quick"]
    assert main([*whole, "--suite", "cycle"]) == 2 and "13 frames" in capsys.readouterr().err


def test_a_report_that_cannot_be_added_to_is_refused_before_anything_is_measured(
    model_folder, videos, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("lawm_core.evaluation.suites.run_suites", None)
    (tmp_path / "report.json").write_text('{"model": "another"}')
    arguments = ["evaluate", "--model", model_folder, "--data", str(Path(videos[0]).parent), "--split", "train"]
    arguments += ["--cache", str(tmp_path / "cache"), "--quick", "--quiet", "--out", str(tmp_path), "--add"]
    assert main(arguments) == 2 and "not a report that can be added to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"source": "none.mp4"}, 3, "none.mp4 does not exist"),
        ({"source": "text.mp4"}, 3, "text.mp4 is not a readable video"),
        ({"model": "no-such-model"}, 4, "no-such-model"),
        ({"family": "vivid"}, 2, "vivid"),
        ({"context": "30"}, 2, "context_frames came as 30"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(model_folder, videos, tmp_path, capsys, change, code, words):
    (tmp_path / "text.mp4").write_text("hello")
    options = {
        "source": videos[0],
        "model": model_folder,
        "capacity": "1",
        "frames": "6",
        "family": "noisy",
        "context": "1",
    }
    options |= {k: str(tmp_path / v) if k == "source" else v for k, v in change.items()}
    source = options.pop("source")
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    assert main(["transfer", source, videos[1], "--out", str(tmp_path / "out.mp4"), *flags]) == code
    errors = capsys.readouterr().err
    assert words in errors and len(errors.splitlines()) == 1 and not (tmp_path / "out.mp4").exists()


def test_unknown_commands_and_options_are_usage(capsys):
    for arguments in (["dance"], ["transfer", "a.mp4"], ["models", "--loud"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


# ---- answers before anything heavy is imported ----------------------------------------------------------------------

# `here` is a folder with clip.mp4, and nothing called `gone` exists. What is wrong comes last on each line.
EARLY = [
    ("--help", 0, "transfer"),
    ("dance", 2, "invalid choice: 'dance'"),
    ("transfer gone.mp4 here/clip.mp4 --out c.mp4", 3, "gone.mp4 does not exist"),
    ("transfer here/clip.mp4 gone.mp4 --out c.mp4", 3, "gone.mp4 does not exist"),
    ("transfer here here/clip.mp4 --out c.mp4", 3, "here is a folder"),
    ("transfer gone.mp4 gone.mp4 --model gone --out c.mp4 --capacity 2", 2, "capacity must be in [0, 1], got 2."),
    ("transfer gone.mp4 gone.mp4 --out c.mp4 --capacity nan", 2, "capacity must be in [0, 1], got nan."),
    ("transfer gone.mp4 gone.mp4 --out c.mp4 --capacity much", 2, "invalid capacity value: 'much'"),
    ("transfer gone.mp4 gone.mp4 --model gone --out c.mp4", 3, "gone.mp4 does not exist"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --frames 1", 2, "must be at least 2, got 1."),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --context 0", 2, "must be at least 1, got 0."),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --context 16", 2, "context_frames came as 16"),
    (
        "transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --source-start -1",
        2,
        "must be a finite number of at least 0, got -1.",
    ),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --device gpu", 2, "device must be auto, cpu, cuda"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --model gone", 4, "'gone' is neither a folder"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --model hub:gone", 4, "hub:owner/name"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --family vivid", 2, "family must be one of noisy"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.avi", 2, "c.avi ends in .avi"),
    ("transfer here/clip.mp4 here/clip.mp4 --out gone/c.mp4", 2, "'gone' does not exist"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --scores gone/c.json", 2, "gone: no such folder."),
    ("actions gone.mp4 --out a.npz", 3, "gone.mp4 does not exist"),
    ("actions here/clip.mp4 --out a.npz --frames 1", 2, "must be at least 2, got 1."),
    ("actions here/clip.mp4 --out a.npz --family vivid", 2, "'vivid'"),
    ("replay gone.json --out c.mp4", 2, "gone.json: no such file."),
    ("replay here/clip.mp4 --out c.mp4 --videos gone", 2, "gone: no such folder."),
    ("replay here/clip.mp4 --out c.mp4 --model gone", 4, "'gone' is neither a folder"),
    ("gallery list --listing gone.toml", 2, "gone.toml: no such file."),
    ("gallery list --only gone", 2, "gone is not in"),
    ("library gone --out l", 2, "gone: no such folder."),
    ("library here/clip.mp4 --out l", 2, "is not a folder."),
    ("library here --out l --capacity -1", 2, "capacity must be in [0, 1], got -1."),
    ("library here --out l --family vivid", 2, "'vivid'"),
    ("extract gone --out e", 2, "gone: no such folder."),
    ("extract here --out e --models 0", 2, "must be at least 1, got 0."),
    ("extract here --out e --processors 0", 2, "must be a finite number above 0, got 0."),
    ("extract here --out e --points 3", 2, "must be at least 4, got 3."),
    ("extract here --out e --model gone", 4, "'gone' is neither a folder"),
    ("models --loud", 2, "unrecognized arguments: --loud"),
    (
        "train lam --out r --recipe gone",
        2,
        "recipe must be one of nano, nano256, nano256_references, lite, large, nano_masked, nano_mixed, got 'gone'.",
    ),
    ("train lam --out r --data gone", 2, "gone: no such folder."),
    ("train lam --out r --start-from gone", 2, "gone: no such folder."),
    ("train lam --out r --robot-video gone", 2, "gone: no such folder."),
    ("train lam --out r --robot-share 0", 2, "must be in (0, 1], got 0."),
    ("train lam --out r --steps 0", 2, "must be at least 1, got 0."),
    ("train lam --out r --minutes 0", 2, "must be a finite number above 0, got 0."),
    ("train lam --out r --passes 0", 2, "must be at least 1, got 0."),
    ("train controller --out r", 2, "needs --robot NAME and --labels FOLDER"),
    ("train controller --out r --robot arm --labels gone", 2, "gone: no such folder."),
    ("train controller --out r --robot arm --labels here", 4, "is neither a folder"),
    ("shards gone --out s", 2, "gone: no such folder."),
    ("shards here --out s --recipe gone", 2, "got 'gone'."),
    ("shards here --out s --clips 0", 2, "must be at least 1, got 0."),
    ("record arm --out here", 2, "here exists"),
    ("record arm --out d --episodes 0", 2, "must be at least 1, got 0."),
    ("record arm --out d --val-share 1", 2, "must be in [0, 1), got 1."),
    ("record arm --out d --rate inf", 2, "must be a finite number above 0, got inf."),
    ("pack gone out", 4, "'gone' is neither a folder"),
    ("push gone hub:owner/name", 4, "'gone' is neither a folder"),
    ("push nano256 owner/name", 4, "hub:owner/name"),
    ("evaluate --data gone", 2, "gone: no such folder."),
    ("evaluate --data here --labels gone", 2, "gone: no such folder."),
    ("evaluate --data here --baselines gone", 2, "gone: no such folder."),
    ("evaluate --data here --model gone", 4, "'gone' is neither a folder"),
    ("evaluate --data here --family noisy,vivid", 2, "'vivid'"),
    ("evaluate --data here --suite idm,shoes", 2, "suite must be one of idm, pictures, leakage"),
    ("evaluate --data here --plan-samples 0", 2, "must be at least 1, got 0."),
]
# Runs each line of EARLY where nothing heavy can be imported; prints exit codes and what was said.
RUN_EARLY = """
import contextlib, io, json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("torch", "numpy", "gradio", "safetensors"), f"{name} was imported"
sys.meta_path.insert(0, Blocker())
from lawm_core.cli import main
found = []
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            code = main(line.split())
        except SystemExit as stop:
            code = stop.code
    found.append((code, out.getvalue()))
print(json.dumps(found))
"""
COMMANDS = (
    "transfer", "actions", "replay", "gallery", "library", "extract", "models", "train", "shards", "record", "pack",
    "push", "evaluate",
)  # fmt: skip


def run_early(lines: list[str], folder: Path) -> list[list]:
    """Exit code and text of each command line, in a process that cannot import anything heavy."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", RUN_EARLY], input=json.dumps(lines), env=environment, cwd=folder, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """What came of each line of EARLY."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "here").mkdir()
    (folder / "here" / "clip.mp4").write_bytes(b"not looked into")
    found = run_early([line for line, *_ in EARLY], folder)
    assert [path.name for path in folder.iterdir()] == ["here"]
    return dict(zip(EARLY, found, strict=True))


@pytest.mark.parametrize("case", EARLY, ids=lambda case: case[0])
def test_mistakes_are_answered_before_torch_is_imported(early, case):
    _, code, words = case
    got, said = early[case]
    assert (got, words in said) == (code, True), said


def test_help_of_every_command_needs_no_torch(tmp_path):
    (names,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(names) == set(COMMANDS) == {line.split()[0] for line, *_ in EARLY} - {"--help", "dance"}
    for name, (code, said) in zip(COMMANDS, run_early([f"{name} --help" for name in COMMANDS], tmp_path), strict=True):
        assert code == 0 and said.startswith(f"usage: python -m lawm_core {name}")


def test_names_are_the_same_with_and_without_the_modules_that_they_are_in():
    script = (
        "from lawm_core.arguments import registered\n"
        "tables = [('lawm_core.training.recipes', 'RECIPES'), ('lawm_core.evaluation.suites', 'SUITES'),"
        " ('lawm_core.evaluation.suites', 'ROBOT_SUITES')]\n"
        "read = [registered(*table) for table in tables]\n"
        "import lawm_core.training.recipes, lawm_core.evaluation.suites\n"
        "assert all(read) and read == [registered(*table) for table in tables], read"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("TABLE = {'a': 1, 'b': 2}", ["a", "b"]),
        ("TABLE: dict = {'a': 1}", ["a"]),
        ("TABLE['mine'] = 1", ["mine"]),
        ("OTHER = {'a': 1}", []),
        ("print('a')", []),
    ],
)
def test_keys_of_a_table_are_read_from_source(text, keys):
    assert assigned_keys(ast.parse(text).body[0], "TABLE") == keys
