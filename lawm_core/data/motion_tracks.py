"""Motion of synthetic scenes: random tracks of the camera and of free objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """Motion and appearance of synthetic scenes.

    Speeds are per frame and are the largest that are drawn. Lengths are in frame widths, angles in radians, and zoom is
    a natural logarithm.
    """

    frame_size: int = 64  # pixels
    objects: int = 3  # per scene
    camera_share: float = 0.8  # fraction of clips in which the camera moves
    object_share: float = 0.8  # fraction of clips in which objects move
    pan: float = 0.055  # speed of the camera, in x and in y
    zoom: float = 0.06  # speed of the camera
    roll: float = 0.06  # speed of the camera
    move: float = 0.06  # speed of an object, in x and in y
    turn: float = 0.25  # speed of an object
    change: float = 0.4  # probability per frame that a motion is drawn again
    rest: float = 0.3  # probability that a drawn motion is zero
    light: float = 0.12  # amplitude of the drift of brightness and contrast
    noise: float = 0.02  # largest standard deviation of pixel noise
    stills_share: float = 0.6  # fraction of backgrounds and textures that are still frames, if there are any
    recolor: float = 1.0  # strength of recolouring of still frames
    background_pixels: int = 192  # size of a background's texture, which covers two frame widths
    object_pixels: int = 48  # size of an object's texture
    supersample: int = 1  # rendered pixels per pixel of the result, in each direction
    figures: bool = False  # one articulated figure per scene instead of `objects` free objects


def rand(generator: Generator, *shape: int) -> Tensor:
    """Return random numbers uniform in [0, 1), on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def integrate(rate: Tensor) -> Tensor:
    """Return the cumulative sums of rates (B, U, ...) over time, starting at zero: (B, T, ...)."""
    return F.pad(rate.cumsum(dim=1), (0, 0) * (rate.ndim - 2) + (1, 0))


@dataclass(frozen=True)
class Track:
    """Base class of motion tracks: how the camera and the objects of a batch of scenes move from frame to frame.

    Both scenes of a synthetic pair share one track. The first axis of every field is the batch. camera_BU4: change of
    the camera per transition: pan x, pan y (frame widths), log zoom, roll (radians).
    """

    camera_BU4: Tensor

    def paths(self) -> tuple[Tensor, Tensor]:
        """Return the poses at every frame: camera_BT4, and part_BTX3 with x, y and angle of each object or limb."""
        raise NotImplementedError

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Select clips of the batch."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True)
class ActionTrack(Track):
    """Motion of the camera and of free objects.

    object_BUX3: change of x, y and angle of each object per transition. start_BX3: x, y and angle in the first frame.
    """

    object_BUX3: Tensor
    start_BX3: Tensor

    def paths(self) -> tuple[Tensor, Tensor]:
        """See `Track.paths`."""
        return integrate(self.camera_BU4), integrate(self.object_BUX3) + self.start_BX3[:, None]


def draw_track(config: SyntheticConfig, clips: int, frames: int, generator: Generator) -> ActionTrack:
    """Draw a random track per clip. In some clips, the camera or the objects stand still."""
    speeds = (config.pan, config.pan, config.zoom, config.roll)
    camera_BU14 = draw_rates(speeds, 1, config, clips, frames - 1, generator)
    speeds = (config.move, config.move, config.turn)
    object_BUX3 = draw_rates(speeds, config.objects, config, clips, frames - 1, generator)
    camera_moves = rand(generator, clips, 1, 1) < config.camera_share
    objects_move = rand(generator, clips, 1, 1, 1) < config.object_share
    # Some objects start outside the frame and may enter it; the others may leave it.
    extent_3 = torch.tensor([1.25, 1.25, 2 * math.pi], device=generator.device)
    start_BX3 = (rand(generator, clips, config.objects, 3) - 0.5) * extent_3
    return ActionTrack(camera_BU14[:, :, 0] * camera_moves, object_BUX3 * objects_move, start_BX3)


def draw_rates(
    speeds: tuple[float, ...], groups: int, config: SyntheticConfig, clips: int, transitions: int, generator: Generator
) -> Tensor:
    """Draw random rates that stay constant for some frames and then change: (B, U, groups, len(speeds)).

    speeds: largest absolute rate of each dimension. groups: number of objects, each of which changes at its own times.
    """
    speed = torch.tensor(speeds, device=generator.device)
    rate = torch.zeros(clips, groups, len(speeds), device=generator.device)
    rates = []
    for u in range(transitions):
        changes = rand(generator, clips, groups, 1) < (1.0 if u == 0 else config.change)
        drawn = (2 * rand(generator, *rate.shape) - 1) * speed
        used = rand(generator, *rate.shape) < 0.7
        moving = rand(generator, clips, groups, 1) >= config.rest
        rate = torch.where(changes, drawn * used * moving, rate)
        rates.append(rate)
    return torch.stack(rates, dim=1)


def smooth_walk(clips: int, frames: int, size: float, generator: Generator) -> Tensor:
    """Draw a slow oscillation around zero per clip, with an amplitude of up to `size`: (B, T)."""
    phase = rand(generator, clips, 1) * 2 * math.pi
    speed = rand(generator, clips, 1) * 0.5
    amplitude = rand(generator, clips, 1) * size
    return amplitude * torch.sin(phase + speed * torch.arange(frames, device=generator.device))
