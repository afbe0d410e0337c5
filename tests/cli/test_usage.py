"""Usage: help, and errors that are reported before torch is imported."""

import argparse
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lawm_core.cli.arguments import assigned_keys
from lawm_core.cli.main import build_parser, main

ROOT = Path(__file__).resolve().parents[2]


def test_help_is_printed_without_arguments(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: lawm")


def test_unknown_commands_and_options_are_usage_errors():
    for arguments in (["dance"], ["transfer", "a.mp4"], ["models", "--loud"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (["transfr", "a.mp4"], "did you mean transfer?"),
        (["transfer", "a.mp4", "b.mp4", "--out", "c.mp4", "--capacty", "1"], "did you mean --capacity?"),
        (["train", "decode", "--out", "x"], "did you mean decoder?"),
        (["train", "decoder", "--out", "x", "--recipe", "nano25"], "got 'nano25'; did you mean nano256?"),
    ],
)
def test_nearest_name_is_suggested(call, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(call)
    assert stop.value.code == 2 and hint in capsys.readouterr().err


# ---- errors before anything heavy is imported -----------------------------------------------------------------------

NO_MODEL = "model must be a folder with config.json or one of "
RECIPES = "recipe must be one of nano256, nano, lite, large, nano256_references, nano256_masked, nano256_mixed or "

# `here` is a folder with clip.mp4, and nothing called `gone` exists. Each line has one error, the last argument.
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
    (
        "transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --context 16",
        2,
        "--context must be in [1, 15], below --frames",
    ),
    (
        "transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --source-start -1",
        2,
        "must be a finite number of at least 0, got -1.",
    ),
    (
        "transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --device gpu",
        2,
        "device must be auto, cpu, cuda, mps, xpu or cuda:N, got 'gpu'.",
    ),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --model gone", 4, NO_MODEL),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --model hub:gone", 4, "hub:owner/name"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --family vivid", 2, "family must be one of noisy"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.avi", 2, "c.avi"),
    ("transfer here/clip.mp4 here/clip.mp4 --out gone/c.mp4", 2, "gone"),
    ("transfer here/clip.mp4 here/clip.mp4 --out c.mp4 --scores gone/c.json", 2, "gone: no such folder."),
    ("actions gone.mp4 --out a.npz", 3, "gone.mp4 does not exist"),
    ("actions here/clip.mp4 --out a.npz --frames 1", 2, "must be at least 2, got 1."),
    ("actions here/clip.mp4 --out a.npz --family vivid", 2, "'vivid'"),
    ("replay gone.json --out c.mp4", 2, "gone.json: no such file."),
    ("replay here/clip.mp4 --out c.mp4 --videos gone", 2, "gone: no such folder."),
    ("replay here/clip.mp4 --out c.mp4 --model gone", 4, NO_MODEL),
    ("gallery list --listing gone.toml", 2, "gone.toml: no such file."),
    ("gallery list --only gone", 2, "--only must be one of "),
    ("library gone --out l", 2, "gone: no such folder."),
    ("library here/clip.mp4 --out l", 2, "is not a folder."),
    ("library here --out l --capacity -1", 2, "capacity must be in [0, 1], got -1."),
    ("library here --out l --family vivid", 2, "'vivid'"),
    ("extract gone --out e", 2, "gone: no such folder."),
    ("extract here --out e --models 0", 2, "must be at least 1, got 0."),
    ("extract here --out e --processors 0", 2, "must be a finite number above 0, got 0."),
    ("extract here --out e --points 3", 2, "must be at least 4, got 3."),
    ("extract here --out e --model gone", 4, NO_MODEL),
    ("models --loud", 2, "unrecognized arguments: --loud"),
    ("train lam --out r --recipe gone", 2, RECIPES + "package.module:function, got 'gone'."),
    ("train lam --out r --data gone", 2, "gone: no such folder."),
    ("train lam --out r --init-from gone", 2, "gone: no such folder."),
    ("train lam --out r --robot-video gone", 2, "gone: no such folder."),
    ("train lam --out r --robot-fraction 0", 2, "must be in (0, 1], got 0."),
    ("train lam --out r --steps 0", 2, "must be at least 1, got 0."),
    ("train lam --out r --minutes 0", 2, "must be a finite number above 0, got 0."),
    ("train lam --out r --grad-accum-steps 0", 2, "must be at least 1, got 0."),
    ("train controller --out r", 2, "needs --robot NAME and --labels FOLDER"),
    ("train controller --out r --robot arm --labels gone", 2, "gone: no such folder."),
    ("train controller --out r --robot arm --labels here", 4, NO_MODEL),
    ("train controller --out r --robot arm --labels here --grad-accum-steps 2", 2, "trains in one process"),
    ("train baselines --out r --robot arm --labels here --compile", 2, "takes neither --activation-checkpointing nor"),
    ("shards gone --out s", 2, "gone: no such folder."),
    ("shards here --out s --recipe gone", 2, "got 'gone'."),
    ("shards here --out s --clips 0", 2, "must be at least 1, got 0."),
    ("record arm --out here", 2, "here exists"),
    ("record arm --out d --episodes 0", 2, "must be at least 1, got 0."),
    ("record arm --out d --val-fraction 1", 2, "must be in [0, 1), got 1."),
    ("record arm --out d --rate inf", 2, "must be a finite number above 0, got inf."),
    ("pack gone out", 4, NO_MODEL),
    ("push gone hub:owner/name", 4, NO_MODEL),
    ("push nano256 owner/name", 4, "hub:owner/name"),
    ("evaluate --data gone", 2, "gone: no such folder."),
    ("evaluate --data here --labels gone", 2, "gone: no such folder."),
    ("evaluate --data here --baselines gone", 2, "gone: no such folder."),
    ("evaluate --data here --model gone", 4, NO_MODEL),
    ("evaluate --data here --family noisy,vivid", 2, "'vivid'"),
    ("evaluate --data here --suite idm,shoes", 2, "suite must be one of idm, "),
    ("evaluate --data here --plan-samples 0", 2, "must be at least 1, got 0."),
]
# Runs each line of EARLY in a process that cannot import anything heavy; prints exit codes and output.
RUN_EARLY = """
import contextlib, io, json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("torch", "numpy", "gradio", "safetensors"), f"{name} was imported"
sys.meta_path.insert(0, Blocker())
from lawm_core.cli.main import main
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
    """Return exit code and output of each command line, in a process that cannot import anything heavy."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_EARLY], input=json.dumps(lines), env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """Exit code and output of each line of EARLY."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "here").mkdir()
    (folder / "here" / "clip.mp4").write_bytes(b"not a video")
    found = run_early([line for line, *_ in EARLY], folder)
    assert [path.name for path in folder.iterdir()] == ["here"]  # nothing was written
    return dict(zip(EARLY, found, strict=True))


@pytest.mark.parametrize("case", EARLY, ids=lambda case: case[0])
def test_errors_are_reported_before_torch_is_imported(early, case):
    _, code, message = case
    exit_code, output = early[case]
    assert (exit_code, message in output) == (code, True), output


def test_help_of_every_command_needs_no_torch(tmp_path):
    (names,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(names) == set(COMMANDS) == {line.split()[0] for line, *_ in EARLY} - {"--help", "dance"}
    outputs = run_early([f"{name} --help" for name in COMMANDS], tmp_path)
    for name, (code, output) in zip(COMMANDS, outputs, strict=True):
        assert code == 0 and output.startswith(f"usage: lawm {name}")


# ---- names of registered functions ----------------------------------------------------------------------------------


def test_registered_names_are_the_same_before_and_after_import():
    script = (
        "from lawm_core.cli.arguments import registered\n"
        "tables = [('lawm_core.training.recipes', 'RECIPES'), ('lawm_core.evaluation.suites', 'SUITES'),"
        " ('lawm_core.evaluation.suites', 'ROBOT_SUITES')]\n"
        "read = [registered(*table) for table in tables]\n"
        "import lawm_core.training.recipes, lawm_core.evaluation.suites\n"
        "assert all(read) and read == [registered(*table) for table in tables], read"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


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
