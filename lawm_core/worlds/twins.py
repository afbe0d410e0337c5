"""Procedural scenes with known actions, made in batches on any device.

A **twin** is two scenes with different looks under one action track, with both true futures: the ground truth for
transfer that no real video has. The track holds a camera (pan, zoom, roll) and objects (move, turn, stop, enter,
leave); it changes often and at random, so that the past does not foretell the next frame. Looks (background, shapes,
textures, light, noise) are drawn for each scene on its own.
"""

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

    def __getitem__(self, index: Tensor | slice) -> ActionTrack:
        """Some of the clips."""
        return ActionTrack(self.camera_BU4[index], self.object_BUK3[index], self.start_BK3[index])


@dataclass(frozen=True)
class Twins:
    """Two looks under one track: first_BTCHW and second_BTCHW in [0, 1]."""

    first_BTCHW: Tensor
    second_BTCHW: Tensor
    track: ActionTrack


class TwinWorld:
    """Draws tracks and looks, and renders them.

    stills_SCHW: frames in [0, 1] to take backgrounds and textures from (squares of any size), or none.
    """

    def __init__(self, config: TwinConfig, stills_SCHW: Tensor | None = None) -> None:
        self.config, self.stills_SCHW = config, stills_SCHW

    def draw(self, clips: int, frames: int, generator: Generator) -> Twins:
        """`clips` twins of `frames` frames, the same for the same generator state."""
        track = draw_track(self.config, clips, frames, generator)
        first, second = (self.render(track, generator) for _ in range(2))
        return Twins(first, second, track)

    def render(self, track: ActionTrack, generator: Generator) -> Tensor:
        """frame_BTCHW: the track with freshly drawn looks."""
        device, config = generator.device, self.config
        camera_BT4, object_BTK3 = track.paths()
        clips, frames = camera_BT4.shape[:2]
        size = config.frame_size * config.supersample
        at_BTHW2 = world_points(camera_BT4, size)
        background_BCHW = self._textures(clips, config.background_pixels, generator)
        frame_BTCHW = sample_texture(background_BCHW, at_BTHW2)
        for k in range(object_BTK3.shape[2]):
            frame_BTCHW = self._paint(frame_BTCHW, at_BTHW2, object_BTK3[:, :, k], generator)
        if config.supersample > 1:
            flat = F.avg_pool2d(frame_BTCHW.flatten(0, 1), config.supersample)
            frame_BTCHW = flat.unflatten(0, (clips, frames))
        light_BT = smooth_walk(clips, frames, config.light, generator)
        contrast_BT = 1 + smooth_walk(clips, frames, config.light, generator)
        level_B = torch.rand(clips, 1, 1, 1, 1, generator=generator, device=device) * config.noise
        frame_BTCHW = (frame_BTCHW - 0.5) * contrast_BT[..., None, None, None] + 0.5 + light_BT[..., None, None, None]
        noise = torch.randn(frame_BTCHW.shape, generator=generator, device=device) * level_B
        return (frame_BTCHW + noise).clamp(0, 1)

    def _paint(self, frame_BTCHW: Tensor, at_BTHW2: Tensor, pose_BT3: Tensor, generator: Generator) -> Tensor:
        """One object of each clip over the picture so far: a soft star-like outline filled with a texture."""
        clips, device = frame_BTCHW.shape[0], frame_BTCHW.device
        draw = lambda low, high: low + (high - low) * torch.rand(clips, 1, 1, 1, generator=generator, device=device)
        radius, stretch = draw(0.09, 0.24), draw(0.6, 1.6)
        power, lobes, depth, phase = draw(1.2, 6.0), draw(2, 6.99).floor(), draw(0, 0.35), draw(0, 2 * math.pi)
        offset = at_BTHW2 - pose_BT3[:, :, None, None, :2]
        angle = pose_BT3[:, :, None, None, 2]
        x = (offset[..., 0] * angle.cos() + offset[..., 1] * angle.sin()) / (radius * stretch.sqrt())
        y = (offset[..., 1] * angle.cos() - offset[..., 0] * angle.sin()) / (radius / stretch.sqrt())
        outline = 1 + depth * torch.cos(lobes * torch.atan2(y, x + 1e-6) + phase)
        distance = (x.abs() ** power + y.abs() ** power + 1e-9) ** (1 / power) / outline
        softness = 1.5 / (frame_BTCHW.shape[-1] * radius)
        alpha = ((1 - distance) / softness + 0.5).clamp(0, 1)[:, :, None]
        paint = self._textures(clips, self.config.object_pixels, generator)
        texture = sample_texture(paint, torch.stack((x, y), dim=-1) * 0.7)
        shade = 1 - 0.35 * (distance.clamp(0, 1) ** 2)[:, :, None]  # rounder and easier to tell from the ground
        return frame_BTCHW * (1 - alpha) + texture * shade * alpha

    def _textures(self, count: int, size: int, generator: Generator) -> Tensor:
        """texture_BCHW: some procedural, some cut from stills and recoloured."""
        texture = procedural_textures(count, size, generator)
        if self.stills_SCHW is None:
            return texture
        device = generator.device
        pick = torch.randint(len(self.stills_SCHW), (count,), generator=generator, device=device)
        still = self.stills_SCHW[pick.to(self.stills_SCHW.device)].to(device)
        still = F.interpolate(still, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        still = recolour(still[:, None], generator, self.config.recolour)[:, 0]
        use = torch.rand(count, 1, 1, 1, generator=generator, device=device) < self.config.stills_share
        return torch.where(use, still, texture)


# ---- tracks ---------------------------------------------------------------------------------------------------------


def draw_track(config: TwinConfig, clips: int, frames: int, generator: Generator) -> ActionTrack:
    """A random track for each clip; the camera, the objects or both move."""
    device = generator.device
    transitions, objects = frames - 1, config.objects

    def rates(*speeds: float, groups: int) -> Tensor:
        """Piecewise constant rates (B, U, groups, len(speeds)), each group drawn anew at its own moments."""
        speed = torch.tensor(speeds, device=device)
        rate = torch.zeros(clips, groups, len(speeds), device=device)
        out = []
        for u in range(transitions):
            change = torch.rand(clips, groups, 1, generator=generator, device=device) < (
                1.0 if u == 0 else config.change
            )
            fresh = (2 * torch.rand(clips, groups, len(speeds), generator=generator, device=device) - 1) * speed
            used = torch.rand(fresh.shape, generator=generator, device=device) < 0.7
            moving = torch.rand(clips, groups, 1, generator=generator, device=device) >= config.rest
            rate = torch.where(change, fresh * used * moving, rate)
            out.append(rate)
        return torch.stack(out, dim=1)

    camera_BU4 = rates(config.pan, config.pan, config.zoom, config.roll, groups=1)[:, :, 0]
    object_BUK3 = rates(config.move, config.move, config.turn, groups=objects)
    camera_moves = torch.rand(clips, 1, 1, generator=generator, device=device) < config.camera_share
    objects_move = torch.rand(clips, 1, 1, 1, generator=generator, device=device) < config.object_share
    start = torch.rand(clips, objects, 3, generator=generator, device=device) - 0.5
    # Some objects start outside and may enter; the rest may leave.
    start = start * torch.tensor([1.25, 1.25, 2 * math.pi], device=device)
    return ActionTrack(camera_BU4 * camera_moves, object_BUK3 * objects_move, start)


def smooth_walk(clips: int, frames: int, size: float, generator: Generator) -> Tensor:
    """A slow drift around zero, (B, T), of about `size`."""
    device = generator.device
    phase = torch.rand(clips, 1, generator=generator, device=device) * 2 * math.pi
    speed = torch.rand(clips, 1, generator=generator, device=device) * 0.5
    amount = torch.rand(clips, 1, generator=generator, device=device) * size
    return amount * torch.sin(phase + speed * torch.arange(frames, device=device))


# ---- pictures -------------------------------------------------------------------------------------------------------


def world_points(camera_BT4: Tensor, size: int) -> Tensor:
    """Where each pixel lies in the world, (B, T, H, W, 2) in frame widths; the first frame spans +-0.5."""
    line = (torch.arange(size, device=camera_BT4.device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    pan_x, pan_y, zoom, roll = (c[..., None, None] for c in camera_BT4.unbind(-1))
    scale = torch.exp(-zoom)
    world_x = (x * roll.cos() - y * roll.sin()) * scale + pan_x
    world_y = (x * roll.sin() + y * roll.cos()) * scale + pan_y
    return torch.stack((world_x, world_y), dim=-1)


def sample_texture(texture_BCHW: Tensor, at_BTHW2: Tensor) -> Tensor:
    """The texture at those points, (B, T, C, H, W); it spans +-1 and is mirrored beyond."""
    _clips, frames = at_BTHW2.shape[:2]
    grid = at_BTHW2.flatten(1, 2)  # frames stacked along the height: one call for the clip
    out = F.grid_sample(texture_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return out.unflatten(2, (frames, -1)).transpose(1, 2)


def procedural_textures(count: int, size: int, generator: Generator) -> Tensor:
    """(count, 3, size, size) in [0, 1]: clouds, stripes, checks and spots of few colours."""
    device = generator.device
    rand = lambda *shape: torch.rand(*shape, generator=generator, device=device)
    clouds = torch.zeros(count, 3, size, size, device=device)
    weight_sum = torch.zeros(count, 1, 1, 1, device=device)
    for cells in (3, 6, 12, 24):
        octave = F.interpolate(rand(count, 3, cells, cells), size=(size, size), mode="bicubic", align_corners=False)
        weight = rand(count, 1, 1, 1)
        clouds, weight_sum = clouds + weight * octave, weight_sum + weight
    clouds = ((clouds / weight_sum - 0.5) * (1.5 + 2.5 * rand(count, 1, 1, 1)) + 0.5).clamp(0, 1)
    line = torch.linspace(-1, 1, size, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle, waves, sharp = rand(count, 1, 1) * math.pi, 2 + 7 * rand(count, 1, 1), 1 + 5 * rand(count, 1, 1)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    stripes = torch.sin(math.pi * waves * along + 6 * rand(count, 1, 1))
    checks = stripes * torch.sin(math.pi * waves * across + 6 * rand(count, 1, 1))
    pattern = torch.where(rand(count, 1, 1) < 0.5, stripes, checks)
    mix = torch.sigmoid(sharp * 2 * pattern)[:, None]
    one, two = rand(count, 3, 1, 1), rand(count, 3, 1, 1)
    printed = (one * mix + two * (1 - mix)) * (0.6 + 0.4 * clouds.mean(dim=1, keepdim=True) * 2)
    kind = rand(count, 1, 1, 1)
    return torch.where(kind < 0.55, clouds, printed).clamp(0, 1)


def recolour(frame_BTCHW: Tensor, generator: Generator, strength: float = 1.0) -> Tensor:
    """The same clips in other colours, each clip changed as a whole: motion stays, appearance does not.

    A random mix of the colour channels, then contrast, brightness and gamma. strength 0 changes nothing.
    """
    clips, device = frame_BTCHW.shape[0], frame_BTCHW.device
    rand = lambda *shape: torch.rand(*shape, generator=generator, device=device)
    mixing = rand(clips, 3, 3) ** 2 + 0.05
    mixing = mixing / mixing.sum(dim=-1, keepdim=True)
    mixing = torch.eye(3, device=device) * (1 - strength) + strength * mixing
    mixed = torch.einsum("b t c h w, b d c -> b t d h w", frame_BTCHW, mixing)
    shape = (clips, 1, 3, 1, 1)
    gamma = torch.exp(strength * (rand(*shape) - 0.5))
    contrast = torch.exp(strength * 0.8 * (rand(*shape) - 0.5))
    light = strength * 0.3 * (rand(*shape) - 0.5)
    return ((mixed.clamp(1e-4, 1) ** gamma - 0.5) * contrast + 0.5 + light).clamp(0, 1)
