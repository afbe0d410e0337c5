"""Toy robots that record labelled episodes."""

from __future__ import annotations

import numpy as np

from lawm_core.simulation.simulator import ActionDimension
from tests.toy_world import ToyWorld

__all__ = ["ToyRover", "ToyWorld"]


class ToyRover(ToyWorld):
    """The toy robot with a rover's action dimensions; it never turns."""

    action_dims = tuple(ActionDimension(name, "m", 1.0) for name in ("dx", "dy", "dyaw"))

    def pose(self):
        return np.array((*self.at, 0.0))

    def step(self, action_R):
        return super().step(action_R[:2])

    def demonstrate(self, frames):
        yield from (np.array((*action_R, 0.0)) for action_R in super().demonstrate(frames))
