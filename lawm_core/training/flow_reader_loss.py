"""The loss of the flow reader."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.models.flow import resize_flow
from lawm_core.training.batches import PairBatch
from lawm_core.training.losses import Loss, weighted_mean, weighted_sum

LEVEL_WEIGHTS = {"flow_0": 0.25, "flow_1": 0.5, "flow_2": 1.0}  # coarse to fine


class FlowReaderLoss(Loss):
    """Supervises every level of the flow reader, on states of the frozen encoder.

    The labels are the true flow of synthetic pairs and the teacher's flow of real clips.
    """

    def __init__(self, model: LatentActionModel) -> None:
        self.model = model

    def trained(self) -> nn.Module:
        return self.model.flow_reader

    def losses(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss` and its terms `flow_0`, `flow_1` and `flow_2`: the errors of the levels, coarse to
        fine.

        `progress` is not used. Raises ValueError if the batch has no optical flow.
        """
        motion = batch.known_motion
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(batch.target_BTCHW).float()
        before_XND, after_XND = state_BTND[:, :-1].flatten(0, 1), state_BTND[:, 1:].flatten(0, 1)
        true_X2HW, known_X1HW = motion.flow_BU2HW.flatten(0, 1), motion.known_BU1HW.flatten(0, 1)
        # Pixels that were hidden in the frame before have a known flow in synthetic pairs. It cannot be found by
        # matching, so they get a small weight.
        weight_X1HW = known_X1HW * (0.2 + 0.8 * motion.visible_BU1HW.flatten(0, 1))
        levels = self.model.flow_reader.levels(before_XND, after_XND)
        errors = {f"flow_{i}": flow_error(flow, true_X2HW, weight_X1HW) for i, flow in enumerate(levels)}
        return {"loss": weighted_sum(errors, LEVEL_WEIGHTS), **errors}


def flow_error(flow_X2HW: Tensor, true_X2HW: Tensor, weight_X1HW: Tensor) -> Tensor:
    """Return the weighted mean of the end-point error in hundredths of the frame width, to the power 0.9.

    The power reduces the influence of the largest errors, which are often mistakes of the teacher. weight_X1HW: weight
    of each position.
    """
    error_X1HW = (resize_flow(flow_X2HW, true_X2HW.shape[-1]) - true_X2HW).square().sum(dim=1, keepdim=True)
    error_X1HW = (error_X1HW * 1e4 + 1e-4) ** 0.45
    return weighted_mean(error_X1HW, weight_X1HW)
