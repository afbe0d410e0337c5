"""Action scripts: sequences of steps, each a weighted sum of named actions, repeated a number of times.

Weights apply to differences from rest, the action of a scene without motion. The weight -1 reverses an action and 2
doubles it. The weights (1 - s, s) interpolate between two actions, and (1, 1) add them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.schema import build_dataclass

MAX_FRAMES, MAX_TERMS, MAX_WEIGHT = 64, 8, 4.0


@dataclass(frozen=True, kw_only=True)
class Term:
    """The name of an action and its weight in a sum."""

    action: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not -MAX_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise ValueError(f"weight must be in [{-MAX_WEIGHT:g}, {MAX_WEIGHT:g}], got {self.weight}.")


@dataclass(frozen=True, kw_only=True)
class ScriptStep:
    """A weighted sum of actions, applied `repeat` times. A step without terms is rest, the action without motion."""

    terms: tuple[Term, ...] = ()
    repeat: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= MAX_FRAMES:
            raise ValueError(f"repeat must be in [1, {MAX_FRAMES}], got {self.repeat}.")
        if len(self.terms) > MAX_TERMS:
            raise ValueError(f"a step must have at most {MAX_TERMS} actions, got {len(self.terms)}.")


@dataclass(frozen=True, kw_only=True)
class ActionScript:
    """Steps in order; at most MAX_FRAMES frames in total."""

    steps: tuple[ScriptStep, ...] = ()

    def __post_init__(self) -> None:
        if self.frames > MAX_FRAMES:
            raise ValueError(f"a script must have at most {MAX_FRAMES} frames, got {self.frames}.")

    @classmethod
    def of(cls, names: Iterable[str]) -> ActionScript:
        """Return the script that applies each of these actions once, in this order."""
        return cls(steps=tuple(ScriptStep(terms=(Term(action=name),)) for name in names))

    def names(self) -> set[str]:
        """Return the names of all actions in the script."""
        return {term.action for step in self.steps for term in step.terms}

    @property
    def frames(self) -> int:
        """Number of predicted frames, one for each action. The first frame of the target is not counted."""
        return sum(step.repeat for step in self.steps)

    def actions(self, look_up: Callable[[str], Tensor], rest_A: Tensor) -> Tensor:
        """Return the latent actions of all steps, action_UA.

        look_up: function that returns the latent action with a name, or raises ValueError if the name is unknown.
        rest_A: the latent action without motion.
        """
        rows = []
        for step in self.steps:
            action_A = rest_A.clone()
            for term in step.terms:
                action_A = action_A + term.weight * (look_up(term.action) - rest_A)
            rows += [action_A] * step.repeat
        return torch.stack(rows) if rows else rest_A.new_zeros(0, len(rest_A))


def read_script(fields: object) -> ActionScript:
    """Build a script from JSON values. Raises ValueError if they are not a script."""
    return build_dataclass(ActionScript, fields)
