"""Commands: results on stdout, errors on one line of stderr, and exit codes that say what kind of error it was."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lawm_core.checkpoint import fingerprint, load_model
from lawm_core.cli.main import main
from lawm_core.data.shards import ShardFrameStore
from lawm_core.library.library import load_library
from lawm_core.transfer.replay import ClipReference, ReplaySpec, content_hash
from lawm_core.video.files import read_clip

TINY = "tests.training.toy_recipes:tiny_recipe"
SCORES = {"prediction_gain", "action_effect", "cycle_ratio", "carried_fraction"}


# ---- transfer, actions, replay --------------------------------------------------------------------------------------


def test_transfer_writes_a_video_of_all_panels_and_prints_scores(model_folder, videos, tmp_path, capsys):
    out, report = tmp_path / "result.mp4", tmp_path / "scores.json"
    call = ["transfer", *videos, "--out", str(out), "--model", model_folder, "--frames", "8"]
    code = main([*call, "--json", "--scores", str(report), "--target-start", "0.5"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["source_start_seconds"], printed["target_start_seconds"]) == (0.0, 0.5)
    assert code == 0 and json.loads(report.read_text()) == printed
    assert printed["frames"] == 8 and set(printed["scores"]) == SCORES
    clip = read_clip(out, frames_per_second=6, size=32)
    assert len(clip.frame_TCHW) == 8
    assert main(call) == 0 and "8 frames of two.mp4 with the motion of one.mp4" in capsys.readouterr().out


def test_same_command_writes_the_same_bytes(model_folder, videos, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        main(["transfer", *videos, "--out", str(tmp_path / name), "--model", model_folder, "--frames", "4"])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_actions_are_saved_with_their_settings(model_folder, videos, tmp_path):
    out = tmp_path / "new" / "actions.npz"
    assert main(["actions", videos[0], "--out", str(out), "--model", model_folder, "--capacity", "0.5"]) == 0
    saved = np.load(out, allow_pickle=False)
    settings = json.loads(str(saved["settings"]))
    assert saved["action_UA"].shape == (11, 8) and settings["capacity"] == 0.5 and settings["video"] == "one.mp4"


def test_replay_writes_the_bytes_of_the_original_result(model_folder, videos, tmp_path, capsys):
    one, two = (Path(video) for video in videos)
    references = [ClipReference(file=path.name, sha256=content_hash(path), frames=4) for path in (one, two)]
    spec = ReplaySpec(
        model="tiny", fingerprint=fingerprint(model_folder), family="noisy", capacity=1.0,
        source=references[0], target=references[1],
    )  # fmt: skip
    (tmp_path / "replay.json").write_text(spec.to_json())
    out = ["--model", model_folder, "--out"]
    assert main(["replay", str(tmp_path / "replay.json"), *out, str(tmp_path / "a.mp4")]) == 0
    same = ["--frames", "4", "--precision", spec.precision]
    assert main(["transfer", *videos, *out, str(tmp_path / "b.mp4"), *same]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"source": "none.mp4"}, 3, "none.mp4 does not exist"),
        ({"source": "text.mp4"}, 3, "text.mp4"),
        ({"model": "no-such-model"}, 4, "no-such-model"),
        ({"family": "vivid"}, 2, "family must be one of noisy for tiny, got 'vivid'"),
        ({"context": "30"}, 2, "--context must be in [1, 5], below --frames, got 30"),
    ],
)
def test_errors_are_one_line(model_folder, videos, tmp_path, capsys, change, code, message):
    (tmp_path / "text.mp4").write_text("hello")
    options = {
        "source": videos[0], "model": model_folder, "capacity": "1", "frames": "6", "family": "noisy", "context": "1",
    }  # fmt: skip
    options |= {name: str(tmp_path / value) if name == "source" else value for name, value in change.items()}
    source = options.pop("source")
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    assert main(["transfer", source, videos[1], "--out", str(tmp_path / "out.mp4"), *flags]) == code
    errors = capsys.readouterr().err
    assert errors.startswith("lawm: ") and message in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "out.mp4").exists()


# ---- library, pack --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_library_of_a_folder(model_folder, videos, tmp_path, capsys):
    out = tmp_path / "library"
    code = main(["library", str(tmp_path), "--out", str(out), "--model", model_folder, "--frames", "6"])
    printed = json.loads(capsys.readouterr().out)
    assert code == 0 and (printed["clips"], printed["actions"]) == (2, 10)
    assert len(load_library(out)) == 10


def test_pack_halves_the_weights(model_folder, tmp_path, capsys):
    assert main(["pack", model_folder, str(tmp_path / "packed")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bytes"] < 0.75 * sum(path.stat().st_size for path in Path(model_folder).glob("*.safetensors"))
    assert load_model(tmp_path / "packed").family_names == ("noisy",)


def test_shards_are_written_for_a_recipe(videos, tmp_path, capsys):
    shards = tmp_path / "shards"
    assert main(["shards", str(Path(videos[0]).parent), "--out", str(shards), "--recipe", TINY, "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 2
    store = ShardFrameStore(shards)
    assert store.frames_per_second == 6.0 and store.short_side == 72  # a margin above the picture size, for crops


# ---- train ----------------------------------------------------------------------------------------------------------


def test_train_and_resume_make_a_model_that_loads(tmp_path, capsys, monkeypatch):
    from lawm_core.training import recipes
    from tests.training.toy_recipes import tiny_recipe

    monkeypatch.setitem(recipes.RECIPES, "tiny", tiny_recipe)
    arguments = ["--recipe", "tiny", "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu"]
    assert main(["train", "all", *arguments, "--steps", "2"]) == 0
    stages = [json.loads(line)["stage"] for line in capsys.readouterr().out.splitlines()]
    assert stages == list(tiny_recipe().stages)
    assert main(["train", "lam", "--family", "sparse", *arguments, "--steps", "3", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 3
    assert load_model(tmp_path / "run" / "model").family_names == ("noisy", "sparse", "discrete")
    assert main(["train", "lam", "--family", "vivid", *arguments]) == 2
    assert "stage 'lam' of family 'vivid' is not in this recipe" in capsys.readouterr().err


def test_recipe_and_data_can_be_import_paths(tmp_path, capsys):
    arguments = ["train", "encoder", "--recipe", TINY, "--data", "tests.training.toy_recipes:GreyDataset"]
    arguments += ["--out", str(tmp_path / "run"), "--quiet", "--device", "cpu", "--steps", "1"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--recipe", "tests.training.toy_recipes:no_recipe", "must return a TrainingRecipe, got ModelConfig"),
        ("--recipe", "tests.training.gone:recipe", "cannot be imported"),
        ("--data", "tests.training.toy_recipes:NoDataset", "must return a VideoDataset, got NoDataset"),
        ("--data", "tests.training.toy_recipes:Gone", "cannot be imported"),
    ],
)
def test_import_paths_of_anything_else_are_refused(tmp_path, capsys, option, value, message):
    options = {"--recipe": TINY, "--out": str(tmp_path / "run"), option: value}
    assert main(["train", "encoder", "--quiet", *(text for pair in options.items() for text in pair)]) == 2
    assert message in capsys.readouterr().err


# ---- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_writes_a_report_of_the_chosen_suites(model_folder, videos, tmp_path, capsys):
    data, out = ["--data", str(tmp_path), "--split", "train", "--cache", str(tmp_path / "cache")], tmp_path / "report"
    arguments = ["evaluate", "--model", model_folder, *data, "--quick", "--quiet", "--out", str(out)]
    assert main([*arguments, "--suite", "leakage"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["suite"] for line in lines} == {"leakage"} and lines
    report = json.loads((out / "report.json").read_text())
    assert list(report["suites"]) == ["leakage"] and len(report["model"]["fingerprint"]) == 16
    assert (out / "report.md").is_file() and (out / "report.html").is_file()
    # Rollouts of two seconds need thirteen frames, and these clips have twelve.
    whole = [argument for argument in arguments if argument != "--quick"]
    assert main([*whole, "--suite", "cycle"]) == 2 and "13 frames" in capsys.readouterr().err


def test_invalid_report_to_add_to_is_refused_before_the_evaluation(
    model_folder, videos, tmp_path, capsys, monkeypatch
):  # fmt: skip
    monkeypatch.setattr("lawm_core.evaluation.suites.run_suites", None)
    (tmp_path / "report.json").write_text('{"model": "another"}')
    arguments = ["evaluate", "--model", model_folder, "--data", str(Path(videos[0]).parent), "--split", "train"]
    arguments += ["--cache", str(tmp_path / "cache"), "--quick", "--quiet", "--out", str(tmp_path), "--add"]
    assert main(arguments) == 2 and "is not a valid report" in capsys.readouterr().err


# ---- output ---------------------------------------------------------------------------------------------------------


def test_closed_pipe_is_silent():
    command = [sys.executable, "-m", "lawm_core", "models"]
    done = subprocess.run(
        ["bash", "-c", 'exec 3>&1; "$@" 2>&3 | true; exit ${PIPESTATUS[0]}', "bash", *command],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "" and done.stderr == "" and done.returncode in (0, 141)
