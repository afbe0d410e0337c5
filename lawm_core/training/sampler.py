"""The learned samplers: flows fitted to the actions that a frozen model infers from real clips and twins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.shares import even_rows
from lawm_core.training.batches import Pairs
from lawm_core.training.features import Features
from lawm_core.training.losses import Objective


@dataclass(frozen=True, kw_only=True)
class SamplerObjectiveConfig:
    """family: whose actions are learned."""

    family: str = "noisy"


class SamplerObjective(Objective):
    """A family's sampler alone, on actions inferred at settings of the dial drawn anew for each clip."""

    def __init__(self, model: LatentActionModel, config: SamplerObjectiveConfig) -> None:
        self.model, self.family = model, model.member(config.family)
        if self.family.sampler is None:
            raise ValueError(f"family {config.family!r} of this recipe has no sampler to train.")

    def trained(self) -> nn.Module:
        return self.family.sampler

    def losses(self, pairs: Pairs | Features, progress: float) -> dict[str, Tensor]:
        """`velocity`: squared error of the flow's velocity at unit size; pi / 2 for the best guess of pure noise."""
        with torch.no_grad():
            if isinstance(pairs, Features):
                state_BTND, flow_BU2HW = pairs.source_BTND, pairs.flow_BU2HW
            else:
                state_BTND = self.model.encoder.eval()(pairs.target_BTCHW).float()
                flow_BU2HW = self.model.read_flow(state_BTND)
            capacity_B = even_rows(len(state_BTND), device=state_BTND.device)
            self.family.eval()
            action_BUA = self.family.infer(state_BTND, capacity_B, flow_BU2HW).action_BUA
        self.family.sampler.train()
        transitions = action_BUA.shape[1]
        velocity = self.family.sampler.loss(
            action_BUA.flatten(0, 1), state_BTND[:, :-1].flatten(0, 1), capacity_B.repeat_interleave(transitions)
        )
        return {"loss": velocity, "velocity": velocity}
