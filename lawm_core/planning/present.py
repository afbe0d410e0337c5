"""A moment from which a world goes on, step by step: driving, and planning many ways from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lawm_core.contracts import Rollout
from lawm_core.models.cache import KeyValueCache
from lawm_core.models.family import Family
from lawm_core.models.flow import Carry
from lawm_core.models.flow_world_model import FlowWorldModel
from lawm_core.runtime import autocast


@dataclass(frozen=True)
class Present:
    """B clips at their last known state, state_BND, with the keys and values of all before it; never changed.

    What is told at a step is a known action where there is a controller, and a latent action without one. A step costs
    one frame, and any earlier present can be gone on from: undo is keeping a list.

    carry, reference_BND: of a world model with flow, where each place is in the reference, the last true state.
    """

    family: Family
    controller: nn.Module | None
    capacity_B: Tensor
    state_BND: Tensor
    past: KeyValueCache
    precision: str = "float32"
    carry: Carry | None = None
    reference_BND: Tensor | None = None

    def step(self, told_BK: Tensor) -> Present:
        """The present after what is told."""
        return self.act(self.latent(told_BK))

    def follow(self, told_BHK: Tensor) -> Tensor:
        """The states after each of H steps, state_BHND."""
        return torch.stack([now.state_BND for now in self.steps(told_BHK)], dim=1)

    def roll(self, told_BHK: Tensor) -> Rollout:
        """As `follow`, with what is needed to draw the frames after each of H steps."""
        parts = [now.rollout for now in self.steps(told_BHK)]
        join = lambda name: torch.cat([getattr(part, name) for part in parts], dim=1)
        if self.carry is None:
            return Rollout(start_BND=self.state_BND, state_BUND=join("state_BUND"))
        fields = {name: join(name) for name in ("state_BUND", "flow_BU2HW", "visible_BU1HW")}
        return Rollout(start_BND=parts[0].start_BND, **fields)

    def steps(self, told_BHK: Tensor) -> Iterator[Present]:
        """The present after each of H steps; each is to be used before the next, which writes over its past."""
        now = replace(self, past=self.family.world_model.rolling(self.past, told_BHK.shape[1]))
        for told_BK in told_BHK.unbind(dim=1):
            now = now.step(told_BK)
            yield now

    @torch.no_grad()
    def latent(self, told_BK: Tensor) -> Tensor:
        """What the world model is told, action_BA; a controller answers for the state it is asked in."""
        if self.controller is None:
            return told_BK
        with autocast(self.state_BND.device, self.precision):
            action_B1A = self.controller(told_BK[:, None], self.state_BND[:, None], self.capacity_B)
        return self.family.bottleneck.settle(action_B1A[:, 0].float(), self.capacity_B)

    @torch.no_grad()
    def act(self, action_BA: Tensor) -> Present:
        """The present after a latent action."""
        state_B1ND = self.state_BND[:, None]
        with autocast(state_B1ND.device, self.precision):
            given = (state_B1ND, action_BA[:, None], self.capacity_B, self.past)
            if self.carry is None:
                next_B1ND, past = self.family.world_model(*given)
                return replace(self, state_BND=next_B1ND[:, 0].float(), past=past)
            predicted, past = self.family.world_model(*given, self.carry, self.reference_BND)
        return replace(self, state_BND=predicted.state_BFND[:, 0].float(), past=past, carry=predicted.carry)

    @property
    def rollout(self) -> Rollout:
        """The present as a rollout of one frame from the reference, to be drawn."""
        if self.carry is None:
            return Rollout(start_BND=self.state_BND, state_BUND=self.state_BND[:, None])
        return Rollout(
            start_BND=self.reference_BND,
            state_BUND=self.state_BND[:, None],
            flow_BU2HW=self.carry.flow_X2HW[:, None],
            visible_BU1HW=self.carry.visible_X1HW[:, None],
        )

    @property
    def nbytes(self) -> int:
        """Memory of what is kept, in bytes."""
        carried = () if self.carry is None else (self.carry.flow_X2HW, self.carry.visible_X1HW, self.reference_BND)
        return self.past.nbytes + sum(tensor.nbytes for tensor in (self.state_BND, *carried))

    @property
    def visible_share(self) -> float:
        """Mean share of the frame that is visible in the reference, 0 to 1; 1 for models that carry nothing over."""
        return 1.0 if self.carry is None else self.carry.visible_X1HW.mean().item()

    def anchor(self) -> Present:
        """The same moment with its own state as the reference, for rollouts that have left their reference behind."""
        if self.carry is None:
            return self
        carry = Carry.start(len(self.state_BND), self.carry.flow_X2HW.shape[-1], self.state_BND.device)
        return replace(self, carry=carry, reference_BND=self.state_BND)

    def expand(self, copies: int) -> Present:
        """The same moment `copies` times, clip by clip."""
        return replace(
            self,
            capacity_B=self.capacity_B.repeat_interleave(copies),
            state_BND=self.state_BND.repeat_interleave(copies, dim=0),
            past=self.past.expand(copies),
            carry=None if self.carry is None else self.carry.repeat(copies),
            reference_BND=None if self.carry is None else self.reference_BND.repeat_interleave(copies, dim=0),
        )


@torch.no_grad()
def begin(
    family: Family,
    state_BCND: Tensor,
    action_BcA: Tensor | None,
    capacity_B: Tensor,
    controller: nn.Module | None = None,
    precision: str = "float32",
) -> Present:
    """The present after C context states with the C - 1 latent actions between them (none for one state).

    Raises ValueError where they do not fit.
    """
    context = state_BCND.shape[1]
    actions = 0 if action_BcA is None else action_BcA.shape[1]
    if actions != context - 1:
        raise ValueError(f"{context} context states came with {actions} actions between them.")
    past = KeyValueCache()
    if actions:
        with autocast(state_BCND.device, precision):
            _, past = family.world_model(state_BCND[:, :-1], action_BcA, capacity_B)
    carry = None
    if isinstance(family.world_model, FlowWorldModel):
        carry = Carry.start(len(state_BCND), family.world_model.grid, state_BCND.device)
    state_BND = state_BCND[:, -1]
    return Present(family, controller, capacity_B, state_BND, past, precision, carry, state_BND if carry else None)
