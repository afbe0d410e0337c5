"""What happens in a synthetic scene: tracks of the camera and of loose objects, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class TwinConfig:
    """Speeds are per frame; lengths in frame widths, angles in radians, zoom in log units."""

    frame_size: int = 64
    objects: int = 3
    camera_share: float = 0.8  # of clips whose camera moves at all
    object_share: float = 0.8  # of clips in which objects move on their own
    pan: float = 0.055
    zoom: float = 0.06
    roll: float = 0.06
    move: float = 0.06
    turn: float = 0.25
    change: float = 0.4  # chance a frame that a motion is drawn anew
    rest: float = 0.3  # chance that a motion drawn anew is none
    light: float = 0.12  # size of the drift of brightness and contrast
    noise: float = 0.02  # largest standard deviation of pixel noise
    stills_share: float = 0.6  # of backgrounds and textures taken from still frames, where there are some
    recolour: float = 1.0  # how far from their own colours stills may go
    background_pixels: int = 192  # a texture spans two frame widths
    object_pixels: int = 48
    supersample: int = 1
    figures: bool = False  # one articulated figure in each scene instead of `objects` loose ones


@dataclass(frozen=True)
class ActionTrack:
    """What happens, the same for both twins, as rates between frames.

    camera_BU4: pan x, pan y (frame widths), log zoom, roll. object_BUK3: x, y, turn of each object.
    start_BK3: where each object stands at first, and its angle.
    """

    camera_BU4: Tensor
    object_BUK3: Tensor
    start_BK3: Tensor

    def paths(self) -> tuple[Tensor, Tensor]:
        """Poses frame by frame: camera_BT4 and object_BTK3."""
        camera_BT4 = F.pad(self.camera_BU4.cumsum(dim=1), (0, 0, 1, 0))
        object_BTK3 = F.pad(self.object_BUK3.cumsum(dim=1), (0, 0, 0, 0, 1, 0)) + self.start_BK3[:, None]
        return camera_BT4, object_BTK3

    @property
    def parts(self) -> int:
        """How many objects there are."""
        return self.start_BK3.shape[1]

    def __getitem__(self, index: Tensor | slice) -> ActionTrack:
        """Some of the clips."""
        return ActionTrack(self.camera_BU4[index], self.object_BUK3[index], self.start_BK3[index])


def draw_track(config: TwinConfig, clips: int, frames: int, generator: Generator) -> ActionTrack:
    """A random track for each clip; the camera, the objects or both move."""
    device = generator.device
    objects, like = config.objects, torch.empty(clips, frames - 1, device=device)
    camera_BU4 = draw_rates((config.pan, config.pan, config.zoom, config.roll), 1, config, like, generator)[:, :, 0]
    object_BUK3 = draw_rates((config.move, config.move, config.turn), objects, config, like, generator)
    camera_moves = torch.rand(clips, 1, 1, generator=generator, device=device) < config.camera_share
    objects_move = torch.rand(clips, 1, 1, 1, generator=generator, device=device) < config.object_share
    start = torch.rand(clips, objects, 3, generator=generator, device=device) - 0.5
    # Some objects start outside and may enter; the rest may leave.
    start = start * torch.tensor([1.25, 1.25, 2 * math.pi], device=device)
    return ActionTrack(camera_BU4 * camera_moves, object_BUK3 * objects_move, start)


def draw_rates(
    speeds: tuple[float, ...], groups: int, config: TwinConfig, like_BU: Tensor, generator: Generator
) -> Tensor:
    """Piecewise constant rates of up to these speeds, (B, U, groups, len(speeds)); each group changes at its own
    moments. like_BU: a tensor whose first axes are clips and transitions.
    """
    (clips, transitions), device = like_BU.shape[:2], generator.device
    speed = torch.tensor(speeds, device=device)
    rate = torch.zeros(clips, groups, len(speeds), device=device)
    out = []
    for u in range(transitions):
        changes = torch.rand(clips, groups, 1, generator=generator, device=device) < (1.0 if u == 0 else config.change)
        fresh = (2 * torch.rand(clips, groups, len(speeds), generator=generator, device=device) - 1) * speed
        used = torch.rand(fresh.shape, generator=generator, device=device) < 0.7
        moving = torch.rand(clips, groups, 1, generator=generator, device=device) >= config.rest
        rate = torch.where(changes, fresh * used * moving, rate)
        out.append(rate)
    return torch.stack(out, dim=1)


def smooth_walk(clips: int, frames: int, size: float, generator: Generator) -> Tensor:
    """A slow drift around zero, (B, T), of about `size`."""
    device = generator.device
    phase = torch.rand(clips, 1, generator=generator, device=device) * 2 * math.pi
    speed = torch.rand(clips, 1, generator=generator, device=device) * 0.5
    amount = torch.rand(clips, 1, generator=generator, device=device) * size
    return amount * torch.sin(phase + speed * torch.arange(frames, device=device))
