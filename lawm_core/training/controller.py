"""Controllers: from a robot's known actions to the latent actions that a frozen model infers from the same moments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.models.flow_reader import token_flow
from lawm_core.models.place_reader import token_places
from lawm_core.shares import Share
from lawm_core.training.losses import Objective
from lawm_core.worlds.appearance import recolour
from lawm_core.worlds.episodes import EpisodeWorld, Labelled

STILL = 1e-3  # square cells of motion that count as none: a batch that stands still may not weigh more than others


@dataclass(frozen=True, kw_only=True)
class LabelledConfig:
    """Pieces of episodes in a batch: scenes are few, so that looks and sides are varied.

    recoloured: share of the pieces in other colours. sided: which numbers of an action mean the opposite in a mirror;
    half of the pieces are then seen in one. None: no mirrors.
    """

    clips: int = 64
    frames: int = 2
    recoloured: float = 0.5
    sided: tuple[int, ...] | None = None


class LabelledSource:
    """Draws batch number `step` of labelled clips: a pure function of (seed, step). One process takes all of it."""

    def __init__(self, config: LabelledConfig, world: EpisodeWorld, device: torch.device, seed: int) -> None:
        self.config, self.world, self.device, self.seed = config, world, device, seed

    def draw(self, step: int, part: Share | None = None) -> Labelled:
        """Random pieces of episodes."""
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        labelled = self.world.draw_labelled(self.config.clips, self.config.frames, generator)
        labelled = self._mirrored(labelled, generator)
        changed_B = torch.rand(self.config.clips, generator=generator, device=self.device) < self.config.recoloured
        frame_BTCHW = labelled.frame_BTCHW
        other_BTCHW = recolour(frame_BTCHW, generator, strength=0.8)
        return replace(labelled, frame_BTCHW=torch.where(rows(changed_B, frame_BTCHW), other_BTCHW, frame_BTCHW))

    def _mirrored(self, labelled: Labelled, generator: Generator) -> Labelled:
        """Half of the pieces in a mirror, with what was done there."""
        if self.config.sided is None:
            return labelled
        flip_B = torch.rand(self.config.clips, generator=generator, device=self.device) < 0.5
        turn_K = torch.ones(labelled.action_BUK.shape[-1], device=self.device)
        turn_K[list(self.config.sided)] = -1
        frame_BTCHW, action_BUK, pose_BTK = labelled.frame_BTCHW, labelled.action_BUK, labelled.pose_BTK
        fits = pose_BTK.shape[-1] == len(turn_K)  # poses are told in the same numbers, where they are told
        return replace(
            labelled,
            frame_BTCHW=torch.where(rows(flip_B, frame_BTCHW), frame_BTCHW.flip(4), frame_BTCHW),
            action_BUK=torch.where(rows(flip_B, action_BUK), action_BUK * turn_K, action_BUK),
            pose_BTK=torch.where(rows(flip_B, pose_BTK), pose_BTK * turn_K, pose_BTK) if fits else pose_BTK,
            scene_B2=None,
        )


def rows(choice_B: Tensor, like: Tensor) -> Tensor:
    """A choice for each clip in a shape that goes with `like`."""
    return choice_B.view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True, kw_only=True)
class ControllerObjectiveConfig:
    """Whose controllers for whose latent actions. robots: names with the same known actions, as `arm` and
    `arm_action_only`.
    """

    robots: tuple[str, ...] = ("arm",)
    families: tuple[str, ...] = ("noisy",)


class ControllerObjective(Objective):
    """Squared distances to the inferred latent actions, at settings drawn anew for each clip. Controllers share nothing
    but their batches: what is encoded and inferred once serves all of them.

    Distances are measured as the world model hears them, each number times its gain, and relative to how far actions
    are from none at that setting: what a bottleneck drowns costs nothing, and no setting outweighs another.
    """

    def __init__(self, model: LatentActionModel, config: ControllerObjectiveConfig) -> None:
        for robot in config.robots:
            model.robot(robot)
        self.model, self.config = model, config
        self.controllers = {
            f"{robot}-{family}": model.controllers[robot][family]
            for robot in config.robots
            for family in config.families
        }

    def trained(self) -> nn.Module:
        return nn.ModuleDict(self.controllers)

    def losses(self, labelled: Labelled, progress: float) -> dict[str, Tensor]:
        """By ROBOT-FAMILY: the controller's distance, squared, over that of no action at all; `motion`: the same of the
        motion that controllers of places expect; `loss`, the sum of all.
        """
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(labelled.frame_BTCHW).float()
            capacity_B = (1.1 * torch.rand(len(state_BTND), device=state_BTND.device) - 0.05).clamp(0, 1)
        told: dict[str, Tensor] = {}
        motions: list[Tensor] = []
        for name in self.config.families:
            self.model.member(name).eval()
            wanted = Wanted.of(self.model, name, state_BTND, capacity_B)
            for robot in self.config.robots:
                told_BUA, flow_BUNP = self.controllers[f"{robot}-{name}"].tell(
                    labelled.action_BUK, state_BTND[:, :-1], capacity_B
                )
                told[f"{robot}-{name}"] = wanted.distance(told_BUA)
                if flow_BUNP is not None:
                    motions.append(wanted.unforeseen(flow_BUNP))
        losses = {"loss": torch.stack([*told.values(), *motions]).sum(), **told}
        if motions:
            losses["motion"] = torch.stack(motions).mean()
        return losses


@dataclass(frozen=True)
class Wanted:
    """What a family infers from the transitions of a batch: action_BUA and flow_BUNP, and how loudly its world model
    hears each number, gain_B1A.
    """

    action_BUA: Tensor
    flow_BUNP: Tensor
    gain_B1A: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: LatentActionModel, family: str, state_BTND: Tensor, capacity_B: Tensor) -> Wanted:
        """Without gradients."""
        member, clips = model.member(family), len(state_BTND)
        if (flow_BU2HW := model.read_flow(state_BTND)) is None:
            pair = (state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1))
            flow_XNP = member.inverse_dynamics.motion(*pair)[1]
        else:
            grid, flow_X2HW = model.encoder.config.grid, flow_BU2HW.flatten(0, 1)
            across = flow_X2HW.shape[-1]
            place_X2HW = F.adaptive_avg_pool2d(flow_X2HW, token_places(member.inverse_dynamics.waves, grid) * grid)
            flow_XNP = token_flow(place_X2HW * across, grid)
        return cls(
            model.infer(state_BTND, capacity_B, family).action_BUA,
            flow_XNP.unflatten(0, (clips, -1)),
            member.world_model.trust(capacity_B)[:, None],
        )

    def distance(self, told_BUA: Tensor) -> Tensor:
        """Of told actions, squared, over that of no action at all."""
        size_B11 = (self.gain_B1A * self.action_BUA).square().mean(dim=(1, 2), keepdim=True)
        size_B11 = size_B11.mean() * 0.1 + 0.9 * size_B11  # nothing may divide by a clip that stands still
        off_BUA = (self.gain_B1A * (told_BUA.float() - self.action_BUA)).square()
        return (off_BUA / (size_B11 + 1e-8)).mean()

    def unforeseen(self, flow_BUNP: Tensor) -> Tensor:
        """Of a guessed motion, squared, over that of no motion."""
        off_BUNP = (flow_BUNP.float() - self.flow_BUNP).square()
        return off_BUNP.mean() / (self.flow_BUNP.square().mean() + STILL)
