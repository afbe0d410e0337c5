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

    clips: int = 32
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
    """Whose controllers for whose latent actions. robots: names with the same known actions, as `arm` and
    `arm_action_only`.
    """

    robots: tuple[str, ...] = ("arm",)
    families: tuple[str, ...] = ("noisy",)


class ControllerObjective:
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
        """By ROBOT-FAMILY: the controller's distance, squared, over that of no action at all; `loss`, their sum."""
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(labelled.frame_BTCHW).float()
            capacity_B = (1.1 * torch.rand(len(state_BTND), device=state_BTND.device) - 0.05).clamp(0, 1)
        told: dict[str, Tensor] = {}
        for name in self.config.families:
            family = self.model.member(name).eval()
            with torch.no_grad():
                action_BUA = family.infer(state_BTND, capacity_B).action_BUA
                gain_B1A = family.world_model.trust(capacity_B)[:, None]
                size_B11 = (gain_B1A * action_BUA).square().mean(dim=(1, 2), keepdim=True)
                size_B11 = size_B11.mean() * 0.1 + 0.9 * size_B11  # nothing may divide by a clip that stands still
            for robot in self.config.robots:
                controller = self.controllers[f"{robot}-{name}"]
                told_BUA = controller(labelled.action_BUK, state_BTND[:, :-1], capacity_B).float()
                off_BUA = (gain_B1A * (told_BUA - action_BUA)).square()
                told[f"{robot}-{name}"] = (off_BUA / (size_B11 + 1e-8)).mean()
        return {"loss": torch.stack(list(told.values())).sum(), **told}
