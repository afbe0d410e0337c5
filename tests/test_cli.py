"""The command line as a person meets it: results on stdout, one line on stderr, honest exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lawm_core.checkpoint import fingerprint, load_model, save_model
from lawm_core.cli import main
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
    code = main(
        ["transfer", *videos, "--out", str(out), "--model", model_folder, "--frames", "8", "--json", str(report)]
    )
    printed = json.loads(capsys.readouterr().out)
    assert code == 0 and json.loads(report.read_text()) == printed
    assert printed["frames"] == 8 and set(printed["scores"]) == {"prediction_gain", "action_effect", "cycle_ratio"}
    clip = read_clip(out, frames_per_second=6, size=32)
    assert len(clip.frame_TCHW) == 8


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
    assert main([*arguments, "--suite", "shoes"]) == 2 and "'shoes'" in capsys.readouterr().err
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
        ({"capacity": "7"}, 2, "capacity came as 7"),
        ({"frames": "1"}, 2, "num_frames is 1"),
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
    for arguments in ([], ["dance"], ["transfer", "a.mp4"], ["models", "--loud"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
