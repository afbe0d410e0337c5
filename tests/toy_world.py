"""A simulator whose frames show what their labels should be."""

import numpy as np
import torch

from lawm_core.simulation.simulator import ActionDimension


class ToyWorld:
    """A simulator of a bright square whose position is the pose, so that frames show what the labels should be."""

    frames_per_second = 6.0
    action_dims = (ActionDimension("dx", "m", 1.0), ActionDimension("dy", "m", 1.0))

    def reset(self, seed):
        self.rng = np.random.default_rng(seed)
        self.at = self.rng.integers(8, 24, 2).astype(float)
        return self.render()

    def step(self, action_R):
        self.at = self.at + action_R
        return self.render()

    def render(self):
        frame = torch.full((3, 40, 40), 0.2)
        x, y = self.at.round().astype(int)
        frame[:, y : y + 8, x : x + 8] = 0.9
        return frame

    def pose(self):
        return self.at.copy()

    def action_between(self, before_R, after_R):
        return after_R - before_R

    def demonstrate(self, frames):
        for _ in range(frames):
            yield self.rng.integers(-1, 2, 2).astype(float)

    def save(self):
        return self.at.copy()

    def restore(self, saved_state):
        self.at = saved_state.copy()
