"""Films of the simulated robots of `lawm_core/simulation` under scripted actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.simulation.robots import build_robot
from painting.motions import RATE, steady
from painting.scene import PIXELS


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One clip: a robot's scene by its seed, and the robot's actions as rates per second times a beat."""

    file: str
    title: str
    about: str
    robot: str
    seed: int
    rates: tuple[float, ...]
    beat: Callable[[Tensor], Tensor] = steady
    seconds: float = 3.0

    def film(self) -> Tensor:
        """Return frame_TCHW in [0, 1]."""
        frames = round(RATE * self.seconds)
        beat_U = self.beat((torch.arange(frames - 1) + 0.5) / RATE) / RATE
        action_UR = beat_U[:, None].double() * torch.tensor(self.rates, dtype=torch.float64)
        world = build_robot(self.robot, PIXELS, RATE)
        try:
            return torch.stack([world.reset(self.seed), *(world.step(a.numpy()) for a in action_UR)])
        finally:
            world.close()
