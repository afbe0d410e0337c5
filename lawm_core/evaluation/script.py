"""Action scripts: what should happen, one row a step, made of actions from anywhere and sums of them.

A step is a weighted sum of named actions around rest (the action of a scene in which nothing happens), done a number of
times: weight -1 inverts, 2 doubles, (1 - s, s) interpolates, (1, 1) adds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.schema import build_dataclass

MOST_STEPS, MOST_TERMS, MOST_WEIGHT = 64, 8, 4.0


@dataclass(frozen=True, kw_only=True)
class Term:
    """One named action and its weight."""

    action: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not -MOST_WEIGHT <= self.weight <= MOST_WEIGHT:
            raise ValueError(f"an action's weight is {self.weight}; needed: {-MOST_WEIGHT:g} to {MOST_WEIGHT:g}.")


@dataclass(frozen=True, kw_only=True)
class ScriptStep:
    """A sum of actions, done `repeat` times; without terms, rest."""

    terms: tuple[Term, ...] = ()
    repeat: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= MOST_STEPS or len(self.terms) > MOST_TERMS:
            raise ValueError(
                f"a step has {len(self.terms)} actions, {self.repeat} times; "
                f"needed: at most {MOST_TERMS}, 1 to {MOST_STEPS} times."
            )


@dataclass(frozen=True, kw_only=True)
class ActionScript:
    """Steps in order; at most MOST_STEPS frames in all."""

    steps: tuple[ScriptStep, ...] = ()

    def __post_init__(self) -> None:
        if self.frames > MOST_STEPS:
            raise ValueError(f"the script runs for {self.frames} frames; needed: at most {MOST_STEPS}.")

    def names(self) -> set[str]:
        """Every action the script speaks of."""
        return {term.action for step in self.steps for term in step.terms}

    @property
    def frames(self) -> int:
        """How many frames the script makes."""
        return sum(step.repeat for step in self.steps)

    def actions(self, look_up: Callable[[str], Tensor], rest_A: Tensor) -> Tensor:
        """action_UA. `look_up` gives the action of a name; it raises ValueError for one it does not know."""
        rows = []
        for step in self.steps:
            action_A = rest_A.clone()
            for term in step.terms:
                action_A = action_A + term.weight * (look_up(term.action) - rest_A)
            rows += [action_A] * step.repeat
        return torch.stack(rows) if rows else rest_A.new_zeros(0, len(rest_A))


def read_script(fields: object) -> ActionScript:
    """A script from plain JSON values. Raises ValueError that says what does not fit."""
    return build_dataclass(ActionScript, fields)
