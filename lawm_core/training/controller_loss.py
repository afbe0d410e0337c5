"""The loss of controllers, which predict the latent actions that a frozen model infers from the same clips."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.data.appearance import recolor
from lawm_core.data.episodes import EpisodeDataset, LabelledBatch
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import flow_patches
from lawm_core.models.inverse_dynamics import flow_tokens
from lawm_core.training.losses import Loss

MIN_MOTION = 1e-3  # in squared sub-patches, added to the divisor: batches without motion would dominate otherwise


@dataclass(frozen=True, kw_only=True)
class LabelledBatchConfig:
    """Composition of a batch of robot clips with labelled actions.

    clips: B, clips in a batch. frames: T, frames of each clip. recolor_fraction: fraction of the clips that are
    recoloured. mirrored_dims: indices of the action dimensions that change their sign when the image is mirrored; half
    of the clips are then mirrored. With None, no clip is mirrored.
    """

    clips: int = 64
    frames: int = 2
    recolor_fraction: float = 0.5
    mirrored_dims: tuple[int, ...] | None = None


class LabelledSource:
    """Draws batches of robot clips. The batch of a step depends only on the seed and the step.

    It cannot be split over ranks: the whole batch is returned for every batch slice.
    """

    def __init__(self, config: LabelledBatchConfig, dataset: EpisodeDataset, device: torch.device, seed: int) -> None:
        self.config, self.dataset, self.device, self.seed = config, dataset, device, seed

    def draw(self, step: int, batch_slice: BatchSlice = WHOLE_BATCH) -> LabelledBatch:
        """Return random clips of episodes, some of them recoloured or mirrored. `batch_slice` is not used."""
        generator = Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        batch = self.dataset.draw_labelled(self.config.clips, self.config.frames, generator)
        batch = self._mirror_some(batch, generator)
        recolor_B = (
            torch.rand(self.config.clips, generator=generator, device=self.device) < self.config.recolor_fraction
        )
        recolored_BTCHW = recolor(batch.frame_BTCHW, generator, strength=0.8)
        return replace(batch, frame_BTCHW=where_clip(recolor_B, recolored_BTCHW, batch.frame_BTCHW))

    def _mirror_some(self, batch: LabelledBatch, generator: Generator) -> LabelledBatch:
        if self.config.mirrored_dims is None:
            return batch
        mirror_B = torch.rand(self.config.clips, generator=generator, device=self.device) < 0.5
        sign_R = torch.ones(batch.action_BUR.shape[-1], device=self.device)
        sign_R[list(self.config.mirrored_dims)] = -1
        pose_BTR = batch.pose_BTR
        if pose_BTR.shape[-1] == len(sign_R):  # true if the data set has poses and they have the dimensions of actions
            pose_BTR = where_clip(mirror_B, pose_BTR * sign_R, pose_BTR)
        return replace(
            batch,
            frame_BTCHW=where_clip(mirror_B, batch.frame_BTCHW.flip(4), batch.frame_BTCHW),
            action_BUR=where_clip(mirror_B, batch.action_BUR * sign_R, batch.action_BUR),
            pose_BTR=pose_BTR,
            scene_B2=None,  # no simulator shows the mirrored scenes
        )


def where_clip(choice_B: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Choose for each clip between `yes` (where choice_B is True) and `no`."""
    return torch.where(choice_B.view(-1, *[1] * (yes.ndim - 1)), yes, no)


@dataclass(frozen=True, kw_only=True)
class ControllerLossConfig:
    """Config of `ControllerLoss`.

    robots: names of robots with the same action dimensions, such as `arm` and `arm_action_only`. families: names of the
    families whose latent actions are predicted. A controller is trained for each robot and family.
    """

    robots: tuple[str, ...] = ("arm",)
    families: tuple[str, ...] = ("noisy",)


class ControllerLoss(Loss):
    """Squared distance between predicted and inferred latent actions, at a random capacity for each clip.

    Each action dimension is weighted by the world model's gain of it, so dimensions that the bottleneck drowns in noise
    hardly count. Distances are divided by the size of the inferred actions, so that all capacities count the same. The
    controllers of several robots and families share nothing but the encoded batch. Controllers that also predict flow
    are trained on it as well.
    """

    def __init__(self, model: LatentActionModel, config: ControllerLossConfig) -> None:
        self.model, self.config = model, config
        self.controllers = {
            f"{robot}-{family}": model.at(family).controller(robot)
            for robot in config.robots
            for family in config.families
        }

    def trained(self) -> nn.Module:
        return nn.ModuleDict(self.controllers)

    def losses(self, batch: LabelledBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss`, the distance of each controller, named ROBOT-FAMILY, and `motion`.

        A distance is the squared distance to the inferred actions, divided by that of an action of zeros: at 0 the
        prediction is exact, at 1 it is no better than an action of zeros. `motion` is the same for predicted flow, as a
        mean over the controllers that predict flow; without such controllers, it is left out. `loss` is the sum of all
        distances, of actions and of flow. `progress` is not used.
        """
        with torch.no_grad():
            self.model.encoder.eval()
            state_BTND = self.model.encode(batch.frame_BTCHW).float()
            capacity_B = (1.1 * torch.rand(len(state_BTND), device=state_BTND.device) - 0.05).clamp(0, 1)
        distances: dict[str, Tensor] = {}
        motions: list[Tensor] = []
        for family in self.config.families:
            target = ControllerTarget.infer(self.model, family, state_BTND, capacity_B)
            for robot in self.config.robots:
                controller = self.controllers[f"{robot}-{family}"]
                action_BUA, flow_BUNC = controller.predict(batch.action_BUR, state_BTND[:, :-1], capacity_B)
                distances[f"{robot}-{family}"] = target.action_distance(action_BUA)
                if flow_BUNC is not None:
                    motions.append(target.flow_distance(flow_BUNC))
        losses = {"loss": torch.stack([*distances.values(), *motions]).sum(), **distances}
        if motions:
            losses["motion"] = torch.stack(motions).mean()
        return losses


@dataclass(frozen=True)
class ControllerTarget:
    """What controllers of a family have to predict for a batch of clips.

    action_BUA: inferred latent actions. flow_BUNC: flow inside each token, in sub-patches, ordered as by `flow_tokens`.
    gain_B1A: the world model's gain of each action dimension, which weights `action_distance`.
    """

    action_BUA: Tensor
    flow_BUNC: Tensor
    gain_B1A: Tensor

    @classmethod
    @torch.no_grad()
    def infer(cls, model: LatentActionModel, family: str, state_BTND: Tensor, capacity_B: Tensor) -> ControllerTarget:
        """Infer the targets of a family from states, without gradients."""
        networks, grid = model.at(family).family.eval(), model.config.encoder.grid
        flow_BU2HW = model.read_flow(state_BTND)
        flow_X2HW = flow_BU2HW.flatten(0, 1)
        patches = flow_patches(networks.inverse_dynamics.basis_size, grid) * grid
        flow_XNC = flow_tokens(F.adaptive_avg_pool2d(flow_X2HW, patches) * flow_X2HW.shape[-1], grid)
        return cls(
            networks.infer(state_BTND, flow_BU2HW, capacity_B).action_BUA,
            flow_XNC.unflatten(0, (len(state_BTND), -1)),
            networks.world_model.action_gain(capacity_B)[:, None],
        )

    def action_distance(self, action_BUA: Tensor) -> Tensor:
        """Return the mean squared distance of predicted actions, divided by that of an action of zeros."""
        size_B11 = (self.gain_B1A * self.action_BUA).square().mean(dim=(1, 2), keepdim=True)
        size_B11 = size_B11.mean() * 0.1 + 0.9 * size_B11  # a clip without motion must not divide by zero
        error_BUA = (self.gain_B1A * (action_BUA.float() - self.action_BUA)).square()
        return (error_BUA / (size_B11 + 1e-8)).mean()

    def flow_distance(self, flow_BUNC: Tensor) -> Tensor:
        """Return the mean squared distance of predicted flow, divided by that of a flow of zeros."""
        error_BUNC = (flow_BUNC.float() - self.flow_BUNC).square()
        return error_BUNC.mean() / (self.flow_BUNC.square().mean() + MIN_MOTION)
