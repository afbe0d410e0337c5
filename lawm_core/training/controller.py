"""Controllers: from a robot's known actions to the latent actions that a frozen model infers from the same moments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.worlds.episodes import EpisodeWorld, Labelled


@dataclass(frozen=True, kw_only=True)
class LabelledConfig:
    """Pieces of episodes in a batch."""

    clips: int = 64
    frames: int = 3


class LabelledSource:
    """Draws batch number `step` of labelled clips: a pure function of (seed, step)."""

    def __init__(self, config: LabelledConfig, world: EpisodeWorld, device: torch.device, seed: int) -> None:
        self.config, self.world, self.device, self.seed = config, world, device, seed

    def draw(self, step: int) -> Labelled:
        """Random pieces of episodes."""
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        return self.world.draw_labelled(self.config.clips, self.config.frames, generator)


@dataclass(frozen=True, kw_only=True)
class ControllerObjectiveConfig:
    """Whose controller for whose latent actions."""

    robot: str = "arm"
    family: str = "noisy"


class ControllerObjective:
    """One controller alone: squared distance to the inferred latent action, at settings drawn anew for each clip.

    Distances are measured as the world model hears them, each number times its gain, and relative to how far actions
    are from none at that setting: what a bottleneck drowns costs nothing, and no setting outweighs another.
    """

    def __init__(self, model: LatentActionModel, config: ControllerObjectiveConfig) -> None:
        model.robot(config.robot)
        self.model, self.family = model, model.member(config.family)
        self.controller = model.controllers[config.robot][config.family]

    def trained(self) -> nn.Module:
        return self.controller

    def losses(self, labelled: Labelled, progress: float) -> dict[str, Tensor]:
        """`distance`: of the controller's actions, squared, over that of no action at all."""
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(labelled.frame_BTCHW).float()
            capacity_B = (1.1 * torch.rand(len(state_BTND), device=state_BTND.device) - 0.05).clamp(0, 1)
            family = self.family.eval()
            action_BUA = family.infer(state_BTND, capacity_B).action_BUA
            gain_B1A = family.world_model.trust(capacity_B)[:, None]
            size_B11 = (gain_B1A * action_BUA).square().mean(dim=(1, 2), keepdim=True)
            size_B11 = size_B11.mean() * 0.1 + 0.9 * size_B11  # nothing may divide by a clip that stands still
        told_BUA = self.controller(labelled.action_BUK, state_BTND[:, :-1], capacity_B).float()
        distance = ((gain_B1A * (told_BUA - action_BUA)).square() / (size_B11 + 1e-8)).mean()
        return {"loss": distance, "distance": distance}
