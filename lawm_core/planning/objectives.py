"""What a plan is for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GoalState:
    """Ends are wanted near a goal picture's state, goal_ND: the mean absolute difference over all its numbers, in which
    world models here are trained, as V-JEPA 2-AC plans. The paper's Euclidean distance [LAWM §4.7] lets the places that
    are foreseen worst decide.
    """

    goal_ND: Tensor

    def cost(self, end_SND: Tensor) -> Tensor:
        """cost_S."""
        return (end_SND.float() - self.goal_ND).abs().flatten(1).mean(dim=1)
