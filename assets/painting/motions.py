"""Motions of the gallery's scenes, as formulas over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.data.motion_tracks import ActionTrack

RATE = 12  # frames a second


def steady(second_U: Tensor) -> Tensor:
    """Constant speed."""
    return torch.ones_like(second_U)


def halfway(second_U: Tensor) -> Tensor:
    """Full speed, then still."""
    return (second_U < 1.3).float()


def to_and_fro(second_U: Tensor, seconds: float = 2.4) -> Tensor:
    """Move there and back with smooth acceleration."""
    return torch.cos(math.tau * second_U / seconds)


def hops(second_U: Tensor, seconds: float = 4 / 3) -> Tensor:
    """Speed of a ball that bounces."""
    return 1 - 2 * ((second_U / seconds) % 1)


def wander(second_U: Tensor) -> Tensor:
    """Slow waves of different periods, (U, 4)."""
    period_4, phase_4 = torch.tensor([5.3, 3.7, 4.4, 6.1]), torch.tensor([0.0, 1.3, 2.6, 0.7])
    return torch.cos(math.tau * second_U[:, None] / period_4 + phase_4)


Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A motion as rates per second times a beat, shared or one each; objects begin at `start`."""

    camera: tuple[float, float, float, float] = (0, 0, 0, 0)  # pan x, pan y (frame widths), log zoom, roll
    things: tuple[Triple, ...] = ()  # x, y, turn of each thing
    start: tuple[Triple, ...] = ()
    beat: Callable[[Tensor], Tensor] = steady
    seconds: float = 3.0

    def track(self) -> ActionTrack:
        """Return the motion for the renderer, as rates per frame of one clip."""
        frames = round(RATE * self.seconds)
        beat = self.beat((torch.arange(frames - 1) + 0.5) / RATE) / RATE
        beat_U4 = beat if beat.ndim == 2 else beat[:, None].expand(-1, 4)
        things_K3 = torch.tensor(self.things).reshape(-1, 3)
        return ActionTrack(
            (beat_U4 * torch.tensor(self.camera))[None],
            (beat_U4[:, None, :3] * things_K3)[None],
            torch.tensor(self.start, dtype=torch.float32).reshape(1, -1, 3),
        )


HERE = ((0, 0.04, 0),)  # where a single thing stands, so that one scene's action finds the other's thing
LEFT, HIGH, SIDES = ((-0.24, 0.02, 0),), ((0.0, -0.26, 0),), ((-0.25, -0.12, 0), (0.25, 0.12, 0))

PAN_RIGHT = Motion(camera=(0.165, 0, 0, 0))
PAN_LEFT = Motion(camera=(-0.165, 0, 0, 0))
TILT_UP = Motion(camera=(0, -0.15, 0, 0))
ZOOM_IN = Motion(camera=(0, 0, 0.26, 0))
ZOOM_OUT = Motion(camera=(0, 0, -0.22, 0))
ROLL = Motion(camera=(0, 0, 0, 0.26))
SWING = Motion(camera=(0.3, 0, 0, 0), beat=to_and_fro)
CALM = Motion()
STAND = Motion(things=((0, 0, 0),), start=HERE)
DRIFT = Motion(things=((0.17, 0, 0),), start=LEFT)
FALL = Motion(things=((0.03, 0.19, 0.5),), start=HIGH)
HOP = Motion(things=((0, -0.5, 0),), start=HERE, beat=hops)
SPIN = Motion(things=((0, 0, 0.9),), start=HERE)
CROSS = Motion(things=((0.17, 0, 0), (-0.17, 0, 0)), start=SIDES)
STOP = Motion(things=((0.24, 0, 0),), start=LEFT, beat=halfway)
CHASE = Motion(camera=(0.13, 0, 0, 0), things=((0.06, -0.1, 0.1),), start=((0.1, 0.14, 0),))

WANDER = Motion(camera=(0.2, 0.14, 0.2, 0.22), beat=wander, seconds=8)
ROAM = Motion(things=((0.26, 0.24, 0.7),), start=((0.0, 0.05, 0),), beat=wander, seconds=8)
