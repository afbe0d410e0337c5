"""Costs that planners minimise, computed from the final states of plans."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GoalStateCost:
    """L1 distance between a plan's final state and the state of the goal, goal_ND.

    World models are trained with the same distance, and V-JEPA 2-AC also plans with it. The paper's Euclidean distance
    [LAWM §4.7] is not used, because the tokens that are predicted worst dominate it.
    """

    goal_ND: Tensor

    def cost(self, final_SND: Tensor) -> Tensor:
        """Return the mean absolute difference between each final state and the goal, cost_S."""
        return (final_SND.float() - self.goal_ND).abs().flatten(1).mean(dim=1)
