"""A rollout that is continued step by step: for driving a robot, and for comparing many plans from one start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lawm_core.models.controller import Controller
from lawm_core.models.family import Family
from lawm_core.models.flow import Carry
from lawm_core.models.kv_cache import KeyValueCache
from lawm_core.runtime import autocast
from lawm_core.types import Rollout

MIN_VISIBLE_FRACTION = 0.5  # of the current frame in its reference frame; if less is visible, the reference is lost


@dataclass(frozen=True)
class RolloutState:
    """The current states of a rollout of B clips, with the key-value cache of all earlier frames.

    It is immutable: a rollout can continue from any earlier state, so that undo only needs a list of states.

    controller: maps robot actions to latent actions; without one (None), every step takes latent actions.
    capacity_B: capacity of each clip. state_BND: the current state of each clip. precision: `float32` or `bf16`, in
    which the networks compute. carry: where each position of the current frame lies in the reference frame.
    reference_BND: the state of the reference frame, which is the last given frame unless `reset_reference` has replaced
    it.
    """

    family: Family
    controller: Controller | None
    capacity_B: Tensor
    state_BND: Tensor
    cache: KeyValueCache
    precision: str
    carry: Carry
    reference_BND: Tensor

    def step(self, action_BR: Tensor) -> RolloutState:
        """Return the state after one step. action_BR: robot actions, or latent actions if there is no controller."""
        return self.apply(self.to_latent(action_BR))

    def predict(self, action_BKR: Tensor) -> Tensor:
        """Return the predicted states after each of K steps, state_BKND.

        action_BKR: robot actions, or latent actions if there is no controller.
        """
        return torch.stack([now.state_BND for now in self.steps(action_BKR)], dim=1)

    def rollout(self, action_BKR: Tensor) -> Rollout:
        """Return the rollout of K steps, which `LatentActionModel.render` turns into frames.

        action_BKR: robot actions, or latent actions if there is no controller.
        """
        parts = [now.current for now in self.steps(action_BKR)]
        join = lambda name: torch.cat([getattr(part, name) for part in parts], dim=1)
        fields = {name: join(name) for name in ("state_BUND", "flow_BU2HW", "visible_BU1HW")}
        return Rollout(start_BND=self.reference_BND, **fields)

    def steps(self, action_BKR: Tensor) -> Iterator[RolloutState]:
        """Yield the state after each of K steps.

        action_BKR: robot actions, or latent actions if there is no controller. The yielded states share one cache,
        which every step overwrites: no rollout can continue from an earlier one of them.
        """
        cache = self.family.world_model.rolling_cache(self.cache, action_BKR.shape[1])
        now = replace(self, cache=cache)
        for action_BR in action_BKR.unbind(dim=1):
            now = now.step(action_BR)
            yield now

    @torch.no_grad()
    def to_latent(self, action_BR: Tensor) -> Tensor:
        """Return the latent actions of robot actions that are taken in the current state, action_BA.

        Without a controller, the argument must hold latent actions, and is returned unchanged.
        """
        if self.controller is None:
            return action_BR
        with autocast(self.state_BND.device, self.precision):
            action_B1A = self.controller(action_BR[:, None], self.state_BND[:, None], self.capacity_B)
        return self.family.bottleneck.project(action_B1A[:, 0].float(), self.capacity_B)

    @torch.no_grad()
    def apply(self, action_BA: Tensor) -> RolloutState:
        """Return the state after one step with latent actions."""
        with autocast(self.state_BND.device, self.precision):
            predicted, cache = self.family.world_model(
                self.state_BND[:, None], action_BA[:, None], self.capacity_B, self.cache, self.carry, self.reference_BND
            )
        return replace(self, state_BND=predicted.state_BTND[:, 0].float(), cache=cache, carry=predicted.carry)

    @property
    def current(self) -> Rollout:
        """The current state as a rollout of a single frame, which `LatentActionModel.render` can render."""
        return Rollout(
            start_BND=self.reference_BND,
            state_BUND=self.state_BND[:, None],
            flow_BU2HW=self.carry.flow_X2HW[:, None],
            visible_BU1HW=self.carry.visible_X1HW[:, None],
        )

    @property
    def nbytes(self) -> int:
        """Size in bytes of the tensors, including the cache and the reference."""
        tensors = (self.state_BND, self.carry.flow_X2HW, self.carry.visible_X1HW, self.reference_BND)
        return self.cache.nbytes + sum(tensor.nbytes for tensor in tensors)

    @property
    def visible_fraction(self) -> float:
        """Mean fraction of the current frame that is visible in the reference frame, 0 to 1."""
        return self.carry.visible_X1HW.mean().item()

    @property
    def has_lost_reference(self) -> bool:
        """Whether so little of the current frame is visible in its reference frame that `reset_reference` is due."""
        return self.visible_fraction < MIN_VISIBLE_FRACTION

    def reset_reference(self) -> RolloutState:
        """Return the same state with the current frame as its reference frame.

        Needed in long rollouts, once little of the old reference frame is visible.
        """
        carry = Carry.start(len(self.state_BND), self.carry.flow_X2HW.shape[-1], self.state_BND.device)
        return replace(self, carry=carry, reference_BND=self.state_BND)

    def repeat(self, copies: int) -> RolloutState:
        """Repeat each clip `copies` times along the batch."""
        return replace(
            self,
            capacity_B=self.capacity_B.repeat_interleave(copies),
            state_BND=self.state_BND.repeat_interleave(copies, dim=0),
            cache=self.cache.repeat(copies),
            carry=self.carry.repeat(copies),
            reference_BND=self.reference_BND.repeat_interleave(copies, dim=0),
        )


@torch.no_grad()
def start_rollout(
    family: Family,
    context_BTND: Tensor,
    action_BUA: Tensor | None,
    capacity_B: Tensor,
    controller: Controller | None = None,
    precision: str = "float32",
) -> RolloutState:
    """Return the state of a rollout after T context states.

    action_BUA: the U = T - 1 latent actions between the context states; None for a single one. controller, precision:
    see `RolloutState`. Raises ValueError if there are not T - 1 actions.
    """
    frames = context_BTND.shape[1]
    actions = 0 if action_BUA is None else action_BUA.shape[1]
    if actions != frames - 1:
        raise ValueError(f"{frames} context states need {frames - 1} actions between them, got {actions}.")
    cache = KeyValueCache()
    if action_BUA is not None and actions:
        with autocast(context_BTND.device, precision):
            _, cache = family.world_model(context_BTND[:, :-1], action_BUA, capacity_B)
    carry = Carry.start(len(context_BTND), family.world_model.map_size, context_BTND.device)
    state_BND = context_BTND[:, -1]
    return RolloutState(family, controller, capacity_B, state_BND, cache, precision, carry, state_BND)
