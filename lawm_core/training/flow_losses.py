"""What the stages of a model with optical flow minimise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.contracts import Rollout
from lawm_core.model import LatentActionModel, join_predictions
from lawm_core.models.flow import Carry, resize_flow
from lawm_core.models.flow_world_model import Prediction
from lawm_core.models.picture_decoder import Reference
from lawm_core.shares import even_rows, row_numbers, share
from lawm_core.training.batches import Pairs
from lawm_core.training.features import Features, see
from lawm_core.training.losses import Objective, add_noise, structural_loss
from lawm_core.worlds.true_motion import Motion


def flow_error(flow_X2HW: Tensor, true_X2HW: Tensor, weight_X1HW: Tensor) -> Tensor:
    """Mean end-point error where the weight is 1, in hundredths of the frame width; large errors count less than
    linearly, because a teacher's largest errors are its own.
    """
    error_X1HW = (resize_flow(flow_X2HW, true_X2HW.shape[-1]) - true_X2HW).square().sum(dim=1, keepdim=True)
    error_X1HW = (error_X1HW * 1e4 + 1e-4) ** 0.45
    return (error_X1HW * weight_X1HW).sum() / weight_X1HW.sum().clamp_min(1.0)


class FlowReaderObjective(Objective):
    """The flow reader alone, on frozen states: true flow of synthetic pairs, the teacher's flow of real clips."""

    def __init__(self, model: LatentActionModel) -> None:
        self.model = model

    def trained(self) -> nn.Module:
        return self.model.flow_reader

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`flow_0`, `flow_1`, `flow_2`: errors by level, coarse to fine."""
        motion = pairs.motion
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(pairs.target_BTCHW).float()
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        true_X2HW, known_X1HW = motion.flow_BU2HW.flatten(0, 1), motion.known_BU1HW.flatten(0, 1)
        # Where a place was hidden its flow is still known on synthetic pairs, but cannot be matched.
        weight_X1HW = known_X1HW * (0.2 + 0.8 * motion.visible_BU1HW.flatten(0, 1))
        found = self.model.flow_reader.levels(before_XND, after_XND)
        errors = {f"flow_{i}": flow_error(flow, true_X2HW, weight_X1HW) for i, flow in enumerate(found)}
        weights = (0.25, 0.5, 1.0)
        return {"loss": sum(w * e for w, e in zip(weights, errors.values(), strict=True)), **errors}


@dataclass(frozen=True, kw_only=True)
class FlowActionConfig:
    """warm_up, single_share, cycle, lean: as in `LatentActionConfig`. flow, visibility, generated: weights of the
    supervised losses beside the error of predicted states.
    """

    family: str = "noisy"
    warm_up: float = 0.2
    single_share: float = 0.7
    cycle: float = 0.3
    lean: float = 0.5
    flow: float = 1.0
    visibility: float = 0.1
    generated: float = 0.3


class FlowActionObjective(Objective):
    """Inverse dynamics and world model together, on a frozen encoder's states and a frozen reader's flow [LAWM §2].

    L1 between predicted and true states plus the bottleneck's cost, as without flow; in addition the predicted flow and
    visibility of each step are compared with the target's own.
    """

    def __init__(self, model: LatentActionModel, config: FlowActionConfig) -> None:
        self.model, self.config = model, config
        self.family = model.member(config.family)

    def trained(self) -> nn.Module:
        return self.family

    def losses(self, pairs: Pairs | Features, progress: float) -> dict[str, Tensor]:
        """`error`, of states; `cost`, of actions; `copying`, the error over that of copying; `flow`, `visibility`,
        `generated` and `cycle`, before their weights.
        """
        config, seen = self.config, see(self.model, pairs)
        frames = seen.target_BTND.shape[1]
        single = torch.rand(()).item() < config.single_share or frames < 3
        if single:
            frames = int(torch.randint(2, frames + 1, ()).item())
        context = 1 if single else int(torch.randint(2, frames, ()).item())
        seen = seen.first(frames)
        source_BTND, target_BTND = seen.source_BTND, seen.target_BTND
        capacity_B = self.draw_capacity(len(target_BTND), target_BTND.device)
        inferred = self.family.infer(source_BTND, capacity_B, seen.flow_BU2HW)
        predictions = self.family.world_model.rollout(target_BTND[:, :context], inferred.action_BUA, capacity_B)
        predicted_BUND = torch.cat([p.state_BFND for p in predictions], dim=1).float()
        error = (predicted_BUND - target_BTND[:, 1:]).abs().mean()
        known_BTND = target_BTND[:, :1] if context == 1 else target_BTND[:, :-1]
        cost = inferred.cost_BU.mean() * min(1.0, 0.02 + progress / config.warm_up)
        flow, visibility = motion_losses(predictions, seen.motion)
        losses = {
            "error": error,
            "cost": cost,
            "copying": error / (known_BTND - target_BTND[:, 1:]).abs().mean(),
            "flow": flow,
            "visibility": visibility,
            "generated": generated_loss(predictions, target_BTND[:, 1:], seen.motion),
            "cycle": self.there_and_back(source_BTND, target_BTND, predicted_BUND, capacity_B),
        }
        weighted = sum(getattr(config, name) * losses[name] for name in ("flow", "visibility", "generated", "cycle"))
        return {"loss": error + cost + weighted, **losses, **inferred.notes}

    def draw_capacity(self, clips: int, device: torch.device) -> Tensor:
        """A capacity for each clip, or one for all where a bottleneck needs that; both ends as often as the middle."""
        together = self.family.bottleneck.batch_capacity
        chance_S = torch.rand(1, device=device) if together else even_rows(clips, device=device)
        even_S = (1.2 * chance_S - 0.1).clamp(0, 1)
        return (even_S**self.config.lean).expand(clips)

    def there_and_back(
        self, source_BTND: Tensor, target_BTND: Tensor, predicted_BUND: Tensor, capacity_B: Tensor
    ) -> Tensor:
        """Error of the source's first step under the action inferred from the target's first predicted step."""
        moved_BTND = torch.cat((target_BTND[:, :1], predicted_BUND[:, :1]), dim=1)
        action_BUA = self.model.infer(moved_BTND, capacity_B, self.config.family).action_BUA
        (back,) = self.family.world_model.rollout(source_BTND[:, :1], action_BUA, capacity_B)
        return (back.state_BFND.float() - source_BTND[:, 1:2]).abs().mean()


def motion_losses(predictions: list[Prediction], motion: Motion) -> tuple[Tensor, Tensor]:
    """Errors of each step's flow, and cross-entropy of its visibility."""
    flow_BU2HW = torch.cat([p.flow_BF2HW for p in predictions], dim=1)
    logit_BU1HW = torch.cat([p.visible_logit_BF1HW for p in predictions], dim=1)
    steps = flow_BU2HW.shape[1]
    true = [x[:, :steps].flatten(0, 1) for x in (motion.flow_BU2HW, motion.visible_BU1HW, motion.known_BU1HW)]
    flow = flow_error(flow_BU2HW.flatten(0, 1), true[0], true[2])
    # A teacher that does not know says "hidden"; that is true less often than not.
    weight = 0.3 + 0.7 * true[2]
    logit_X1HW = resize_flow(logit_BU1HW.flatten(0, 1), true[1].shape[-1])
    entropy = F.binary_cross_entropy_with_logits(logit_X1HW, true[1], weight=weight)
    return flow, entropy


def generated_loss(predictions: list[Prediction], true_BUND: Tensor, motion: Motion) -> Tensor:
    """Error of the generated states, mostly at tokens that were hidden."""
    generated_BUND = torch.cat([p.generated_BFND for p in predictions], dim=1).float()
    steps, grid = generated_BUND.shape[1], int(generated_BUND.shape[2] ** 0.5)
    hidden_X1HW = F.adaptive_avg_pool2d(1 - motion.visible_BU1HW[:, :steps].flatten(0, 1), grid)
    weight_BUN = (0.1 + hidden_X1HW).flatten(1).unflatten(0, (-1, steps))
    return ((generated_BUND - true_BUND).abs().mean(dim=-1) * weight_BUN).sum() / weight_BUN.sum()


@dataclass(frozen=True, kw_only=True)
class ReferencePictureConfig:
    """noise: added to states, in their own standard deviations. plain_share: of the batch, drawn from true states and
    without a reference; the rest is drawn from rollouts and their first frames. mask: weight of the mask's loss.
    """

    noise: float = 0.1
    structural: float = 0.2
    plain_share: float = 0.25
    mask: float = 0.1


class ReferencePictureObjective(Objective):
    """The decoder alone, at the picture size, on states and rollouts of frozen models.

    The mask learns visibility from geometry. Pixels are compared in what is carried over, where that was visible, and
    in what is generated, apart: an error of the blend alone would let the mask hedge against wrong motion.
    """

    def __init__(self, model: LatentActionModel, config: ReferencePictureConfig) -> None:
        self.model, self.config = model, config

    def trained(self) -> nn.Module:
        return self.model.decoder

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`carried`, `generated`, `plain`: pixel losses; `mask`: cross-entropy; `carried_share`: mean of the mask."""
        frame_BTCHW, motion = pairs.target_BTCHW, pairs.motion
        clips = len(frame_BTCHW)
        place_B = torch.randperm(clips * share().count)[row_numbers(clips)]
        plain_B = (place_B < round(clips * share().count * self.config.plain_share)).to(frame_BTCHW.device)
        rolled, state_BTND = self.roll_out(frame_BTCHW)
        losses = {}
        if plain_B.any():
            noisy_BTND = add_noise(state_BTND[plain_B], self.config.noise)
            drawn = self.model.decoder(noisy_BTND)
            losses["plain"] = self.pixel_loss(drawn.generated_BTCHW, frame_BTCHW[plain_B])
        if not plain_B.all():
            with_B = ~plain_B
            reference = Reference(frame_BTCHW[with_B, 0], rolled.flow_BU2HW[with_B], rolled.visible_BU1HW[with_B])
            state_BUND = add_noise(rolled.state_BUND[with_B], self.config.noise)
            drawn, true_BUCHW = self.model.decoder(state_BUND, reference), frame_BTCHW[with_B, 1:]
            seen_BU1HW, known_BU1HW = seen_from_start(motion, with_B)
            visible_BU1HW = self.enlarge(seen_BU1HW * known_BU1HW)
            error = (drawn.carried_BTCHW - true_BUCHW).abs() * visible_BU1HW
            losses["carried"] = error.sum() / (3 * visible_BU1HW.sum()).clamp_min(1.0)
            # Most of a frame is carried over, so the generated picture is judged mainly where it will be seen.
            mask_BU1HW = drawn.carried_logit_BT1HW.detach().float().sigmoid()
            needed_BU1HW = 0.1 + 1 - torch.minimum(mask_BU1HW, self.enlarge(seen_BU1HW))
            losses["generated"] = self.pixel_loss(drawn.generated_BTCHW, true_BUCHW, needed_BU1HW)
            entropy = F.binary_cross_entropy_with_logits(
                drawn.carried_logit_BT1HW.float(), self.enlarge(seen_BU1HW), reduction="none"
            )
            losses["mask"] = (entropy * (0.3 + 0.7 * self.enlarge(known_BU1HW))).mean()
            losses["carried_share"] = drawn.carried_logit_BT1HW.detach().float().sigmoid().mean()
        weights = {"plain": 1.0, "carried": 2.0, "generated": 1.0, "mask": self.config.mask, "carried_share": 0.0}
        zero = frame_BTCHW.new_zeros(())
        losses = {name: losses.get(name, zero) for name in weights}
        return {"loss": sum(weights[name] * losses[name] for name in weights), **losses}

    @torch.no_grad()
    def roll_out(self, frame_BTCHW: Tensor) -> tuple[Rollout, Tensor]:
        """Rollouts from first frames under the clips' own actions, and the true states."""
        self.model.encoder.eval()
        state_BTND = self.model.encode(frame_BTCHW).float()
        family = self.model.families[int(torch.randint(len(self.model.families), ()).item())]
        member = self.model.member(family).eval()
        capacity_B = even_rows(len(state_BTND), device=state_BTND.device) ** 0.5
        action_BUA = self.model.infer(state_BTND, capacity_B, family).action_BUA
        predictions = member.world_model.rollout(state_BTND[:, :1], action_BUA, capacity_B)
        return join_predictions(state_BTND[:, 0], predictions), state_BTND

    def pixel_loss(self, frame_BTCHW: Tensor, true_BTCHW: Tensor, weight_BT1HW: Tensor | None = None) -> Tensor:
        """L1, weighted where weights are given, and structural loss, at half size, where it costs a quarter."""
        error_BTCHW = (frame_BTCHW.float() - true_BTCHW).abs()
        if weight_BT1HW is None:
            error = error_BTCHW.mean()
        else:
            error = (error_BTCHW * weight_BT1HW).sum() / (3 * weight_BT1HW.sum())
        frame_XCHW, true_XCHW = frame_BTCHW.flatten(0, 1).float(), true_BTCHW.flatten(0, 1)
        half = (F.avg_pool2d(frame_XCHW, 2).clamp(0, 1), F.avg_pool2d(true_XCHW, 2))
        return error + self.config.structural * structural_loss(*half)

    def enlarge(self, field_BU1HW: Tensor) -> Tensor:
        """A field at the picture size."""
        size = self.model.picture_size
        return resize_flow(field_BU1HW.flatten(0, 1), size).unflatten(0, field_BU1HW.shape[:2])


def seen_from_start(motion: Motion, pick_B: Tensor) -> tuple[Tensor, Tensor]:
    """Of some clips, what of each later frame was visible in the first, and where that is known: (B, U, 1, H, W)."""
    flow_BU2HW, visible_BU1HW = motion.flow_BU2HW[pick_B], motion.visible_BU1HW[pick_B]
    carry = Carry.start(len(flow_BU2HW), flow_BU2HW.shape[-1], flow_BU2HW.device)
    known = Carry.start(len(flow_BU2HW), flow_BU2HW.shape[-1], flow_BU2HW.device)
    seen, sure = [], []
    for u in range(flow_BU2HW.shape[1]):
        carry = carry.step(flow_BU2HW[:, u], visible_BU1HW[:, u])
        known = known.step(flow_BU2HW[:, u], motion.known_BU1HW[pick_B][:, u])
        seen.append(carry.visible_X1HW)
        sure.append(known.visible_X1HW)
    return torch.stack(seen, dim=1), torch.stack(sure, dim=1)
