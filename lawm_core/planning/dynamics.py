"""A family's world model as a planner's dynamics: what is past is computed once and shared by all candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.planning.present import Present


@dataclass(frozen=True)
class WorldModelDynamics:
    """From one clip's present on. memory_bytes: what the candidates of one pass may take, roughly; more of them go in
    several passes.
    """

    present: Present
    memory_bytes: int = 512 * 2**20

    def unroll(self, plan_SHK: Tensor) -> Tensor:
        """Where plans lead, end_SND."""
        parts = plan_SHK.split(self.chunk(plan_SHK.shape[1]))
        return torch.cat([self.present.expand(len(part)).follow(part)[:, -1] for part in parts])

    def chunk(self, steps: int) -> int:
        """How many candidates go through at once: each keeps keys and values for every layer, twice while they grow,
        a few widths of activations a token, and every state on the way.
        """
        config = self.present.family.config.world_model
        tokens, state_width = self.present.state_BND.shape[1:]
        kept = min(config.window, self.present.past.frames + steps)
        cached = 2 * 2 * config.depth * kept * tokens * config.block.width
        passing = tokens * (12 * config.block.width + (4 + steps) * state_width)
        return max(1, self.memory_bytes // (4 * (cached + passing)))
