"""The loss of the decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.batch_slice import BatchSlice
from lawm_core.data.motion_labels import Motion
from lawm_core.model import LatentActionModel, join_predictions
from lawm_core.models.decoder import DecodedFrames, Reference
from lawm_core.models.flow import Carry, resize_flow
from lawm_core.training.batches import PairBatch
from lawm_core.training.losses import Loss, add_noise, structural_loss, weighted_mean, weighted_sum
from lawm_core.types import Rollout


@dataclass(frozen=True, kw_only=True)
class DecoderLossConfig:
    """Config of `DecoderLoss`.

    noise: mean standard deviation of the noise that is added to states. structural: weight of the structural loss of
    generated frames, beside their L1 loss. mask: weight of the mask's cross-entropy.

    no_reference_fraction: fraction of clips that are decoded from their true states without a reference frame. The
    other clips are decoded from rollouts, with their first frame as the reference frame.
    """

    noise: float = 0.1
    structural: float = 0.2
    no_reference_fraction: float = 0.25
    mask: float = 0.1


class DecoderLoss(Loss):
    """Pixel losses of decoded frames at the picture size. States and rollouts come from frozen networks.

    The decoder blends a carried frame, which is the warped reference frame, and a generated frame by a mask. The losses
    compare the two frames with the true frame separately, the carried one only where its content was visible in the
    reference frame. The mask is trained on true visibility alone: trained on the pixel error of the blend, it would
    select the generated frame wherever the motion may be wrong, which is blur.
    """

    def __init__(self, model: LatentActionModel, config: DecoderLossConfig) -> None:
        self.model, self.config = model, config

    def trained(self) -> nn.Module:
        return self.model.decoder

    def losses(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss`, its four terms, and one metric.

        `loss` is the weighted sum of the terms. `no_reference`: L1 and structural loss of frames that are decoded
        without a reference frame. `carried`: L1 loss of the warped reference frame, where its content was visible and
        the true flow is known. `generated`: L1 and structural loss of the generated frames of clips with a reference
        frame; pixels that the mask replaces by carried ones count little. `mask`: cross-entropy between the mask and
        true visibility. The metric `carried_fraction` is the mean of the mask; it is only logged.

        All clips are decoded in one pass, because FSDP2 needs every rank to call the decoder equally often. `progress`
        is not used. Raises ValueError if the batch has no optical flow.
        """
        frame_BTCHW, part = batch.target_BTCHW, batch.batch_slice
        no_reference_B1111, with_reference_B1111 = self.draw_clip_weights(len(frame_BTCHW), frame_BTCHW.device, part)
        rollout, state_BTND = self.roll_out(frame_BTCHW, part)
        has_reference_B1111 = (with_reference_B1111 > 0).float()
        state_BUND = torch.lerp(state_BTND[:, 1:], rollout.state_BUND, has_reference_B1111[..., 0])
        reference = Reference(  # with a visibility of 0 everywhere, a reference frame has no effect
            frame_BTCHW[:, 0], rollout.flow_BU2HW * has_reference_B1111, rollout.visible_BU1HW * has_reference_B1111
        )
        decoded = self.model.decoder(add_noise(state_BUND, self.config.noise, part), reference)
        losses = self.compare(decoded, frame_BTCHW[:, 1:], batch.known_motion, no_reference_B1111, with_reference_B1111)
        weights = {"no_reference": 1.0, "carried": 2.0, "generated": 1.0, "mask": self.config.mask}
        return {"loss": weighted_sum(losses, weights), **losses}

    def draw_clip_weights(self, clips: int, device: torch.device, batch_slice: BatchSlice) -> tuple[Tensor, Tensor]:
        """Draw which clips are decoded without a reference frame. Return the weights of clips without one and of clips
        with one, each of shape (B, 1, 1, 1, 1).

        A weight is 0 for clips of the other kind. Over the whole batch, the weights of a kind have a mean of 1, so that
        the mean of a weighted loss is its mean over the clips of that kind.

        clips: B, clips of this slice of the batch.
        """
        total = clips * batch_slice.count
        without = round(total * self.config.no_reference_fraction)
        order_B = torch.randperm(total)[batch_slice.row_indices(clips)].to(device)
        is_without_B1111 = (order_B < without).float()[:, None, None, None, None]
        return is_without_B1111 * (total / max(without, 1)), (1 - is_without_B1111) * (total / max(total - without, 1))

    def compare(
        self,
        decoded: DecodedFrames,
        true_BUCHW: Tensor,
        motion: Motion,
        no_reference_B1111: Tensor,
        with_reference_B1111: Tensor,
    ) -> dict[str, Tensor]:
        """Return the terms of the loss and `carried_fraction`, as described in `losses`.

        no_reference_B1111, with_reference_B1111: weights of clips from `draw_clip_weights`.
        """
        visible_BU1HW, known_BU1HW = (self.upscale(field) for field in visible_from_start(motion))
        logit_BU1HW = decoded.carried_logit_BT1HW.float()
        mask_BU1HW = logit_BU1HW.detach().sigmoid()
        # Most of a frame is carried over, so the generated frame is compared mainly where the mask selects it.
        needed_BU1HW = 0.1 + 1 - torch.minimum(mask_BU1HW, visible_BU1HW)
        carried_BUCHW = (decoded.carried_BTCHW - true_BUCHW).abs()
        generated_BUCHW = (decoded.generated_BTCHW.float() - true_BUCHW).abs()
        structural_BU111 = self.config.structural * half_size_structural_loss(decoded.generated_BTCHW, true_BUCHW)
        entropy_BU1HW = F.binary_cross_entropy_with_logits(logit_BU1HW, visible_BU1HW, reduction="none")
        return {
            "no_reference": (generated_BUCHW * no_reference_B1111).mean()
            + (structural_BU111 * no_reference_B1111).mean(),
            "carried": weighted_mean(carried_BUCHW, visible_BU1HW * known_BU1HW * with_reference_B1111),
            "generated": weighted_mean(generated_BUCHW, needed_BU1HW * with_reference_B1111)
            + (structural_BU111 * with_reference_B1111).mean(),
            "mask": (entropy_BU1HW * (0.3 + 0.7 * known_BU1HW) * with_reference_B1111).mean(),
            "carried_fraction": (mask_BU1HW * with_reference_B1111).mean(),
        }

    @torch.no_grad()
    def roll_out(self, frame_BTCHW: Tensor, batch_slice: BatchSlice) -> tuple[Rollout, Tensor]:
        """Return rollouts of clips from their first frames, and the true states, state_BTND.

        Actions are inferred from the same clips, by a random family at random capacities.
        """
        self.model.encoder.eval()
        state_BTND = self.model.encode(frame_BTCHW).float()
        names = self.model.family_names
        family = self.model.at(names[int(torch.randint(len(names), ()).item())]).family.eval()
        capacity_B = batch_slice.rand(len(state_BTND), device=state_BTND.device) ** 0.5
        action_BUA = family.infer(state_BTND, self.model.read_flow(state_BTND), capacity_B).action_BUA
        predictions = family.world_model.rollout(state_BTND[:, :1], action_BUA, capacity_B)
        return join_predictions(state_BTND[:, 0], predictions), state_BTND

    def upscale(self, field_BU1HW: Tensor) -> Tensor:
        """Resize a field of visibilities to the picture size."""
        size = self.model.picture_size
        return resize_flow(field_BU1HW.flatten(0, 1), size).unflatten(0, field_BU1HW.shape[:2])


def half_size_structural_loss(frame_BUCHW: Tensor, true_BUCHW: Tensor) -> Tensor:
    """Return the structural loss of each frame, (B, U, 1, 1, 1).

    It is computed at half the size, where it takes a quarter of the time.
    """
    frame_XCHW, true_XCHW = frame_BUCHW.flatten(0, 1).float(), true_BUCHW.flatten(0, 1)
    loss_X = structural_loss(F.avg_pool2d(frame_XCHW, 2).clamp(0, 1), F.avg_pool2d(true_XCHW, 2))
    return loss_X.unflatten(0, frame_BUCHW.shape[:2])[..., None, None, None]


def visible_from_start(motion: Motion) -> tuple[Tensor, Tensor]:
    """Return two fields for each later frame of the clips, both (B, U, 1, H, W), from 0 to 1.

    The first is where its content was visible in the clip's first frame, the second where this is known. Both follow
    the content back through the flows of all frames in between.
    """
    flow_BU2HW = motion.flow_BU2HW

    def compose(step_BU1HW: Tensor) -> Tensor:
        """Follow a field between consecutive frames back to the first frame."""
        carry, out = Carry.start(len(flow_BU2HW), flow_BU2HW.shape[-1], flow_BU2HW.device), []
        for flow_B2HW, step_B1HW in zip(flow_BU2HW.unbind(1), step_BU1HW.unbind(1), strict=True):
            carry = carry.step(flow_B2HW, step_B1HW)
            out.append(carry.visible_X1HW)
        return torch.stack(out, dim=1)

    return compose(motion.visible_BU1HW), compose(motion.known_BU1HW)
