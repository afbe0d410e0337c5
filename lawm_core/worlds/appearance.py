"""What a synthetic scene looks like: outlines, textures, and the geometry that paints them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The shape of one object in every scene of a batch: a superellipse with lobes. All fields are (B, 1, 1, 1).

    half_width, half_height: in frame widths. power: 2 is an ellipse, more is boxier, less is pointed.
    """

    half_width: Tensor
    half_height: Tensor
    power: Tensor
    lobes: Tensor
    depth: Tensor
    phase: Tensor

    def local(self, at_BTHW2: Tensor, pose_BT3: Tensor) -> Tensor:
        """Convert world points to the object's own coordinates, in which it reaches about +-1: (B, T, H, W, 2)."""
        offset_BTHW2 = at_BTHW2 - pose_BT3[:, :, None, None, :2]
        angle_BT11 = pose_BT3[:, :, None, None, 2]
        cosine, sine = angle_BT11.cos(), angle_BT11.sin()
        x = (offset_BTHW2[..., 0] * cosine + offset_BTHW2[..., 1] * sine) / self.half_width
        y = (offset_BTHW2[..., 1] * cosine - offset_BTHW2[..., 0] * sine) / self.half_height
        return torch.stack((x, y), dim=-1)

    def world(self, local_BTHW2: Tensor, pose_BT3: Tensor) -> Tensor:
        """The inverse of `local`."""
        x, y = local_BTHW2[..., 0] * self.half_width, local_BTHW2[..., 1] * self.half_height
        angle_BT11 = pose_BT3[:, :, None, None, 2]
        cosine, sine = angle_BT11.cos(), angle_BT11.sin()
        turned = torch.stack((x * cosine - y * sine, x * sine + y * cosine), dim=-1)
        return turned + pose_BT3[:, :, None, None, :2]

    def distance(self, local_BTHW2: Tensor) -> Tensor:
        """How far out points lie, (B, T, H, W): below 1 inside the object, above 1 outside."""
        x, y = local_BTHW2.unbind(-1)
        radius = 1 + self.depth * torch.cos(self.lobes * torch.atan2(y, x + 1e-6) + self.phase)
        return (x.abs() ** self.power + y.abs() ** self.power + 1e-9) ** (1 / self.power) / radius


@dataclass(frozen=True)
class Appearance:
    """What a batch of scenes looks like: background_BCHW, and an outline and a texture_BCHW for each object."""

    background_BCHW: Tensor
    objects: tuple[tuple[Outline, Tensor], ...]

    @property
    def outlines(self) -> tuple[Outline, ...]:
        """The objects' shapes, the rearmost first."""
        return tuple(outline for outline, _ in self.objects)


def draw_outline(clips: int, generator: Generator) -> Outline:
    """A random shape, star-like or boxy, from a tenth to a quarter of the frame."""
    draw = lambda low, high: (
        low + (high - low) * torch.rand(clips, 1, 1, 1, generator=generator, device=generator.device)
    )
    radius, stretch = draw(0.09, 0.24), draw(0.6, 1.6)
    power, lobes, depth, phase = draw(1.2, 6.0), draw(2, 6.99).floor(), draw(0, 0.35), draw(0, 2 * math.pi)
    return Outline(
        half_width=radius * stretch.sqrt(), half_height=radius / stretch.sqrt(), power=power, lobes=lobes, depth=depth,
        phase=phase,
    )  # fmt: skip


def world_points(camera_BT4: Tensor, size: int) -> Tensor:
    """Where each pixel lies in the world, (B, T, H, W, 2) in frame widths; the first frame spans +-0.5."""
    line = (torch.arange(size, device=camera_BT4.device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    pan_x, pan_y, zoom, roll = (c[..., None, None] for c in camera_BT4.unbind(-1))
    scale = torch.exp(-zoom)
    world_x = (x * roll.cos() - y * roll.sin()) * scale + pan_x
    world_y = (x * roll.sin() + y * roll.cos()) * scale + pan_y
    return torch.stack((world_x, world_y), dim=-1)


def frame_points(world_BTHW2: Tensor, camera_BT4: Tensor) -> Tensor:
    """Where points of the world lie in the frame, (B, T, H, W, 2) in frame widths from its centre: the inverse of
    `world_points`.
    """
    pan_x, pan_y, zoom, roll = (c[..., None, None] for c in camera_BT4.unbind(-1))
    scale = torch.exp(zoom)
    x, y = (world_BTHW2[..., 0] - pan_x) * scale, (world_BTHW2[..., 1] - pan_y) * scale
    return torch.stack((x * roll.cos() + y * roll.sin(), y * roll.cos() - x * roll.sin()), dim=-1)


def paint(frame_BTCHW: Tensor, at_BTHW2: Tensor, pose_BT3: Tensor, outline: Outline, texture_BCHW: Tensor) -> Tensor:
    """Paint one object of each scene over the frames so far, with a soft edge of a pixel and a half."""
    local_BTHW2 = outline.local(at_BTHW2, pose_BT3)
    distance_BTHW = outline.distance(local_BTHW2)
    radius = (outline.half_width * outline.half_height).sqrt()
    softness = 1.5 / (frame_BTCHW.shape[-1] * radius)
    alpha = ((1 - distance_BTHW) / softness + 0.5).clamp(0, 1)[:, :, None]
    texture = sample_texture(texture_BCHW, local_BTHW2 * 0.7)
    shade = 1 - 0.35 * (distance_BTHW.clamp(0, 1) ** 2)[:, :, None]  # rounder and easier to tell from the ground
    return frame_BTCHW * (1 - alpha) + texture * shade * alpha


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
