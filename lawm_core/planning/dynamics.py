"""Dynamics for planners: rollouts of a world model, runs of the simulator (an oracle), and outputs of a controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lawm_core.planning.rollout_state import RolloutState
from lawm_core.simulation.simulator import Simulator


@dataclass(frozen=True)
class WorldModelDynamics:
    """Rolls plans out in the world model.

    start: state of one clip, from which every plan begins; its cache of earlier frames is computed only once.
    memory_bytes: approximate memory for the plans that are rolled out together.
    """

    start: RolloutState
    memory_bytes: int = 512 * 2**20

    def unroll(self, plan_SKR: Tensor) -> Tensor:
        """Return the predicted final state of each plan, final_SND."""
        parts = plan_SKR.split(self.chunk_size(plan_SKR.shape[1]))
        return torch.cat([self.start.repeat(len(part)).predict(part)[:, -1] for part in parts])

    def chunk_size(self, steps: int) -> int:
        """Return how many plans of `steps` steps are rolled out together.

        This estimates the memory of one plan: keys and values of all layers (twice, because repeating the cache copies
        them), activations of about twelve widths per token, and the states of all steps.
        """
        config = self.start.family.config.world_model
        tokens, state_width = self.start.state_BND.shape[1:]
        frames = min(config.window, self.start.cache.frames + steps)
        cached = 2 * 2 * config.depth * frames * tokens * config.block.width
        activations = tokens * (12 * config.block.width + (4 + steps) * state_width)
        return max(1, self.memory_bytes // (4 * (cached + activations)))


@dataclass(frozen=True)
class SimulatorDynamics:
    """Executes plans in the simulator.

    saved_state: result of `Simulator.save`, from which every plan begins. encode: maps rendered frames, frame_SCHW, to
    states, state_SND.
    """

    simulator: Simulator
    saved_state: Any
    encode: Callable[[Tensor], Tensor]

    def unroll(self, plan_SKR: Tensor) -> Tensor:
        """Return the state of the last rendered frame of each plan, final_SND."""
        return self.encode(torch.stack([self._execute(plan_KR) for plan_KR in plan_SKR]))

    def _execute(self, plan_KR: Tensor) -> Tensor:
        """Execute one plan and return its last frame, frame_CHW."""
        self.simulator.restore(self.saved_state)
        return [self.simulator.step(action_R) for action_R in plan_KR.cpu().numpy()][-1]


@dataclass(frozen=True)
class ControllerDynamics:
    """Maps plans of one robot action to the latent actions that a controller gives for them.

    A planner whose goal is a latent action then finds the robot action that comes closest to it. start: state of one
    clip with a controller, in which the robot actions are taken.
    """

    start: RolloutState

    def unroll(self, plan_SKR: Tensor) -> Tensor:
        """Return the latent action of each plan, which must have one step, in place of a final state: (S, 1, A)."""
        return self.start.repeat(len(plan_SKR)).to_latent(plan_SKR[:, 0])[:, None]
