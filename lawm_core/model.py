"""`LatentActionModel`: encoder, bottleneck families and decoder. Start reading the code here.

noisy = model.at("noisy", capacity=0.7)
state_BTND = model.encode(frame_BTCHW)
action_BUA = noisy.infer_actions(state_BTND)
rollout = noisy.rollout(state_BTND[:, :1], action_BUA)
frame_BUCHW = model.render(rollout, frame_BTCHW[:, 0])
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.models.controller import Controller, ControllerConfig, build_controller
from lawm_core.models.decoder import DecoderConfig, FrameDecoder, Reference
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.family import Family, FamilyConfig
from lawm_core.models.flow_reader import FlowReader, FlowReaderConfig
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.policy import GoalPolicy, PolicyConfig
from lawm_core.models.vjepa2 import VJepa2Config
from lawm_core.models.world_model import Prediction
from lawm_core.planning.rollout_state import RolloutState, start_rollout
from lawm_core.runtime import autocast, pick_precision
from lawm_core.types import Rollout

__all__ = ["BoundFamily", "LatentActionModel", "ModelConfig", "VJepa2Config", "join_predictions"]

REFERENCES = ("deterministic", "unconstrained")  # reference lines: stored with the families, but not offered as such


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a model; stored in a checkpoint's config.json.

    flow: config of the flow reader. families: configs of bottleneck families and reference lines, by name. robots:
    configs of controllers, by name of the robot; each robot has one controller for each family. policies: configs of
    goal-conditioned policies, by name of the robot; they are baselines for planning.
    """

    name: str = "nano"
    frames_per_second: float = 6.0
    encoder: FrameGeometry = field(default_factory=ConvEncoderConfig)
    flow: FlowReaderConfig = field(default_factory=FlowReaderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    families: dict[str, FamilyConfig] = field(default_factory=lambda: {"noisy": FamilyConfig()})
    robots: dict[str, ControllerConfig] = field(default_factory=dict)
    policies: dict[str, PolicyConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not set(self.families) - set(REFERENCES):
            raise ValueError(f"at least one bottleneck family is required, got {sorted(self.families)}.")
        if self.frames_per_second <= 0:
            raise ValueError(f"frames_per_second must be above 0, got {self.frames_per_second}.")
        if self.decoder.picture_size % self.encoder.frame_size:
            raise ValueError(
                f"picture_size={self.decoder.picture_size} must be a multiple of frame_size={self.encoder.frame_size}."
            )

    @property
    def picture_size(self) -> int:
        """Height and width in pixels of decoded frames."""
        return self.decoder.picture_size


class LatentActionModel(nn.Module):
    """An encoder, a flow reader, one `Family` for each bottleneck, and a decoder.

    precision: precision in which rollouts and frames are computed, `float32` or `bf16`. Weights and results are float32
    either way. States and inferred actions are always computed in float32: they are stored and compared, so they must
    not depend on the machine.
    """

    def __init__(self, config: ModelConfig, precision: str = "float32") -> None:
        super().__init__()
        self.config, self.precision = config, precision
        self.encoder = config.encoder.build()
        self.decoder = FrameDecoder(config.decoder, config.encoder)
        self.flow_reader = FlowReader(config.flow, config.encoder)
        self.families = nn.ModuleDict({name: Family(c, config.encoder) for name, c in config.families.items()})
        self.controllers = nn.ModuleDict({name: self._build_controllers(c) for name, c in config.robots.items()})
        self.policies = nn.ModuleDict({name: GoalPolicy(c, config.encoder) for name, c in config.policies.items()})

    # ---- facts ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the model, for example `nano256`."""
        return self.config.name

    @property
    def family_names(self) -> tuple[str, ...]:
        """Names of the bottleneck families, the default first."""
        return tuple(name for name in self.families if name not in REFERENCES)

    @property
    def reference_names(self) -> tuple[str, ...]:
        """Names of the reference lines that this model has: deterministic, unconstrained."""
        return tuple(name for name in self.families if name in REFERENCES)

    @property
    def robots(self) -> tuple[str, ...]:
        """Names of the robots that the model can control.

        Robots whose controllers do not see the state are left out: these controllers serve comparisons only.
        """
        return tuple(name for name, config in self.config.robots.items() if config.sees_state)

    @property
    def frames_per_second(self) -> float:
        """Frame rate of the training clips."""
        return self.config.frames_per_second

    @property
    def frame_size(self) -> int:
        """Height and width in pixels of the frames that are encoded."""
        return self.config.encoder.frame_size

    @property
    def picture_size(self) -> int:
        """Height and width in pixels of the frames that are decoded, a multiple of the frame size."""
        return self.config.picture_size

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        """Return the number of weights."""
        return sum(p.numel() for p in self.parameters())

    # ---- use ------------------------------------------------------------------------------------------------------

    def at(self, family: str | None = None, capacity: float | Tensor = 1.0) -> BoundFamily:
        """Return a family of this model at a fixed capacity.

        family: name of a family or reference line; None is the default family. capacity: a number in [0, 1], or a
        tensor with one number for each clip. Raises ValueError for an unknown family or a capacity out of range.
        """
        name = self.family_names[0] if family is None else family
        if name not in self.families:
            raise ValueError(f"family must be one of {', '.join(self.families)} for {self.name}, got {name!r}.")
        values = torch.as_tensor(capacity, dtype=torch.float32).flatten().tolist()
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
            raise ValueError(f"capacity must be in [0, 1], got {capacity}.")
        return BoundFamily(self, name, capacity)

    def with_precision(self, precision: str) -> LatentActionModel:
        """Return a model that shares this one's weights and computes in `float32` or `bf16`."""
        model = copy.copy(self)
        model.precision = pick_precision(precision, self.device)
        return model

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        """Encode frames to states, state_BTND. frame_BTCHW: in [0, 1], of the frame size or the picture size."""
        return self.encoder(self.downscale(frame_BTCHW))

    def downscale(self, frame_BTCHW: Tensor) -> Tensor:
        """Average frames of the picture size down to the frame size; return others unchanged."""
        if frame_BTCHW.ndim != 5 or frame_BTCHW.shape[-1] != self.picture_size or self.picture_size == self.frame_size:
            return frame_BTCHW
        small_XCHW = F.avg_pool2d(frame_BTCHW.flatten(0, 1), self.picture_size // self.frame_size)
        return small_XCHW.unflatten(0, frame_BTCHW.shape[:2])

    def read_flow(self, state_BTND: Tensor) -> Tensor:
        """Return the backward flow between consecutive states, flow_BU2HW in frame widths."""
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        return self.flow_reader(before_XND, after_XND).unflatten(0, (len(state_BTND), -1))

    def decode(self, state_BTND: Tensor) -> Tensor:
        """Generate frame_BTCHW in [0, 1] at the picture size from states alone, without a reference."""
        with autocast(state_BTND.device, self.precision):
            return self.decoder.render(state_BTND)[0]

    def render(self, rollout: Rollout, picture_BCHW: Tensor) -> Tensor:
        """Render a rollout's frames, frame_BUCHW in [0, 1].

        picture_BCHW: the frame at the start of the rollout, at the picture size, from which detail is carried over.
        """
        return self.render_parts(rollout, picture_BCHW)[0]

    def render_parts(self, rollout: Rollout, picture_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames of `render`, and the fraction of each frame's pixels that is carried over, carried_BU."""
        # The start is the context of the first frames; its flow is 0 and all of it is visible.
        state_BTND, first = torch.cat((rollout.start_BND[:, None], rollout.state_BUND), dim=1), (0, 0, 0, 0, 0, 0, 1, 0)
        reference = Reference(
            picture_BCHW, F.pad(rollout.flow_BU2HW, first), F.pad(rollout.visible_BU1HW, first, value=1.0)
        )
        with autocast(state_BTND.device, self.precision):
            return self.decoder.render(state_BTND, reference, skip=1)

    # ---- robots ---------------------------------------------------------------------------------------------------

    def robot(self, name: str) -> ControllerConfig:
        """Return the config of a robot's controllers. Raises ValueError for an unknown robot."""
        if name not in self.config.robots:
            known = ", ".join(self.config.robots) or "no robot"
            raise ValueError(f"robot must be one of {known} for {self.name}, got {name!r}.")
        return self.config.robots[name]

    def add_robot(self, robot: str, config: ControllerConfig) -> None:
        """Add untrained controllers for a robot. Earlier controllers of this robot are replaced."""
        self.config = replace(self.config, robots=self.config.robots | {robot: config})
        self.controllers[robot] = self._build_controllers(config).to(self.device)

    def add_policy(self, robot: str, config: PolicyConfig) -> None:
        """Add an untrained policy for a robot. An earlier policy of this robot is replaced."""
        self.config = replace(self.config, policies=self.config.policies | {robot: config})
        self.policies[robot] = GoalPolicy(config, self.config.encoder).to(self.device)

    def _build_controllers(self, config: ControllerConfig) -> nn.ModuleDict:
        """Return a robot's controllers, one for each family."""
        parts = {name: self.at(name).family for name in self.family_names}
        return nn.ModuleDict(
            {
                name: build_controller(config, self.config.encoder, f.action_width, f.config.inverse_dynamics)
                for name, f in parts.items()
            }
        )


@dataclass(frozen=True)
class BoundFamily:
    """A bottleneck family of a model at a fixed capacity; see `LatentActionModel.at`."""

    model: LatentActionModel
    name: str
    capacity: float | Tensor

    @property
    def family(self) -> Family:
        """The networks of the family."""
        return cast(Family, self.model.families[self.name])

    @property
    def action_width(self) -> int:
        """Number of dimensions of a latent action, A."""
        return self.family.action_width

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names that `sample_actions` accepts."""
        return ("learned", "prior") if self.family.sampler is not None else ("prior",)

    def capacity_of(self, like: Tensor) -> Tensor:
        """Return one capacity per clip, capacity_B, on the device of `like`, a tensor of B clips."""
        return torch.as_tensor(self.capacity, dtype=torch.float32, device=like.device).expand(len(like))

    def infer_actions(self, state_BTND: Tensor, flow_BU2HW: Tensor | None = None) -> Tensor:
        """Return the U = T - 1 latent actions between T states, action_BUA.

        flow_BU2HW: result of `LatentActionModel.read_flow`, if it has been computed before. Raises ValueError for fewer
        than two states.
        """
        if state_BTND.shape[1] < 2:
            raise ValueError(f"at least 2 frames are needed to infer an action, got {state_BTND.shape[1]}.")
        if flow_BU2HW is None:
            with torch.no_grad():
                flow_BU2HW = self.model.read_flow(state_BTND)
        return self.family.infer(state_BTND, flow_BU2HW, self.capacity_of(state_BTND)).action_BUA

    def infer_rest(self, state_B1ND: Tensor, transitions: int) -> Tensor:
        """Return the actions of a scene without motion, action_BUA: all equal that between a state and its copy."""
        return self.infer_actions(state_B1ND.expand(-1, 2, -1, -1)).expand(-1, transitions, -1)

    def rollout(self, context_BTND: Tensor, action_BUA: Tensor) -> Rollout:
        """Predict the states that follow T context states under U actions.

        The first T - 1 actions lie between the context states. Each further action leads to one predicted state, so the
        rollout has U - T + 1 states. The prediction of each state is an input to the prediction of the next.
        """
        with autocast(context_BTND.device, self.model.precision):
            predicted = self.family.world_model.rollout(context_BTND, action_BUA, self.capacity_of(context_BTND))
        return join_predictions(context_BTND[:, -1].float(), predicted)

    def start_rollout(
        self,
        context_BTND: Tensor,
        action_BUA: Tensor | None = None,
        robot: str | None = None,
        precision: str | None = None,
    ) -> RolloutState:
        """Start a rollout after T context states, to be continued step by step.

        action_BUA: the T - 1 latent actions between the context states; None if T is 1. robot: name of the robot whose
        actions the steps take; without it, they take latent actions. precision: by default that of the model.
        """
        controller = self.controller(robot) if robot is not None else None
        capacity_B = self.capacity_of(context_BTND)
        return start_rollout(
            self.family, context_BTND, action_BUA, capacity_B, controller, precision or self.model.precision
        )

    def control(self, robot_action_BUR: Tensor, state_BUND: Tensor, robot: str) -> Tensor:
        """Convert a robot's actions to latent actions, action_BUA. state_BUND: the states in which they are taken.

        Raises ValueError for an unknown robot or another number of action dimensions.
        """
        config = self.model.robot(robot)
        if robot_action_BUR.shape[-1] != len(config.names):
            raise ValueError(
                f"an action of {robot} has {len(config.names)} dimensions ({', '.join(config.names)}), got "
                f"{robot_action_BUR.shape[-1]}."
            )
        return self.project(self.controller(robot)(robot_action_BUR, state_BUND, self.capacity_of(state_BUND)))

    def controller(self, robot: str) -> Controller:
        """Return the family's controller of a robot. Raises ValueError for an unknown robot."""
        self.model.robot(robot)
        return cast(nn.ModuleDict, self.model.controllers[robot])[self.name]  # pyright: ignore[reportReturnType]

    def project(self, action_BUA: Tensor) -> Tensor:
        """Return for each action the nearest one that the bottleneck can produce."""
        steps, capacity_B = action_BUA.shape[1], self.capacity_of(action_BUA)
        projected_XA = self.family.bottleneck.project(action_BUA.flatten(0, 1), capacity_B.repeat_interleave(steps))
        return projected_XA.unflatten(0, (-1, steps))

    def sample_actions(self, state_BND: Tensor, sampler: str = "learned", generator: Generator | None = None) -> Tensor:
        """Sample one action for each state, action_BA; deterministic given the generator.

        sampler: `learned` for flow matching conditioned on the state, or `prior` for the prior distribution of the
        bottleneck. Raises ValueError for a sampler that the family does not have.
        """
        family, capacity_B = self.family, self.capacity_of(state_BND)
        if sampler not in self.samplers:
            raise ValueError(f"sampler must be one of {', '.join(self.samplers)} for {self.name}, got {sampler!r}.")
        if sampler == "prior" or family.sampler is None:
            return family.bottleneck.sample(capacity_B, generator)
        action_BA = family.sampler.sample(state_BND, capacity_B, generator)
        return family.bottleneck.project(action_BA, capacity_B)


def join_predictions(start_BND: Tensor, predictions: list[Prediction]) -> Rollout:
    """Join a world model's predictions to a rollout.

    The first prediction also covers the context frames, with teacher forcing. Only the last frame of each prediction is
    kept.
    """
    clips, parts = len(start_BND), []
    for prediction in predictions:
        flow_BT2HW = prediction.carry.flow_X2HW.unflatten(0, (clips, -1))
        visible_BT1HW = prediction.carry.visible_X1HW.unflatten(0, (clips, -1))
        parts.append((prediction.state_BTND[:, -1:].float(), flow_BT2HW[:, -1:], visible_BT1HW[:, -1:]))
    state_BUND, flow_BU2HW, visible_BU1HW = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return Rollout(start_BND=start_BND, state_BUND=state_BUND, flow_BU2HW=flow_BU2HW, visible_BU1HW=visible_BU1HW)
