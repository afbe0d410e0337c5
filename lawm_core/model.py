"""The hallway: `LatentActionModel` joins the rooms. Read this first.

state_BTND = model.encode(frame_BTCHW)
action_BUA = model.infer_actions(state_BTND, family="noisy", capacity=0.7)
rollout = model.rollout(state_BTND[:, :1], action_BUA, family="noisy", capacity=0.7)
frame_BUCHW = model.render(rollout, frame_BTCHW[:, 0])
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.contracts import Rollout
from lawm_core.models.bottlenecks import BottleneckOutput
from lawm_core.models.controller import Controller, ControllerConfig
from lawm_core.models.decoder import DecoderConfig, FrameDecoder
from lawm_core.models.encoder import EncoderConfig, FrameEncoder
from lawm_core.models.family import Family, FamilyConfig
from lawm_core.models.flow import visibility
from lawm_core.models.flow_reader import FlowReader, FlowReaderConfig
from lawm_core.models.flow_world_model import Prediction
from lawm_core.models.picture_decoder import PictureDecoder, PictureDecoderConfig, Reference
from lawm_core.models.policy import GoalPolicy, PolicyConfig
from lawm_core.models.vjepa2 import VJepa2Config, VJepa2Encoder
from lawm_core.planning.present import Present, begin
from lawm_core.runtime import autocast, pick_precision

ENCODERS: dict[type, type[nn.Module]] = {EncoderConfig: FrameEncoder, VJepa2Config: VJepa2Encoder}
DECODERS: dict[type, type[nn.Module]] = {DecoderConfig: FrameDecoder, PictureDecoderConfig: PictureDecoder}
REFERENCES = ("deterministic", "unconstrained")  # not families: the lines between which families move


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a model; a checkpoint's config.json holds exactly this.

    robots: whose known actions the model's controllers understand, one controller for each robot and family.
    policies: of robots, that go to a goal without a world model; planning is measured against them.
    """

    name: str = "nano"
    frames_per_second: float = 6.0
    encoder: EncoderConfig | VJepa2Config = field(default_factory=EncoderConfig)
    decoder: DecoderConfig | PictureDecoderConfig = field(default_factory=DecoderConfig)
    flow: FlowReaderConfig | None = None  # none: each family finds motion itself
    families: dict[str, FamilyConfig] = field(default_factory=lambda: {"noisy": FamilyConfig()})
    robots: dict[str, ControllerConfig] = field(default_factory=dict)
    policies: dict[str, PolicyConfig] = field(default_factory=dict)

    @property
    def picture_size(self) -> int:
        """Pixels a side of what the model draws: a multiple of the frame size that it sees."""
        return self.decoder.picture_size if isinstance(self.decoder, PictureDecoderConfig) else self.encoder.frame_size

    def __post_init__(self) -> None:
        if not set(self.families) - set(REFERENCES) or self.frames_per_second <= 0:
            raise ValueError(
                f"{len(self.families)} families and references at {self.frames_per_second} frames per second; "
                "needed: at least one family and a rate above 0."
            )


class LatentActionModel(nn.Module):
    """Encoder, one `Family` for each bottleneck, and a decoder for pictures.

    precision: `float32` or `bf16`, in which rollouts, pictures, drives and plans are computed; weights and results are
    float32 in both. States and inferred actions are always computed in float32: they are stored and compared, so they
    must not depend on the machine.
    """

    def __init__(self, config: ModelConfig, precision: str = "float32") -> None:
        super().__init__()
        self.config, self.precision = config, precision
        self.encoder = ENCODERS[type(config.encoder)](config.encoder)
        self.decoder = DECODERS[type(config.decoder)](config.decoder, config.encoder)
        self.flow_reader = FlowReader(config.flow, config.encoder) if config.flow else None
        self.members = nn.ModuleDict({name: Family(c, config.encoder) for name, c in config.families.items()})
        self.controllers = nn.ModuleDict({name: self._controllers(c) for name, c in config.robots.items()})
        self.policies = nn.ModuleDict({name: GoalPolicy(c, config.encoder) for name, c in config.policies.items()})

    def _controllers(self, config: ControllerConfig) -> nn.ModuleDict:
        """A robot's controllers, one a family."""
        made = {}
        for name in self.families:
            family = self.members[name].config
            width = family.bottleneck.action_width
            made[name] = Controller(config, self.config.encoder, width, family.inverse_dynamics)
        return nn.ModuleDict(made)

    @property
    def name(self) -> str:
        """The model's name, `nano` for one."""
        return self.config.name

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the bottleneck families this model holds, the default first."""
        return tuple(name for name in self.members if name not in REFERENCES)

    @property
    def references(self) -> tuple[str, ...]:
        """Those of the reference lines, deterministic and unconstrained, that this model holds beside its families."""
        return tuple(name for name in self.members if name in REFERENCES)

    @property
    def robots(self) -> tuple[str, ...]:
        """Robots whose known actions the model understands where it sees them done."""
        return tuple(name for name, config in self.config.robots.items() if config.kind != "action")

    @property
    def frames_per_second(self) -> float:
        """The rate of the clips it was trained on."""
        return self.config.frames_per_second

    @property
    def frame_size(self) -> int:
        """Pixels a side."""
        return self.config.encoder.frame_size

    @property
    def picture_size(self) -> int:
        """Pixels a side of what it draws: a multiple of the frame size."""
        return self.config.picture_size

    def in_precision(self, precision: str) -> LatentActionModel:
        """Return the same model, with the same weights in memory, that computes in `float32` or `bf16`."""
        model = copy.copy(self)
        model.precision = pick_precision(precision, self.device)
        return model

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        """Weights in all."""
        return sum(p.numel() for p in self.parameters())

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        """frame_BTCHW in [0, 1], of the frame size or the picture size, to state_BTND."""
        return self.encoder(self.shrink(frame_BTCHW))

    def shrink(self, frame_BTCHW: Tensor) -> Tensor:
        """Frames of the picture size at the frame size, averaged; others as they are."""
        if frame_BTCHW.ndim != 5 or frame_BTCHW.shape[-1] != self.picture_size or self.picture_size == self.frame_size:
            return frame_BTCHW
        small_XCHW = F.avg_pool2d(frame_BTCHW.flatten(0, 1), self.picture_size // self.frame_size)
        return small_XCHW.unflatten(0, frame_BTCHW.shape[:2])

    def read_flow(self, state_BTND: Tensor) -> Tensor | None:
        """The backward flow between consecutive states, flow_BU2HW in frame widths; None where families find it."""
        if self.flow_reader is None:
            return None
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        return self.flow_reader(before_XND, after_XND).unflatten(0, (len(state_BTND), -1))

    def infer(
        self,
        state_BTND: Tensor,
        capacity_B: Tensor,
        family: str | None = None,
        flow_BU2HW: Tensor | None = None,
    ) -> BottleneckOutput:
        """Latent actions and their cost; sampled where the family is in training mode. The flow reader gets no
        gradient. flow_BU2HW: what `read_flow` returned for these states, where somebody has it already.
        """
        if flow_BU2HW is None:
            with torch.no_grad():
                flow_BU2HW = self.read_flow(state_BTND)
        return self.member(family).infer(state_BTND, capacity_B, flow_BU2HW)

    def infer_actions(
        self,
        state_BTND: Tensor,
        family: str | None = None,
        capacity: float | Tensor = 1.0,
        flow_BU2HW: Tensor | None = None,
    ) -> Tensor:
        """The U = T - 1 latent actions between T states, action_BUA; flow_BU2HW: see `infer`.

        Raises ValueError for fewer than two states.
        """
        if state_BTND.shape[1] < 2:
            raise ValueError(f"a latent action needs at least 2 frames, got {state_BTND.shape[1]}.")
        return self.infer(state_BTND, self.dial(capacity, state_BTND), family, flow_BU2HW).action_BUA

    def rollout(
        self, state_BCND: Tensor, action_BUA: Tensor, family: str | None = None, capacity: float | Tensor = 1.0
    ) -> Rollout:
        """Feeds predictions back: from C context states, the U - C + 1 states after the context.

        The first C - 1 actions lead between the context's own states; the rest lead on from its last.
        """
        frames = state_BCND.shape[1]
        world_model = self.member(family).world_model
        capacity_B = self.dial(capacity, state_BCND)
        with autocast(state_BCND.device, self.precision):
            predicted = world_model.rollout(state_BCND, action_BUA, capacity_B)
        start_BND = state_BCND[:, -1].float()
        if isinstance(predicted, Tensor):
            return Rollout(start_BND=start_BND, state_BUND=predicted[:, frames - 1 :].float())
        return join_predictions(start_BND, predicted)

    def control(
        self,
        known_BUK: Tensor,
        state_BUND: Tensor,
        robot: str,
        family: str | None = None,
        capacity: float | Tensor = 1.0,
    ) -> Tensor:
        """A robot's known actions, each with the state it is done in, to the latent actions that mean them, action_BUA.

        Raises ValueError for a robot that the model has no controller for, or actions of another width.
        """
        family = family or self.families[0]
        config = self.robot(robot)
        if known_BUK.shape[-1] != len(config.names):
            raise ValueError(f"{known_BUK.shape[-1]} numbers an action came; {robot} takes: {', '.join(config.names)}.")
        capacity_B = self.dial(capacity, state_BUND)
        action_BUA = self.controllers[robot][family](known_BUK, state_BUND, capacity_B)
        return self.settle(action_BUA, family, capacity_B)

    def settle(self, action_BUA: Tensor, family: str, capacity_B: Tensor) -> Tensor:
        """The nearest actions that the family's bottleneck lets be."""
        steps = action_BUA.shape[1]
        settled_XA = self.member(family).bottleneck.settle(
            action_BUA.flatten(0, 1), capacity_B.repeat_interleave(steps)
        )
        return settled_XA.unflatten(0, (-1, steps))

    def begin(
        self,
        state_BCND: Tensor,
        action_BcA: Tensor | None = None,
        robot: str | None = None,
        family: str | None = None,
        capacity: float | Tensor = 1.0,
        precision: str | None = None,
    ) -> Present:
        """The moment after C context states and the C - 1 latent actions between them, to go on from step by step.

        With a robot's name steps are told in its known actions, without one in latent actions. precision: that of the
        model unless given.
        """
        family = family or self.families[0]
        if robot is not None:
            self.robot(robot)
        controller = self.controllers[robot][family] if robot is not None else None
        capacity_B = self.dial(capacity, state_BCND)
        precision = precision or self.precision
        return begin(self.member(family), state_BCND, action_BcA, capacity_B, controller, precision)

    def add_robot(self, robot: str, config: ControllerConfig) -> None:
        """Fresh controllers for a robot, in the place of any it had."""
        self.config = replace(self.config, robots=self.config.robots | {robot: config})
        self.controllers[robot] = self._controllers(config).to(self.device)

    def add_policy(self, robot: str, config: PolicyConfig) -> None:
        """A fresh policy for a robot, in the place of any it had."""
        self.config = replace(self.config, policies=self.config.policies | {robot: config})
        self.policies[robot] = GoalPolicy(config, self.config.encoder).to(self.device)

    def robot(self, name: str) -> ControllerConfig:
        """What a robot's known actions are; ValueError names those there are."""
        if name not in self.config.robots:
            raise ValueError(
                f"robot {name!r} is not in model {self.name!r}; it has: {', '.join(self.config.robots) or 'none'}."
            )
        return self.config.robots[name]

    def sample_actions(
        self,
        state_BND: Tensor,
        family: str | None = None,
        capacity: float | Tensor = 1.0,
        sampler: str = "learned",
        generator: Generator | None = None,
    ) -> Tensor:
        """An action made from nothing for each state, action_BA; the same for the same generator state.

        sampler: `learned`, a flow that knows the state, or `prior`, the bottleneck's own (standard normal, energy, used
        codes). Raises ValueError for another name, or where the model has no learned sampler.
        """
        member, capacity_B = self.member(family), self.dial(capacity, state_BND)
        if sampler == "prior":
            return member.bottleneck.sample(capacity_B, generator)
        if sampler != "learned" or member.sampler is None:
            raise ValueError(f"sampler {sampler!r} came; this model's family has: {', '.join(self.samplers(family))}.")
        action_BA = member.sampler.sample(state_BND, capacity_B, generator)
        return member.bottleneck.settle(action_BA, capacity_B)

    def samplers(self, family: str | None = None) -> tuple[str, ...]:
        """Names that `sample_actions` takes for a family."""
        return ("learned", "prior") if self.member(family).sampler is not None else ("prior",)

    def decode(self, state_BTND: Tensor) -> Tensor:
        """state_BTND to frame_BTCHW in [0, 1] at the picture size, without a reference picture."""
        with autocast(state_BTND.device, self.precision):
            drawn = self.decoder(state_BTND)
        return drawn if isinstance(drawn, Tensor) else drawn.picture_BTCHW.float().clamp(0, 1)

    def render(self, rollout: Rollout, picture_BCHW: Tensor) -> Tensor:
        """Draw a rollout's frames, frame_BUCHW in [0, 1], from the picture of its start at the picture size."""
        return self.draw(rollout, picture_BCHW)[0]

    def draw(self, rollout: Rollout, picture_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `render`, with the share of each frame that is carried over from the picture, share_BU; None for models
        that generate every pixel.
        """
        state_BTND = torch.cat((rollout.start_BND[:, None], rollout.state_BUND), dim=1)
        if rollout.flow_BU2HW is None:
            return self.decode(state_BTND)[:, 1:], None
        reference = Reference(
            picture_BCHW,
            F.pad(rollout.flow_BU2HW, (0, 0, 0, 0, 0, 0, 1, 0)),
            F.pad(rollout.visible_BU1HW, (0, 0, 0, 0, 0, 0, 1, 0), value=1.0),
        )
        with autocast(state_BTND.device, self.precision):
            drawn = self.decoder(state_BTND, reference)
        share_BU = visibility(drawn.carried_logit_BT1HW[:, 1:].float()).mean(dim=(2, 3, 4))
        return drawn.picture_BTCHW[:, 1:].float().clamp(0, 1), share_BU

    def member(self, family: str | None) -> Family:
        """The named family, or the first; ValueError names those there are."""
        name = self.families[0] if family is None else family
        if name not in self.members:
            raise ValueError(f"family {name!r} is not in model {self.name!r}; it has: {', '.join(self.members)}.")
        return self.members[name]

    @staticmethod
    def dial(capacity: float | Tensor, like: Tensor) -> Tensor:
        """capacity as one number a clip, capacity_B in [0, 1], on the device of `like`."""
        value = torch.as_tensor(capacity, dtype=torch.float32, device=like.device).expand(like.shape[0])
        if not all(math.isfinite(v) and 0 <= v <= 1 for v in value.tolist()):
            raise ValueError(f"capacity came as {capacity}; needed: a number from 0 (least) to 1 (most).")
        return value


def join_predictions(start_BND: Tensor, predictions: list[Prediction]) -> Rollout:
    """The rollout that a world model's predictions make, one state each but for the first, of which the last counts."""
    batch = len(start_BND)
    states, flows, visible = [], [], []
    for prediction in predictions:
        states.append(prediction.state_BFND[:, -1:].float())
        flows.append(prediction.carry.flow_X2HW.unflatten(0, (batch, -1))[:, -1:])
        visible.append(prediction.carry.visible_X1HW.unflatten(0, (batch, -1))[:, -1:])
    return Rollout(
        start_BND=start_BND,
        state_BUND=torch.cat(states, dim=1),
        flow_BU2HW=torch.cat(flows, dim=1),
        visible_BU1HW=torch.cat(visible, dim=1),
    )
