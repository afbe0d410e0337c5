"""A robot whose pose is written into its frames, and a model that reads and moves it there, so that all is exact.

A frame of 8 x 8 pixels is a state of one token; its first values are the robot's pose. Latent actions are the robot's
actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.data.episodes import LabelledBatch
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.kv_cache import KeyValueCache
from lawm_core.models.world_model import WorldModelConfig
from lawm_core.simulation.rover import next_pose
from lawm_core.types import Rollout

SIZE = 8  # pixels
WIDTH = 3 * SIZE**2  # of a state
DIMENSIONS = 4  # of a pose and of an action; a rover has 3


def build_rollout(start_BND: Tensor, state_BUND: Tensor) -> Rollout:
    """Return a rollout in which nothing moves in the image and everything is visible."""
    flow_BU3HW = torch.zeros(*state_BUND.shape[:2], 3, SIZE, SIZE)
    return Rollout(
        start_BND=start_BND,
        state_BUND=state_BUND,
        flow_BU2HW=flow_BU3HW[:, :, :2],
        visible_BU1HW=flow_BU3HW[:, :, 2:] + 1,
    )


@dataclass(frozen=True)
class ToyRolloutState:
    """The part of `RolloutState` that planners use. as_rover: actions are in the robot's own axes.

    is_deaf: actions have no effect.
    """

    state_BND: Tensor
    as_rover: bool
    is_deaf: bool = False
    controller: object = None

    family = SimpleNamespace(config=SimpleNamespace(world_model=WorldModelConfig()))
    cache = KeyValueCache()

    def to_latent(self, control_BR: Tensor) -> Tensor:
        return control_BR

    def apply(self, action_BA: Tensor) -> ToyRolloutState:
        return self.step(action_BA)

    def step(self, control_BR: Tensor) -> ToyRolloutState:
        if self.is_deaf:
            return self
        return self._with(
            move_as_rover(self.state_BND, control_BR) if self.as_rover else move(self.state_BND, control_BR)
        )

    def repeat(self, copies: int) -> ToyRolloutState:
        return self._with(self.state_BND.repeat_interleave(copies, dim=0))

    def predict(self, control_BKR: Tensor) -> Tensor:
        now, states = self, []
        for control_BR in control_BKR.unbind(dim=1):
            now = now.step(control_BR)
            states.append(now.state_BND)
        return torch.stack(states, dim=1)

    def rollout(self, control_BKR: Tensor) -> Rollout:
        return build_rollout(self.state_BND, self.predict(control_BKR))

    def _with(self, state_BND: Tensor) -> ToyRolloutState:
        return ToyRolloutState(state_BND, self.as_rover, self.is_deaf, self.controller)


def move(state_BND: Tensor, action_BR: Tensor) -> Tensor:
    """Add actions to poses."""
    return state_BND + F.pad(action_BR, (0, WIDTH - action_BR.shape[1]))[:, None]


def move_as_rover(state_BND: Tensor, action_BR: Tensor) -> Tensor:
    """Move and turn rovers by actions in their own axes."""
    pose_BR = state_BND[:, 0, :3].double().numpy()
    pairs = zip(pose_BR, action_BR.double().numpy(), strict=True)
    moved_BR = torch.stack([torch.tensor(next_pose(pose_R, action_R)) for pose_R, action_R in pairs])
    return torch.cat((moved_BR.float()[:, None], state_BND[..., 3:]), dim=-1)


@dataclass(frozen=True)
class ToyBoundFamily:
    """A family of a toy model; all families are the same, at every capacity."""

    is_deaf: bool
    name: str = "noisy"
    samplers = ("learned", "prior")
    action_width = DIMENSIONS

    def infer_actions(self, state_BTND: Tensor, flow_BU2HW: Tensor | None = None) -> Tensor:
        return state_BTND[:, 1:, 0, :DIMENSIONS] - state_BTND[:, :-1, 0, :DIMENSIONS]

    def rollout(self, context_B1ND: Tensor, action_BUA: Tensor) -> Rollout:
        moved_BUX = F.pad(action_BUA.cumsum(dim=1), (0, WIDTH - DIMENSIONS))
        return build_rollout(context_B1ND[:, 0], context_B1ND + moved_BUX[:, :, None])

    def start_rollout(
        self,
        context_B1ND: Tensor,
        action_BUA: Tensor | None = None,
        robot: str | None = None,
        precision: str | None = None,
    ) -> ToyRolloutState:
        return ToyRolloutState(context_B1ND[:, 0], robot == "rover" and not self.is_deaf, self.is_deaf)

    def sample_actions(self, state_BND: Tensor, sampler: str, generator: Generator) -> Tensor:
        return 0.2 * torch.rand(len(state_BND), DIMENSIONS, generator=generator) - 0.1

    def project(self, action_BUA: Tensor) -> Tensor:
        return action_BUA


class Straight:
    """A model that predicts poses exactly. States are the frames' pixels."""

    family_names, reference_names = ("noisy",), ()
    frames_per_second, frame_size, picture_size, device = 6.0, SIZE, SIZE, torch.device("cpu")
    controllers = ("arm", "rover")
    is_deaf = False

    def at(self, family: str | None = None, capacity: float | Tensor = 1.0) -> ToyBoundFamily:
        return ToyBoundFamily(self.is_deaf, family or "noisy")

    def robot(self, name: str) -> ControllerConfig:
        count = 3 if name == "rover" else DIMENSIONS
        limits = (0.4, 0.2, 0.25) if name == "rover" else (0.1,) * count
        mean = (0.2, 0.0, 0.0) if name == "rover" else (0.0,) * count
        return ControllerConfig(
            names=("n",) * count, units=("m",) * count, limits=limits, mean=mean, std=(0.08,) * count
        )  # fmt: skip

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        return frame_BTCHW.flatten(2)[..., None].transpose(2, 3)

    def decode(self, state_BTND: Tensor) -> Tensor:
        return state_BTND.unflatten(3, (3, SIZE, SIZE))[:, :, 0]

    def render(self, rollout: Rollout, picture_BCHW: Tensor) -> Tensor:
        return self.decode(rollout.state_BUND)


class Deaf(Straight):
    """A model in which robot actions have no effect."""

    is_deaf = True


class Walk:
    """Episodes of random actions of up to 0.1 per dimension, or of a rover that turns in its last step only."""

    def __init__(self, turns: bool = False) -> None:
        self.turns = turns

    def windows(self, frames: int, count: int, seed: int) -> LabelledBatch:
        generator = torch.Generator().manual_seed(seed + 12345)
        dimensions = 3 if self.turns else DIMENSIONS
        action_BUR = 0.2 * torch.rand(count, frames - 1, dimensions, generator=generator) - 0.1
        if self.turns:
            action_BUR[:] = action_BUR[:, :1] + torch.tensor([0.2, 0.0, 0.0])
            action_BUR[:, :-1, 2] = 0
        pose_BR = torch.rand(count, dimensions, generator=generator)
        start = ToyRolloutState(F.pad(pose_BR, (0, WIDTH - dimensions))[:, None], self.turns)
        later_BUR = start.predict(action_BUR)[:, :, 0, :dimensions]
        pose_BTR = torch.cat((pose_BR[:, None], later_BUR), dim=1)
        frame_BTX = torch.rand(count, 1, WIDTH, generator=generator).repeat(1, frames, 1)
        frame_BTX[..., :dimensions] = pose_BTR
        return LabelledBatch(frame_BTX.unflatten(2, (3, SIZE, SIZE)), action_BUR, pose_BTR)


class Simulated:
    """A simulator of the episodes of a `Walk`: seed b is the scene of clip b."""

    def __init__(self, episodes: LabelledBatch) -> None:
        self.start_BCHW, self.opened = episodes.frame_BTCHW[:, 0], True

    def reset(self, seed: int) -> None:
        self.frame_CHW = self.start_BCHW[seed].clone()

    def step(self, action_R) -> Tensor:
        self.frame_CHW = self.frame_CHW.clone()
        self.frame_CHW.view(-1)[:DIMENSIONS] += torch.from_numpy(action_R)
        return self.frame_CHW

    def demonstrate(self, frames: int) -> Iterator:
        return iter(())

    def pose(self):
        return self.frame_CHW.reshape(-1)[:DIMENSIONS].numpy()

    def save(self) -> Tensor:
        return self.frame_CHW

    def restore(self, saved_state: Tensor) -> None:
        self.frame_CHW = saved_state

    def close(self) -> None:
        self.opened = False
