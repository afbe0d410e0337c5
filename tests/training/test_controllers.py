"""Training of controllers for a trained model."""

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli.main import main
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.model import LatentActionModel
from lawm_core.simulation.recorder import RecorderConfig, record
from lawm_core.training.controllers import LabelledRunConfig, describe_robot, mirrored_dims, train_controllers
from tests.conftest import tiny_config
from tests.evaluation.toy_robots import Straight, Walk
from tests.training.toy_robots import ToyRover, ToyWorld


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Episodes of a toy robot of an unknown name."""
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=8, val_fraction=0.34), "go")


@pytest.fixture
def run(tmp_path):
    """A run whose model is not trained."""
    torch.manual_seed(0)
    save_model(LatentActionModel(tiny_config(families=("noisy", "discrete"))), tmp_path / "run" / "model")
    return tmp_path / "run"


def open_episodes(folder, tmp_path, split: str) -> EpisodeDataset:
    return EpisodeDataset(build_episodes(folder, tmp_path / "cache", 6.0, 32), split)


# ---- descriptions of robots -----------------------------------------------------------------------------------------


def test_unknown_robots_are_described_by_their_data(labels, tmp_path):
    dataset = open_episodes(labels, tmp_path, "train")
    config = describe_robot("toy", dataset)
    assert config.names == ("dx", "dy") and config.units == ("", "") and config.kind == "flow"
    assert config.limits == pytest.approx((1.0, 1.0))  # the toy's actions are -1, 0 and 1
    assert config.mean == pytest.approx(dataset.actions().mean(dim=0).tolist(), abs=1e-5)
    assert config.std == pytest.approx(dataset.actions().std(dim=0).tolist(), abs=1e-5)
    assert mirrored_dims("toy") is None


def test_simulated_robots_have_known_units_limits_and_mirrored_dimensions(tmp_path):
    folder = record(ToyRover(), tmp_path / "toy", RecorderConfig(episodes=3, frames=4, val_fraction=0.34), "go")
    config = describe_robot("rover", open_episodes(folder, tmp_path, "train"), "action")
    assert config.units == ("m", "m", "rad") and config.kind == "action" and max(config.limits) < 1
    assert mirrored_dims("rover") == (1, 2) and mirrored_dims("arm") == (1,)  # sideways, and turning


# ---- training -------------------------------------------------------------------------------------------------------


def test_run_gives_a_model_controllers_and_the_suite_measures_them(labels, run, tmp_path, capsys):
    arguments = ["train", "controller", "--out", str(run), "--quiet", "--steps", "2"]
    arguments += ["--cache", str(tmp_path / "cache")]
    assert main([*arguments, "--robot", "toy", "--labels", str(labels), "--action-only"]) == 0
    stages = capsys.readouterr().out
    assert stages.count("controller-toy-") == 2 and stages.count("controller-toy_action_only-") == 2
    model = load_model(run / "model")
    assert model.robot("toy").names == ("dx", "dy") and model.robot("toy_action_only").kind == "action"
    assert model.robots == ("toy",)
    held_out = open_episodes(labels, tmp_path, "val")
    bench = Bench(model, None, SuiteConfig(capacities=(1.0,), seconds=1.0, episodes=2), {"toy": held_out})
    result = measure_controller(bench, lambda *_: None)
    means = {(score.family, score.name): score.mean for score in result.scores}
    for family in ("noisy", "discrete"):
        ratio = means[family, "toy_controller_error"] / means[family, "toy_idm_error"]
        assert means[family, "toy_error_ratio"] == pytest.approx(ratio)
        others = {"toy_motion_ratio", "toy_idm_error_vs_copying"}
        others |= {f"toy_action_only_{name}" for name in ("controller_error", "error_ratio", "motion_ratio")}
        assert others <= {name for of, name in means if of == family}
    assert all(frames.shape[1] == 7 for frames in result.pictures.values())


def test_wrong_labels_and_missing_options_are_refused(labels, run, tmp_path, capsys):
    arguments = ["train", "controller", "--out", str(run), "--robot", "arm", "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "--labels", str(labels)]) == 2
    assert "actions of arm must be dx, dy, dz, gripper; the data set has dx, dy" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "needs --robot NAME and --labels FOLDER" in capsys.readouterr().err


def test_controllers_of_other_families_start_from_the_first_one(labels, run, tmp_path):
    """The first family trains for `steps`, the others for a third, so that one step is left to them here."""
    config = LabelledRunConfig(
        robot="toy", data=labels, cache=tmp_path / "cache", steps=3, device="cpu", precision="float32",
        show_progress=False,
    )  # fmt: skip
    distances = train_controllers(run, config)
    assert set(distances) == {"toy-noisy", "toy-discrete"}
    model = load_model(run / "model")
    noisy, discrete = (model.at(family).controller("toy").embed[0].weight for family in ("noisy", "discrete"))
    other = LatentActionModel(model.config).at("noisy").controller("toy").embed[0].weight
    assert (discrete - noisy).abs().max() < 0.01 < (other - noisy).abs().max()


def test_resumed_run_keeps_trained_controllers(labels, run, tmp_path):
    config = {"robot": "toy", "data": labels, "cache": tmp_path / "cache", "steps": 3, "show_progress": False}
    train_controllers(run, LabelledRunConfig(**config))
    before = load_model(run / "model").state_dict()
    train_controllers(run, LabelledRunConfig(**config, resume=True))
    after = load_model(run / "model").state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_perfect_controller_has_no_error_and_the_right_amount_of_motion():
    bench = Bench(Straight(), None, SuiteConfig(capacities=(1.0,), episodes=4), {"arm": Walk()})
    means = {score.name: score.mean for score in measure_controller(bench, lambda *_: None).scores}
    assert means["arm_idm_error"] < 1e-6 and means["arm_controller_error"] < 1e-6
    assert means["arm_motion_ratio"] == pytest.approx(1, abs=1e-4)
