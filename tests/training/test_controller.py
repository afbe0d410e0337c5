"""Controllers learn what inferred actions mean; one that does not see the camera collapses toward no motion."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli import main
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import Controller, ControllerConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.training.batches import BatchConfig
from lawm_core.training.controller import (
    ControllerObjective,
    ControllerObjectiveConfig,
    LabelledConfig,
    LabelledSource,
)
from lawm_core.training.controllers import describe_robot
from lawm_core.training.losses import LatentActionConfig, LatentActionObjective
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.recipes import RECIPES, Recipe, StageRecipe
from lawm_core.training.runs import TrainingRun
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from lawm_core.video.files import write_clip
from lawm_core.worlds.episodes import EpisodeWorld, Labelled, build_episodes
from lawm_core.worlds.recorder import RecorderConfig, record
from tests.conftest import TINY_BLOCK, tiny_config
from tests.evaluation.toy_robots import Straight, Walk
from tests.training.resuming import assert_resumes
from tests.worlds.test_lerobot import ToyWorld


class Mirror:
    """A world seen from the front or from behind: light pictures mean that left is right. Two tokens a frame."""

    device = torch.device("cpu")

    def draw(self, step):
        generator = torch.Generator().manual_seed(step)
        light_B = torch.randint(2, (64,), generator=generator).float()
        known_BUK = torch.randn(64, 1, 2, generator=generator)
        return Labelled(light_B[:, None, None, None, None].expand(64, 2, 3, 8, 8), known_BUK, torch.zeros(64, 2, 2))


class MirrorModel:
    """Infers the true motion, from labels that the state is stuffed with."""

    def __init__(self, kind):
        encoder = SimpleNamespace(width=64, tokens=16, grid=4, cells=1)
        config = ControllerConfig(
            names=("x", "y"), units=("", ""), limits=(1, 1), spread=(1, 1), kind=kind, block=TINY_BLOCK
        )
        reading = InverseDynamicsConfig(block=TINY_BLOCK, depth=1)
        self.controllers = {"toy": {"noisy": Controller(config, encoder, 2, reading)}}
        self.encoder = nn.Identity()
        self.family = SimpleNamespace(
            inverse_dynamics=SimpleNamespace(), world_model=SimpleNamespace(trust=lambda c: torch.ones(len(c), 2))
        )
        self.family.eval = lambda: self.family
        self.robot, self.member = (lambda name: config), (lambda name: self.family)
        self.read_flow = lambda _state: None
        self.infer = lambda state, capacity, _family: self.family.infer(state, capacity)


def learned_distance(kind):
    torch.manual_seed(0)
    model, world = MirrorModel(kind), Mirror()
    objective = ControllerObjective(model, ControllerObjectiveConfig(robots=("toy",)))
    optimizer, recent = torch.optim.AdamW(objective.trained().parameters(), lr=4e-3), []
    for step in range(250):
        drawn = world.draw(step)
        light_B = drawn.frame_BTCHW[:, 0, 0, 0, 0]
        turned_BUK = drawn.action_BUK * (1 - 2 * light_B)[:, None, None]
        model.encoder = SimpleNamespace(
            eval=lambda light_B=light_B: lambda _: light_B[:, None, None, None].expand(-1, 2, 16, 64)
        )
        model.family.infer = lambda state, c, turned_BUK=turned_BUK: SimpleNamespace(action_BUA=turned_BUK)
        everywhere_XN2 = turned_BUK.flatten(0, 1)[:, None].expand(-1, 16, -1)
        model.family.inverse_dynamics.motion = lambda before, after, flow=everywhere_XN2: (None, flow)
        losses = objective.losses(drawn, 0.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        recent.append(losses["toy-noisy"].item())
    return sum(recent[-30:]) / 30


def test_only_a_controller_that_sees_can_tell_front_from_behind():
    assert learned_distance("places") < 0.15
    assert learned_distance("attention") < 0.15
    assert learned_distance("action") > 0.7  # the average over both cameras is no motion


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=8, val_share=0.34), "go")


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    save_model(LatentActionModel(tiny_config(families=("noisy", "discrete"))), tmp_path / "run" / "model")
    return tmp_path / "run"


def test_pieces_in_a_mirror_are_told_what_was_done_there(labels, tmp_path):
    """A toy's pose is the place of its bright square: what the pictures show is what the labels say."""
    world = EpisodeWorld(build_episodes(labels, tmp_path / "cache", 6.0, 40), "train")
    config = LabelledConfig(clips=32, frames=4, recoloured=0.0, sided=(0,))
    drawn = LabelledSource(config, world, torch.device("cpu"), 0).draw(3)
    bright = drawn.frame_BTCHW.mean(dim=2) > 0.55
    places = torch.arange(40.0)
    seen_x = (bright.float().sum(dim=2) * places).sum(dim=-1) / bright.sum(dim=(2, 3))
    seen_y = (bright.float().sum(dim=3) * places).sum(dim=-1) / bright.sum(dim=(2, 3))
    assert (seen_x.diff(dim=1) - drawn.action_BUK[..., 0]).abs().max() < 0.6
    assert (seen_y.diff(dim=1) - drawn.action_BUK[..., 1]).abs().max() < 0.6
    mirrored_B = drawn.pose_BTK[:, 0, 0] < 0  # places are above 0 but in a mirror
    assert 8 < mirrored_B.sum() < 24


def test_a_share_of_pieces_is_in_other_colours_with_the_same_labels(labels, tmp_path):
    world = EpisodeWorld(build_episodes(labels, tmp_path / "cache", 6.0, 40), "train")
    own, other = (
        LabelledSource(LabelledConfig(clips=32, recoloured=share), world, torch.device("cpu"), 0).draw(0)
        for share in (0.0, 0.5)
    )
    assert torch.equal(own.action_BUK, other.action_BUK)
    same_B = (own.frame_BTCHW == other.frame_BTCHW).flatten(1).all(dim=1)
    assert 8 < same_B.sum() < 24


def test_resume_is_bit_identical(labels, tmp_path):
    world = EpisodeWorld(build_episodes(labels, tmp_path / "cache", 6.0, 32), "train")

    def trainer(name):
        torch.manual_seed(0)
        model = LatentActionModel(tiny_config())
        model.add_robot("toy", describe_robot("toy", world))
        objective = ControllerObjective(model, ControllerObjectiveConfig(robots=("toy",)))
        config = TrainerConfig(
            steps=6, execution=ExecutionConfig(precision="float32"), optimizer=OptimizerConfig(adam_rate=1e-3)
        )
        source = LabelledSource(LabelledConfig(clips=4), world, torch.device("cpu"), 0)
        return Trainer(objective, source, config, tmp_path / name)

    assert_resumes(trainer)


def test_a_run_gives_a_model_controllers_and_the_suite_measures_them(labels, run, tmp_path, capsys):
    arguments = [
        "train",
        "controller",
        "--out",
        str(run),
        "--quiet",
        "--steps",
        "2",
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert main([*arguments, "--robot", "toy", "--labels", str(labels), "--action-only"]) == 0
    stages = capsys.readouterr().out
    assert stages.count("controller-toy-") == 2 and stages.count("controller-toy_action_only-") == 2
    model = load_model(run / "model")
    assert model.robot("toy").names == ("dx", "dy") and model.robot("toy_action_only").kind == "action"
    world = EpisodeWorld(build_episodes(labels, tmp_path / "cache", 6.0, 32), "val")
    bench = Bench(model, None, SuiteConfig(capacities=(1.0,), seconds=1.0, episodes=2), {"toy": world})
    result = measure_controller(bench, lambda *_: None)
    told = {(s.family, s.name): s.mean for s in result.scores}
    for family in ("noisy", "discrete"):
        assert told[family, "toy_ratio"] == pytest.approx(told[family, "toy_controller"] / told[family, "toy_idm"])
        assert {"toy_moved", "toy_still", "toy_action_only_ratio", "toy_action_only_moved"} <= {n for f, n in told if f}
    assert all(frames.shape[1] == 7 for frames in result.pictures.values())
    assert main(["train", "controller", "--out", str(run), "--robot", "arm", "--labels", str(labels)]) == 2
    assert "arm takes dx, dy, dz, gripper; the data has dx, dy" in capsys.readouterr().err
    assert main(["train", "controller", "--out", str(run), "--robot", "arm"]) == 2
    assert "--labels" in capsys.readouterr().err


def test_a_perfect_controller_has_ratio_one():
    bench = Bench(Straight(), None, SuiteConfig(capacities=(1.0,), episodes=4), {"arm": Walk()})
    told = {s.name: s.mean for s in measure_controller(bench, lambda *_: None).scores}
    assert told["arm_idm"] < 1e-6 and told["arm_controller"] < 1e-6 and told["arm_moved"] == pytest.approx(1, abs=1e-4)


def test_robot_video_joins_the_rest_without_its_labels(labels, tmp_path, monkeypatch):
    tiny = lambda: Recipe(
        model=tiny_config(),
        stages={
            "lam-noisy": StageRecipe(
                batch=BatchConfig(clips=8, frames=3, twin_share=0.0),
                trainer=TrainerConfig(steps=1),
                objective=lambda model: LatentActionObjective(model, LatentActionConfig()),
            )
        },
    )
    monkeypatch.setitem(RECIPES, "tiny", tiny)
    write_clip(tmp_path / "flat.mp4", torch.full((24, 3, 48, 48), 0.5), 12)
    given = {"out": tmp_path / "run", "cache": tmp_path / "cache", "show": False, "robot_video": [labels]}
    run = TrainingRun("tiny", tmp_path, robot_share=0.4, **given)
    clips_BTCHW = torch.cat([run.world.draw(50, 3, torch.Generator().manual_seed(s)) for s in range(4)])
    bright_B = clips_BTCHW.flatten(1).amax(dim=1) > 0.7  # the toy robot's square
    assert 0.3 < bright_B.float().mean() < 0.5
    alone = TrainingRun("tiny", None, **given)
    assert (alone.world.draw(4, 3, torch.Generator()).flatten(1).amax(dim=1) > 0.7).all()
    assert run.train("lam-noisy")["step"] == 1
    with pytest.raises(ValueError, match="above 0, at most 1"):
        TrainingRun("tiny", tmp_path, robot_share=0.0, **given)
