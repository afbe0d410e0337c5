"""The loss of controllers, and batches of labelled clips."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.data.episodes import EpisodeDataset, LabelledBatch, build_episodes
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig, build_controller
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.flow import FLOW_SCALE
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig, encode_flow
from lawm_core.simulation.recorder import RecorderConfig, record
from lawm_core.training.controller_loss import (
    ControllerLoss,
    ControllerLossConfig,
    ControllerTarget,
    LabelledBatchConfig,
    LabelledSource,
)
from lawm_core.training.controllers import describe_robot
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from tests.conftest import TINY_BLOCK, tiny_config
from tests.training.toy_robots import ToyWorld
from tests.training.toy_stages import CPU, assert_resumes

ENCODER = ConvEncoderConfig(frame_size=32, width=64, channels=8, depth=1)

# ---- what a controller must see -------------------------------------------------------------------------------------


def draw_mirrored(step: int, clips: int = 64) -> LabelledBatch:
    """Clips of a scene that is filmed from the front or from behind, where the same action moves the other way.

    A frame is one pixel. Its first channel is the camera's side; the others are the motion since the last frame.
    """
    generator = torch.Generator().manual_seed(step)
    behind_B1 = torch.randint(2, (clips, 1), generator=generator).float()
    action_BR = torch.randn(clips, 2, generator=generator)
    first_BC = F.pad(behind_B1, (0, 2))
    second_BC = torch.cat((behind_B1, action_BR * (1 - 2 * behind_B1)), dim=1)
    frame_BTCHW = torch.stack((first_BC, second_BC), dim=1)[..., None, None]
    return LabelledBatch(frame_BTCHW, action_BR[:, None], torch.zeros(clips, 2, 2))


class MirrorModel:
    """A model that infers the motion exactly: the part of `LatentActionModel` that `ControllerLoss` uses."""

    def __init__(self, kind: str) -> None:
        config = ControllerConfig(names=("x", "y"), units=("", ""), limits=(1, 1), kind=kind, block=TINY_BLOCK)
        self.networks = build_controller(config, ENCODER, 2, InverseDynamicsConfig(block=TINY_BLOCK, depth=1))
        self.config, self.encoder = SimpleNamespace(encoder=ENCODER), nn.Identity()
        self.family = SimpleNamespace(
            inverse_dynamics=SimpleNamespace(basis_size=1),
            world_model=SimpleNamespace(action_gain=lambda capacity_B: torch.ones(len(capacity_B), 2)),
            eval=lambda: self.family,
            infer=self.infer,
        )

    def at(self, family: str) -> SimpleNamespace:
        return SimpleNamespace(family=self.family, controller=lambda robot: self.networks)

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        return F.pad(frame_BTCHW.flatten(2), (0, 61))[:, :, None].expand(-1, -1, 16, -1)

    def read_flow(self, state_BTND: Tensor) -> Tensor:
        flow_BU2 = state_BTND[:, 1:, 0, 1:3] / FLOW_SCALE
        return flow_BU2[..., None, None].expand(-1, -1, -1, ENCODER.map_size, ENCODER.map_size)

    def infer(self, state_BTND: Tensor, flow_BU2HW: Tensor, capacity_B: Tensor) -> SimpleNamespace:
        action_XA = encode_flow(flow_BU2HW.flatten(0, 1), 1, 2)
        return SimpleNamespace(action_BUA=action_XA.unflatten(0, flow_BU2HW.shape[:2]))


def train_controller(kind: str, steps: int = 250) -> float:
    """Return the distance of a trained controller's actions, relative to no action."""
    torch.manual_seed(0)
    loss = ControllerLoss(MirrorModel(kind), ControllerLossConfig(robots=("toy",)))
    optimizer, recent = torch.optim.AdamW(loss.trained().parameters(), lr=4e-3), []
    for step in range(steps):
        losses = loss.losses(draw_mirrored(step), 0.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        recent.append(losses["toy-noisy"].item())
    return sum(recent[-30:]) / 30


def test_only_controllers_that_see_the_state_can_distinguish_front_and_back():
    assert train_controller("flow") < 0.15
    assert train_controller("attention") < 0.15
    assert train_controller("action") > 0.7  # the average over both cameras is no motion


def test_right_actions_cost_nothing_and_no_action_costs_one():
    action_BUA = torch.randn(8, 3, 4)
    target = ControllerTarget(action_BUA, torch.randn(8, 3, 16, 2), torch.ones(8, 1, 4))
    assert target.action_distance(action_BUA) == 0 and target.flow_distance(target.flow_BUNC) == 0
    torch.testing.assert_close(target.flow_distance(0 * target.flow_BUNC), torch.tensor(1.0), atol=0.01, rtol=0)
    one = ControllerTarget(action_BUA.sign(), target.flow_BUNC, target.gain_B1A)
    torch.testing.assert_close(one.action_distance(0 * action_BUA), torch.tensor(1.0))


def test_dimensions_that_the_world_model_ignores_cost_nothing():
    action_BUA = torch.randn(8, 3, 4)
    gain_B1A = torch.tensor([1.0, 1.0, 0.0, 1.0]).expand(8, 1, 4)
    wrong_BUA = action_BUA + torch.tensor([0.0, 0.0, 5.0, 0.0])
    assert ControllerTarget(action_BUA, torch.zeros(0), gain_B1A).action_distance(wrong_BUA) == 0


# ---- batches --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Episodes of a toy robot whose pose is the position of its bright square, in pixels."""
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(ToyWorld(), out, RecorderConfig(episodes=6, frames=8, val_fraction=0.34), "go")


@pytest.fixture(scope="module")
def dataset(labels, tmp_path_factory):
    """The training episodes at 40 px, the size at which they were recorded."""
    return EpisodeDataset(build_episodes(labels, tmp_path_factory.mktemp("cache"), 6.0, 40), "train")


def draw(dataset: EpisodeDataset, step: int = 0, **config: object) -> LabelledBatch:
    return LabelledSource(LabelledBatchConfig(clips=32, **config), dataset, CPU, 0).draw(step)


def test_labels_of_mirrored_clips_are_mirrored(dataset):
    batch = draw(dataset, 3, frames=4, recolor_fraction=0.0, mirrored_dims=(0,))
    bright = batch.frame_BTCHW.mean(dim=2) > 0.55
    position = torch.arange(40.0)
    x_BT = (bright.float().sum(dim=2) * position).sum(dim=-1) / bright.sum(dim=(2, 3))
    y_BT = (bright.float().sum(dim=3) * position).sum(dim=-1) / bright.sum(dim=(2, 3))
    assert (x_BT.diff(dim=1) - batch.action_BUR[..., 0]).abs().max() < 0.6
    assert (y_BT.diff(dim=1) - batch.action_BUR[..., 1]).abs().max() < 0.6
    mirrored_B = batch.pose_BTR[:, 0, 0] < 0  # positions are positive except in a mirror
    assert 8 < mirrored_B.sum() < 24


def test_a_fraction_of_clips_is_recoloured_and_keeps_its_labels(dataset):
    own, recolored = (draw(dataset, recolor_fraction=fraction) for fraction in (0.0, 0.5))
    assert torch.equal(own.action_BUR, recolored.action_BUR)
    same_B = (own.frame_BTCHW == recolored.frame_BTCHW).flatten(1).all(dim=1)
    assert 8 < same_B.sum() < 24


def test_batches_are_a_function_of_the_step(dataset):
    assert torch.equal(draw(dataset, 5).frame_BTCHW, draw(dataset, 5).frame_BTCHW)
    assert not torch.equal(draw(dataset, 5).frame_BTCHW, draw(dataset, 6).frame_BTCHW)


def test_resume_is_bit_identical(labels, tmp_path):
    dataset = EpisodeDataset(build_episodes(labels, tmp_path / "cache", 6.0, 32), "train")

    def build(name: str) -> Trainer:
        torch.manual_seed(0)
        model = LatentActionModel(tiny_config())
        model.add_robot("toy", describe_robot("toy", dataset))
        loss = ControllerLoss(model, ControllerLossConfig(robots=("toy",)))
        execution = ExecutionConfig(precision="float32")
        config = TrainerConfig(steps=6, execution=execution, optimizer=OptimizerConfig(adam_rate=1e-3))
        return Trainer(loss, LabelledSource(LabelledBatchConfig(clips=4), dataset, CPU, 0), config, tmp_path / name)

    assert_resumes(build)
