"""Planners' dynamics: a family's world model, of which what is past is computed once and shared by all candidates; for
an oracle, the simulator itself; and a controller alone, whose answers are the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lawm_core.planning.present import Present
from lawm_core.worlds.simulator import Simulator


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
        """How many candidates go through at once: each keeps keys and values for every layer, twice while the past is
        spread out, a few widths of activations a token, and every state on the way.
        """
        config = self.present.family.config.world_model
        tokens, state_width = self.present.state_BND.shape[1:]
        kept = min(config.window, self.present.past.frames + steps)
        cached = 2 * 2 * config.depth * kept * tokens * config.block.width
        passing = tokens * (12 * config.block.width + (4 + steps) * state_width)
        return max(1, self.memory_bytes // (4 * (cached + passing)))


@dataclass(frozen=True)
class SimulatorDynamics:
    """The true world from a saved moment on. encode: pictures at the simulator's size to states, frame_SCHW to
    state_SND.
    """

    world: Simulator
    moment: Any
    encode: Callable[[Tensor], Tensor]

    def unroll(self, plan_SHK: Tensor) -> Tensor:
        """Where plans really lead, end_SND."""
        return self.encode(torch.stack([self._do(plan_HK) for plan_HK in plan_SHK]))

    def _do(self, plan_HK: Tensor) -> Tensor:
        """The picture after a plan, frame_CHW."""
        self.world.restore(self.moment)
        return [self.world.step(action_K) for action_K in plan_HK.cpu().numpy()][-1]


@dataclass(frozen=True)
class ControllerDynamics:
    """What a controller makes of known actions in one clip's present: for reading a latent action back."""

    present: Present

    def unroll(self, plan_SHK: Tensor) -> Tensor:
        """The latent actions of plans of one step, end_S1A."""
        return self.present.expand(len(plan_SHK)).latent(plan_SHK[:, 0])[:, None]
