"""What a plan is for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GoalState:
    """Ends are wanted near a goal picture's state, goal_ND: the Euclidean distance over all its numbers [LAWM §4.7]."""

    goal_ND: Tensor

    def cost(self, end_SND: Tensor) -> Tensor:
        """cost_S."""
        return (end_SND.float() - self.goal_ND).flatten(1).norm(dim=1)
