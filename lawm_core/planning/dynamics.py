"""A family's world model as a planner's dynamics: what is past is computed once and shared by all candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lawm_core.models.blocks import KeyValueCache
from lawm_core.models.family import Family
from lawm_core.runtime import autocast


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """memory_bytes: what the candidates of one pass may take, roughly; more of them go in several passes."""

    capacity: float = 1.0
    memory_bytes: int = 512 * 2**20
    bf16: bool = True


class WorldModelDynamics:
    """From C context states and the C - 1 latent actions between them on.

    Plans are known actions where there is a controller, which sees each state that it acts in; without one they are
    latent actions themselves.
    """

    def __init__(
        self,
        family: Family,
        state_CND: Tensor,
        action_cA: Tensor,
        config: DynamicsConfig,
        controller: nn.Module | None = None,
    ) -> None:
        if len(action_cA) != len(state_CND) - 1:
            raise ValueError(f"{len(state_CND)} context states came with {len(action_cA)} actions between them.")
        self.family, self.controller, self.config = family, controller, config
        self.capacity_1 = torch.tensor([config.capacity], dtype=torch.float32, device=state_CND.device)
        self.last_1ND = state_CND[-1:]
        self.past = KeyValueCache()
        if len(action_cA):
            with torch.no_grad(), autocast(state_CND.device, config.bf16):
                _, self.past = family.world_model(state_CND[None, :-1], action_cA[None], self.capacity_1)

    @torch.no_grad()
    def unroll(self, plan_SHK: Tensor) -> Tensor:
        """Where plans lead, end_SND: in passes of as many as the memory allows."""
        chunk = self.chunk(plan_SHK.shape[1])
        return torch.cat([self.states(part_SHK)[:, -1] for part_SHK in plan_SHK.split(chunk)])

    @torch.no_grad()
    def states(self, plan_SHK: Tensor) -> Tensor:
        """Every state on the way, state_SHND."""
        samples, out = len(plan_SHK), []
        capacity_S = self.capacity_1.expand(samples)
        past = self.past.expand(samples) if self.past.layers else None
        state_S1ND = self.last_1ND.expand(samples, -1, -1)[:, None]
        with autocast(state_S1ND.device, self.config.bf16):
            for told_SK in plan_SHK.unbind(dim=1):
                action_S1A = self.latent(told_SK, state_S1ND, capacity_S)[:, None]
                state_S1ND, past = self.family.world_model(state_S1ND, action_S1A, capacity_S, past)
                state_S1ND = state_S1ND.float()
                out.append(state_S1ND)
        return torch.cat(out, dim=1)

    def latent(self, told_SK: Tensor, state_S1ND: Tensor, capacity_S: Tensor) -> Tensor:
        """What a plan's step says to the world model, action_SA."""
        if self.controller is None:
            return told_SK
        action_SA = self.controller(told_SK[:, None], state_S1ND, capacity_S)[:, 0].float()
        return self.family.bottleneck.settle(action_SA, capacity_S)

    def chunk(self, steps: int) -> int:
        """How many candidates go through at once: each keeps keys and values for every layer, twice while they grow,
        and a few widths of activations a token.
        """
        config = self.family.config.world_model
        tokens, state_width = self.last_1ND.shape[1:]
        kept = min(config.window, self.past.frames + steps)
        cached = 2 * 2 * config.depth * kept * tokens * config.block.width
        passing = tokens * (12 * config.block.width + 4 * state_width)
        return max(1, self.config.memory_bytes // (4 * (cached + passing)))
