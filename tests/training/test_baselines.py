"""What planning is measured against: trained, kept, and given its rows in the suite."""

import json

import numpy as np
import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli import main
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.planning import measure_planning_rover
from lawm_core.model import LatentActionModel
from lawm_core.models.policy import GoalPolicy, PolicyConfig
from lawm_core.training.baselines import (
    KnownActionConfig,
    KnownActionObjective,
    PolicyObjective,
    baseline_model,
    load_baselines,
)
from lawm_core.training.controller import LabelledConfig, LabelledSource
from lawm_core.training.controllers import describe_robot, train_controllers
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from lawm_core.worlds.episodes import EpisodeWorld, build_episodes
from lawm_core.worlds.recorder import RecorderConfig, record
from lawm_core.worlds.simulator import KnownAction
from tests.conftest import TINY_BLOCK, tiny_config
from tests.training.resuming import assert_resumes
from tests.worlds.test_lerobot import ToyWorld


class ToyRover(ToyWorld):
    """The toy with a rover's numbers; it never turns."""

    known = tuple(KnownAction(name, "m", 1.0) for name in ("dx", "dy", "dyaw"))

    def pose(self):
        return np.array((*self.at, 0.0))

    def step(self, action_K):
        return super().step(action_K[:2])

    def demonstrate(self, frames):
        yield from (np.array((*action_K, 0.0)) for action_K in super().demonstrate(frames))


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyRover(), out, RecorderConfig(episodes=12, frames=12, val_share=0.25), "go")


@pytest.fixture(scope="module")
def world(labels, tmp_path_factory):
    return EpisodeWorld(build_episodes(labels, tmp_path_factory.mktemp("cache"), 6.0, 32), "train")


def baselines(world):
    torch.manual_seed(0)
    model = baseline_model(LatentActionModel(tiny_config())).requires_grad_(True)
    model.add_robot("rover", describe_robot("rover", world, "action"))
    return model


def test_the_world_model_is_fresh_and_the_encoder_the_same(world):
    shipped = LatentActionModel(tiny_config())
    model = baseline_model(shipped)
    assert model.families == ("labelled",) and not model.config.robots
    for one, other in zip(shipped.encoder.parameters(), model.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    state_BTND = model.encode(torch.rand(1, 2, 3, 32, 32))
    moved = model.rollout(state_BTND[:, :1], torch.zeros(1, 1, 8)).state_BUND
    assert torch.allclose(moved, state_BTND[:, :1], atol=1e-5)  # so does a fresh world model


@pytest.mark.parametrize("name", ["labelled", "policy"])
def test_resume_is_bit_identical(world, tmp_path, name):
    def trainer(folder):
        model = baselines(world)
        model.add_policy("rover", PolicyConfig(steps=4, mean=(0.0,) * 3, spread=(1.0,) * 3, block=TINY_BLOCK, depth=1))
        objective = (
            KnownActionObjective(model, KnownActionConfig(robot="rover"))
            if name == "labelled"
            else PolicyObjective(model, "rover")
        )
        source = LabelledSource(LabelledConfig(clips=4, frames=5), world, torch.device("cpu"), 0)
        return Trainer(
            objective, source, TrainerConfig(steps=6, execution=ExecutionConfig(precision="float32")), tmp_path / folder
        )

    assert_resumes(trainer)


def test_a_policy_learns_where_the_goal_lies():
    """States that tell places: the plan is the way between them, in even steps."""
    torch.manual_seed(0)
    encoder = tiny_config().encoder
    policy = GoalPolicy(PolicyConfig(steps=2, mean=(0.0, 0.0), spread=(0.5, 0.5), block=TINY_BLOCK, depth=1), encoder)
    optimizer, recent = torch.optim.AdamW(policy.parameters(), lr=4e-3), []
    for _ in range(250):
        place_B2K = torch.randn(32, 2, 2)
        state_B2ND = torch.nn.functional.pad(place_B2K, (0, 62))[:, :, None].expand(-1, -1, 16, -1)
        way_BHK = ((place_B2K[:, 1] - place_B2K[:, 0]) / 2)[:, None].expand(-1, 2, -1)
        missed = (policy(state_B2ND[:, 0], state_B2ND[:, 1]) - way_BHK).square().mean()
        optimizer.zero_grad()
        missed.backward()
        optimizer.step()
        recent.append(missed.item())
    assert sum(recent[-20:]) / 20 < 0.1 * recent[0]


def test_policies_refuse_what_makes_no_plan():
    with pytest.raises(ValueError, match="at least 1 step"):
        PolicyConfig(steps=0)


def test_a_run_trains_both_and_the_suite_gives_them_rows(labels, tmp_path, capsys):
    run, cache = tmp_path / "run", tmp_path / "cache"
    torch.manual_seed(0)
    save_model(LatentActionModel(tiny_config()), run / "model")
    arguments = ["train", "baselines", "--out", str(run), "--quiet", "--steps", "2", "--cache", str(cache)]
    assert main([*arguments, "--robot", "rover", "--labels", str(labels)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"stage", "labelled", "policy"}
    train_controllers(run, "rover", labels, cache, kinds=("places",), steps=2, show=False)
    shown = EpisodeWorld(build_episodes(labels, cache, 6.0, 32), "val")
    config = SuiteConfig(capacities=(1.0,), episodes=3, plan_samples=6)
    rivals = {"rover": load_baselines(run / "baselines", "rover")}
    bench = Bench(load_model(run / "model"), None, config, {"rover": shown}, rivals)
    result = measure_planning_rover(bench, lambda *_: None)
    rows = {s.family for s in result.scores}
    assert rows == {"zero", "mean", "random", "labelled", "policy", "noisy", "noisy straight"}
    assert {s.name for s in result.scores if s.family == "policy"} == {"ate", "rpe", "relative"}
