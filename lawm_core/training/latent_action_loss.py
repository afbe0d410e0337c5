"""The loss of a family: of inverse dynamics, bottleneck and world model together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.batch_slice import BatchSlice
from lawm_core.data.motion_labels import Motion
from lawm_core.model import LatentActionModel
from lawm_core.models.flow import resize_flow
from lawm_core.models.world_model import Prediction
from lawm_core.training.batches import PairBatch
from lawm_core.training.features import FeatureBatch, compute_features
from lawm_core.training.flow_reader_loss import flow_error
from lawm_core.training.losses import Loss, weighted_mean, weighted_sum


@dataclass(frozen=True, kw_only=True)
class LatentActionLossConfig:
    """Config of `LatentActionLoss`.

    family: name of the trained family. warm_up: fraction of the training during which the weight of the bottleneck's
    cost rises to its full value; at the full value from the start, the world model would learn to ignore actions.
    single_frame_fraction: fraction of batches that are predicted from a single given frame, so that earlier motion
    cannot replace the action. Their number of predicted frames is random, because training on long rollouts alone leads
    to blurred predictions.

    capacity_power: capacities are drawn uniformly from [0, 1] and raised to this power; below 1, high capacities are
    more frequent. cycle, flow, visibility, generated: weights of these terms of the loss; the error of predicted states
    has weight 1.
    """

    family: str = "noisy"
    warm_up: float = 0.2
    single_frame_fraction: float = 0.7
    capacity_power: float = 0.5
    cycle: float = 0.3
    flow: float = 1.0
    visibility: float = 0.1
    generated: float = 0.3


class LatentActionLoss(Loss):
    """L1 error of predicted states plus the bottleneck's cost, on states of a frozen encoder [LAWM §2].

    Actions are inferred from the source and applied to the target, because the two share only their motion. The first
    frames, the context, are given as true states (teacher forcing). After them, each state is predicted from the
    predicted states before it. The flow and visibility of each step are supervised by the target's optical flow.
    """

    def __init__(self, model: LatentActionModel, config: LatentActionLossConfig) -> None:
        self.model, self.config = model, config
        self.family = model.at(config.family).family

    def trained(self) -> nn.Module:
        return self.family

    def losses(self, batch: PairBatch | FeatureBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss`, its terms, and metrics that are only logged.

        The terms are `error`, the L1 error of predicted states; `cost`, the bottleneck's cost times its warm-up weight;
        and `flow`, `visibility`, `generated` and `cycle`, before the weights of the config. The metrics are `copying`
        and those of the bottleneck. `copying` is the error divided by the error of copying a true frame: the first
        frame if it is the only one given, otherwise the frame before the predicted one.

        progress: fraction of the training done, 0 to 1. Raises ValueError if the batch has no optical flow.
        """
        config, features = self.config, compute_features(self.model, batch)
        frames, context = self.draw_lengths(features.target_BTND.shape[1])
        features = features.first(frames)
        source_BTND, target_BTND, motion = features.source_BTND, features.target_BTND, features.known_motion
        capacity_B = self.draw_capacity(len(target_BTND), target_BTND.device, features.batch_slice)
        inferred = self.family.infer(source_BTND, features.flow_BU2HW, capacity_B, features.batch_slice)
        predictions = self.family.world_model.rollout(target_BTND[:, :context], inferred.action_BUA, capacity_B)
        predicted_BUND = torch.cat([p.state_BTND for p in predictions], dim=1).float()
        error = (predicted_BUND - target_BTND[:, 1:]).abs().mean()
        known_BTND = target_BTND[:, :1] if context == 1 else target_BTND[:, :-1]
        cost = inferred.cost_BU.mean() * min(1.0, 0.02 + progress / config.warm_up)
        flow, visibility = motion_losses(predictions, motion)
        losses = {
            "error": error,
            "cost": cost,
            "copying": error / (known_BTND - target_BTND[:, 1:]).abs().mean(),
            "flow": flow,
            "visibility": visibility,
            "generated": generated_loss(predictions, target_BTND[:, 1:], motion),
            "cycle": self.cycle_loss(source_BTND, target_BTND, predicted_BUND, capacity_B, features.batch_slice),
        }
        weights = {name: getattr(config, name) for name in ("flow", "visibility", "generated", "cycle")}
        return {"loss": error + cost + weighted_sum(losses, weights), **losses, **inferred.metrics}

    def draw_lengths(self, frames: int) -> tuple[int, int]:
        """Draw how many frames of each clip are used and how many of them are given as context. Return the two numbers.

        frames: number of frames of each clip, at least 2.
        """
        if torch.rand(()).item() < self.config.single_frame_fraction or frames < 3:
            return int(torch.randint(2, frames + 1, ()).item()), 1
        return frames, int(torch.randint(2, frames, ()).item())

    def draw_capacity(self, clips: int, device: torch.device, batch_slice: BatchSlice) -> Tensor:
        """Draw a capacity for each clip, capacity_B, or one for the whole batch if the bottleneck needs that.

        Numbers are drawn from a range slightly wider than [0, 1] and clamped, so that the ends 0 and 1 themselves are
        trained often.
        """
        shared = self.family.bottleneck.shared_capacity
        uniform = torch.rand(1, device=device) if shared else batch_slice.rand(clips, device=device)
        clamped = (1.2 * uniform - 0.1).clamp(0, 1)
        return (clamped**self.config.capacity_power).expand(clips)

    def cycle_loss(
        self,
        source_BTND: Tensor,
        target_BTND: Tensor,
        predicted_BUND: Tensor,
        capacity_B: Tensor,
        batch_slice: BatchSlice,
    ) -> Tensor:
        """Return the L1 error of the source's second state, predicted with an action that is inferred from the target.

        That action is inferred from the target's first state and the state predicted after it, predicted_BUND[:, 0].
        The loss is small if the source's motion can be recovered from the transfer.
        """
        moved_BTND = torch.cat((target_BTND[:, :1], predicted_BUND[:, :1]), dim=1)
        with torch.no_grad():
            flow_BU2HW = self.model.read_flow(moved_BTND)
        action_BUA = self.family.infer(moved_BTND, flow_BU2HW, capacity_B, batch_slice).action_BUA
        (back,) = self.family.world_model.rollout(source_BTND[:, :1], action_BUA, capacity_B)
        return (back.state_BTND.float() - source_BTND[:, 1:2]).abs().mean()


def motion_losses(predictions: list[Prediction], motion: Motion) -> tuple[Tensor, Tensor]:
    """Return two means over all steps: the error of the predicted flow and the cross-entropy of the predicted
    visibility.
    """
    flow_BU2HW = torch.cat([p.flow_BT2HW for p in predictions], dim=1)
    logit_BU1HW = torch.cat([p.visible_logit_BT1HW for p in predictions], dim=1)
    steps = flow_BU2HW.shape[1]
    flow, visible, known = (
        x[:, :steps].flatten(0, 1) for x in (motion.flow_BU2HW, motion.visible_BU1HW, motion.known_BU1HW)
    )
    # Where the forward and backward flow of the teacher disagree, `known` is 0 and pixels are labelled hidden. These
    # labels are more often wrong than right, so they get a smaller weight.
    weight = 0.3 + 0.7 * known
    logit_X1HW = resize_flow(logit_BU1HW.flatten(0, 1), visible.shape[-1])
    entropy = F.binary_cross_entropy_with_logits(logit_X1HW, visible, weight=weight)
    return flow_error(flow_BU2HW.flatten(0, 1), flow, known), entropy


def generated_loss(predictions: list[Prediction], true_BUND: Tensor, motion: Motion) -> Tensor:
    """Return the weighted mean L1 error of the generated states.

    Tokens that were hidden in the frame before have the largest weight, because only they have to be generated.
    """
    generated_BUND = torch.cat([p.generated_BTND for p in predictions], dim=1).float()
    steps, grid = generated_BUND.shape[1], int(generated_BUND.shape[2] ** 0.5)
    hidden_X1HW = F.adaptive_avg_pool2d(1 - motion.visible_BU1HW[:, :steps].flatten(0, 1), grid)
    weight_BUN = (0.1 + hidden_X1HW).flatten(1).unflatten(0, (-1, steps))
    return weighted_mean((generated_BUND - true_BUND).abs().mean(dim=-1), weight_BUN)
