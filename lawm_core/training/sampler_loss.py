"""The loss of action samplers: flow matching on the actions that a frozen family infers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.training.batches import PairBatch
from lawm_core.training.features import FeatureBatch, compute_features
from lawm_core.training.losses import Loss


class SamplerLoss(Loss):
    """Trains the sampler of a family, at a random capacity for each clip.

    Raises ValueError if the family has no sampler.
    """

    def __init__(self, model: LatentActionModel, family: str = "noisy") -> None:
        self.model, self.family = model, model.at(family).family
        if self.family.sampler is None:
            raise ValueError(f"family {family!r} has no sampler to train; set `sampler` in its FamilyConfig.")
        self.sampler = self.family.sampler

    def trained(self) -> nn.Module:
        return self.sampler

    def losses(self, batch: PairBatch | FeatureBatch, progress: float) -> dict[str, Tensor]:
        """Return `velocity`, which is also the total `loss`: the mean squared error of the predicted velocity.

        It is computed on actions that are standardised to zero mean and unit variance. If these were independent normal
        noise, the best possible value would be pi / 2; lower values mean that the sampler uses structure in the
        actions. `progress` is not used.
        """
        with torch.no_grad():
            features = compute_features(self.model, batch)
            state_BTND, part = features.source_BTND, features.batch_slice
            capacity_B = part.rand(len(state_BTND), device=state_BTND.device)
            action_BUA = self.family.eval().infer(state_BTND, features.flow_BU2HW, capacity_B).action_BUA
        sampler, transitions = self.sampler.train(), action_BUA.shape[1]
        velocity = sampler.loss(
            action_BUA.flatten(0, 1),
            state_BTND[:, :-1].flatten(0, 1),
            capacity_B.repeat_interleave(transitions),
            part,
        )
        return {"loss": velocity, "velocity": velocity}
