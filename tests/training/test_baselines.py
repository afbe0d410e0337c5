"""Baselines for planning: trained, saved, and compared in the planning suite."""

import json

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli.main import main
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.planning import measure_planning_rover
from lawm_core.model import LatentActionModel
from lawm_core.models.policy import GoalPolicy, PolicyConfig
from lawm_core.simulation.recorder import RecorderConfig, record
from lawm_core.training.baselines import (
    LABELLED,
    PolicyLoss,
    RobotActionLoss,
    RobotActionLossConfig,
    baseline_model,
    load_baselines,
)
from lawm_core.training.controller_loss import LabelledBatchConfig, LabelledSource
from lawm_core.training.controllers import LabelledRunConfig, describe_robot, train_controllers
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from tests.conftest import TINY_BLOCK, tiny_config
from tests.training.toy_robots import ToyRover
from tests.training.toy_stages import CPU, assert_resumes


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Episodes of a toy rover."""
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyRover(), out, RecorderConfig(episodes=12, frames=12, val_fraction=0.25), "go")


@pytest.fixture(scope="module")
def dataset(labels, tmp_path_factory):
    """The training episodes."""
    return EpisodeDataset(build_episodes(labels, tmp_path_factory.mktemp("cache"), 6.0, 32), "train")


def build_baselines(dataset) -> LatentActionModel:
    torch.manual_seed(0)
    model = baseline_model(LatentActionModel(tiny_config())).requires_grad_(True)
    model.add_robot("rover", describe_robot("rover", dataset, "action"))
    policy = PolicyConfig(steps=4, mean=(0.0,) * 3, std=(1.0,) * 3, block=TINY_BLOCK, depth=1)
    model.add_policy("rover", policy)
    return model


def build_loss(model: LatentActionModel, name: str) -> RobotActionLoss | PolicyLoss:
    if name == "policy":
        return PolicyLoss(model, "rover")
    return RobotActionLoss(model, RobotActionLossConfig(robot="rover"))


def test_world_model_is_untrained_and_the_frozen_parts_are_copied():
    shipped = LatentActionModel(tiny_config())
    model = baseline_model(shipped)
    assert model.family_names == (LABELLED,) and not model.config.robots
    for part in ("encoder", "flow_reader", "decoder"):
        pairs = zip(getattr(shipped, part).parameters(), getattr(model, part).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    state_BTND = model.encode(torch.rand(1, 2, 3, 32, 32))
    rollout = model.at().rollout(state_BTND[:, :1], torch.zeros(1, 1, 8))
    torch.testing.assert_close(rollout.state_BUND, state_BTND[:, :1], atol=1e-5, rtol=0)  # no action, no motion


@pytest.mark.parametrize("name", ["labelled", "policy"])
def test_only_the_baseline_is_trained(dataset, name):
    model = build_baselines(dataset)
    batch = LabelledSource(LabelledBatchConfig(clips=4, frames=5), dataset, CPU, 0).draw(0)
    build_loss(model, name).losses(batch, 0.0)["loss"].backward()
    trained = {weight for weight, tensor in model.named_parameters() if tensor.grad is not None}
    parts = ("policies.rover.",) if name == "policy" else ("families.labelled.world_model.", "controllers.rover.")
    assert trained and all(weight.startswith(parts) for weight in trained)


@pytest.mark.parametrize("name", ["labelled", "policy"])
def test_resume_is_bit_identical(dataset, tmp_path, name):
    def build(folder: str) -> Trainer:
        source = LabelledSource(LabelledBatchConfig(clips=4, frames=5), dataset, CPU, 0)
        config = TrainerConfig(steps=6, execution=ExecutionConfig(precision="float32"))
        return Trainer(build_loss(build_baselines(dataset), name), source, config, tmp_path / folder)

    assert_resumes(build)


def test_policy_learns_the_way_to_the_goal():
    """States contain positions; the right plan divides the way between them into equal steps."""
    torch.manual_seed(0)
    config = PolicyConfig(steps=2, mean=(0.0, 0.0), std=(0.5, 0.5), block=TINY_BLOCK, depth=1)
    policy = GoalPolicy(config, tiny_config().encoder)
    optimizer, recent = torch.optim.AdamW(policy.parameters(), lr=4e-3), []
    for _ in range(250):
        position_B2R = torch.randn(32, 2, 2)
        state_B2ND = torch.nn.functional.pad(position_B2R, (0, 62))[:, :, None].expand(-1, -1, 16, -1)
        true_BKR = ((position_B2R[:, 1] - position_B2R[:, 0]) / 2)[:, None].expand(-1, 2, -1)
        error = (policy(state_B2ND[:, 0], state_B2ND[:, 1]) - true_BKR).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        recent.append(error.item())
    assert sum(recent[-20:]) / 20 < 0.1 * recent[0]


def test_policy_without_steps_is_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        PolicyConfig(steps=0)


def test_run_trains_both_baselines_and_the_planning_suite_compares_them(labels, tmp_path, capsys):
    run, cache = tmp_path / "run", tmp_path / "cache"
    torch.manual_seed(0)
    save_model(LatentActionModel(tiny_config()), run / "model")
    arguments = ["train", "baselines", "--out", str(run), "--quiet", "--steps", "2", "--cache", str(cache)]
    assert main([*arguments, "--robot", "rover", "--labels", str(labels)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"stage", "labelled", "policy"}
    train_controllers(run, LabelledRunConfig(robot="rover", data=labels, cache=cache, steps=2, show_progress=False))
    held_out = EpisodeDataset(build_episodes(labels, cache, 6.0, 32), "val")
    config = SuiteConfig(capacities=(1.0,), episodes=3, plan_samples=6)
    baselines = {"rover": load_baselines(run / "baselines", "rover")}
    bench = Bench(load_model(run / "model"), None, config, {"rover": held_out}, baselines)
    result = measure_planning_rover(bench, lambda *_: None)
    rows = {score.family for score in result.scores}
    assert rows == {"zero", "mean", "random", "labelled", "policy", "noisy", "noisy straight"}
    assert {score.name for score in result.scores if score.family == "policy"} == {"ate", "rpe", "error_vs_zero"}
