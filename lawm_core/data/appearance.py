"""Appearance of synthetic scenes: outlines, textures, and the geometry and rendering of objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.data.motion_tracks import rand


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Outline of one object in every scene of a batch: a superellipse with lobes. All fields are (B, 1, 1, 1).

    half_width, half_height: in frame widths. power: 2 gives an ellipse, larger values a box, smaller ones a star.
    lobes, depth, phase: number, relative depth and angle of the waves along the outline.
    """

    half_width: Tensor
    half_height: Tensor
    power: Tensor
    lobes: Tensor
    depth: Tensor
    phase: Tensor

    def local(self, point_BTHW2: Tensor, pose_BT3: Tensor) -> Tensor:
        """Convert world points to the object's coordinates, in which it covers about -1 to 1: (B, T, H, W, 2).

        pose_BT3: x, y and angle of the object.
        """
        offset_BTHW2 = point_BTHW2 - pose_BT3[:, :, None, None, :2]
        x, y = offset_BTHW2.unbind(-1)
        x, y = rotate(x, y, pose_BT3[:, :, None, None, 2], inverse=True)
        return torch.stack((x / self.half_width, y / self.half_height), dim=-1)

    def world(self, local_BTHW2: Tensor, pose_BT3: Tensor) -> Tensor:
        """Convert the object's coordinates to world points, the inverse of `local`: (B, T, H, W, 2)."""
        x, y = local_BTHW2[..., 0] * self.half_width, local_BTHW2[..., 1] * self.half_height
        offset_BTHW2 = torch.stack(rotate(x, y, pose_BT3[:, :, None, None, 2]), dim=-1)
        return offset_BTHW2 + pose_BT3[:, :, None, None, :2]

    def distance(self, local_BTHW2: Tensor) -> Tensor:
        """Return the relative distance of points from the centre, (B, T, H, W): below 1 inside the object."""
        x, y = local_BTHW2.unbind(-1)
        radius = 1 + self.depth * torch.cos(self.lobes * torch.atan2(y, x + 1e-6) + self.phase)
        return (x.abs() ** self.power + y.abs() ** self.power + 1e-9) ** (1 / self.power) / radius


@dataclass(frozen=True)
class Appearance:
    """Appearance of a batch of scenes.

    background_BCHW: texture of the background. objects: outline and texture_BCHW of each object, from back to front.
    """

    background_BCHW: Tensor
    objects: tuple[tuple[Outline, Tensor], ...]

    @property
    def outlines(self) -> tuple[Outline, ...]:
        """Outlines of the objects, from back to front."""
        return tuple(outline for outline, _ in self.objects)


def uniform(clips: int, low: float, high: float, generator: Generator) -> Tensor:
    """Draw one number per clip, uniform in [low, high): (B, 1, 1, 1)."""
    return low + (high - low) * rand(generator, clips, 1, 1, 1)


def draw_outline(clips: int, generator: Generator) -> Outline:
    """Draw a random outline per clip: between star and box, with a mean radius of 0.09 to 0.24 frame widths."""
    radius, stretch = uniform(clips, 0.09, 0.24, generator), uniform(clips, 0.6, 1.6, generator)
    return Outline(
        half_width=radius * stretch.sqrt(),
        half_height=radius / stretch.sqrt(),
        power=uniform(clips, 1.2, 6.0, generator),
        lobes=uniform(clips, 2, 6.99, generator).floor(),
        depth=uniform(clips, 0, 0.35, generator),
        phase=uniform(clips, 0, 2 * math.pi, generator),
    )


def rotate(x: Tensor, y: Tensor, angle: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Rotate points by an angle in radians, or by its negative if `inverse`."""
    cosine, sine = angle.cos(), -angle.sin() if inverse else angle.sin()
    return x * cosine - y * sine, x * sine + y * cosine


def pixel_points(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return x and y of the pixel centres of a size x size frame, (H, W) in frame widths from its centre."""
    line = (torch.arange(size, device=device) + 0.5) / size - 0.5
    x_HW, y_HW = torch.meshgrid(line, line, indexing="xy")
    return x_HW, y_HW


def world_points(camera_BT4: Tensor, size: int) -> Tensor:
    """Return the world point that each pixel shows, (B, T, H, W, 2) in frame widths.

    camera_BT4: pan x, pan y, log zoom and roll. size: height and width of the frame, in pixels. If the camera is all
    zeros, the frame shows the world from -0.5 to 0.5 in x and y.
    """
    pan_x, pan_y, zoom, roll = (value[..., None, None] for value in camera_BT4.unbind(-1))
    x, y = rotate(*pixel_points(size, camera_BT4.device), roll)
    scale = torch.exp(-zoom)
    return torch.stack((x * scale + pan_x, y * scale + pan_y), dim=-1)


def frame_points(world_BTHW2: Tensor, camera_BT4: Tensor) -> Tensor:
    """Return where the frame shows world points, (B, T, H, W, 2) in frame widths from the frame's centre.

    This is the inverse of `world_points`.
    """
    pan_x, pan_y, zoom, roll = (value[..., None, None] for value in camera_BT4.unbind(-1))
    scale = torch.exp(zoom)
    x, y = (world_BTHW2[..., 0] - pan_x) * scale, (world_BTHW2[..., 1] - pan_y) * scale
    return torch.stack(rotate(x, y, roll, inverse=True), dim=-1)


def paint(frame_BTCHW: Tensor, point_BTHW2: Tensor, pose_BT3: Tensor, outline: Outline, texture_BCHW: Tensor) -> Tensor:
    """Render one object per scene over the frames, with a soft edge of 1.5 pixels. Return frame_BTCHW."""
    local_BTHW2 = outline.local(point_BTHW2, pose_BT3)
    distance_BTHW = outline.distance(local_BTHW2)
    radius = (outline.half_width * outline.half_height).sqrt()
    softness = 1.5 / (frame_BTCHW.shape[-1] * radius)
    alpha = ((1 - distance_BTHW) / softness + 0.5).clamp(0, 1)[:, :, None]
    texture = sample_texture(texture_BCHW, local_BTHW2 * 0.7)
    shade = (
        1 - 0.35 * (distance_BTHW.clamp(0, 1) ** 2)[:, :, None]
    )  # darker edges look round and stand out from the background
    return frame_BTCHW * (1 - alpha) + texture * shade * alpha


def sample_texture(texture_BCHW: Tensor, point_BTHW2: Tensor) -> Tensor:
    """Sample textures at points, (B, T, C, H, W). A texture covers -1 to 1 in x and y and is mirrored outside."""
    frames = point_BTHW2.shape[1]
    grid = point_BTHW2.flatten(1, 2)  # frames are stacked along the height, for a single call
    sampled = F.grid_sample(texture_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return sampled.unflatten(2, (frames, -1)).transpose(1, 2)


def procedural_textures(count: int, size: int, generator: Generator) -> Tensor:
    """Draw textures texture_XCHW in [0, 1] of size x size pixels: clouds, or stripes or checks of two colours."""
    device = generator.device
    clouds = torch.zeros(count, 3, size, size, device=device)
    weight_sum = torch.zeros(count, 1, 1, 1, device=device)
    for side in (3, 6, 12, 24):
        octave = F.interpolate(
            rand(generator, count, 3, side, side), size=(size, size), mode="bicubic", align_corners=False
        )
        weight = rand(generator, count, 1, 1, 1)
        clouds, weight_sum = clouds + weight * octave, weight_sum + weight
    contrast = 1.5 + 2.5 * rand(generator, count, 1, 1, 1)
    clouds = ((clouds / weight_sum - 0.5) * contrast + 0.5).clamp(0, 1)
    line = torch.linspace(-1, 1, size, device=device)
    x, y = torch.meshgrid(line, line, indexing="xy")
    number = lambda: rand(generator, count, 1, 1)
    angle, waves, sharpness = number() * math.pi, 2 + 7 * number(), 1 + 5 * number()
    along, across = rotate(x, y, angle, inverse=True)
    stripes = torch.sin(math.pi * waves * along + 6 * number())
    checks = stripes * torch.sin(math.pi * waves * across + 6 * number())
    pattern = torch.where(number() < 0.5, stripes, checks)
    mix = torch.sigmoid(sharpness * 2 * pattern)[:, None]
    first, second = rand(generator, count, 3, 1, 1), rand(generator, count, 3, 1, 1)
    printed = (first * mix + second * (1 - mix)) * (0.6 + 0.4 * clouds.mean(dim=1, keepdim=True) * 2)
    return torch.where(rand(generator, count, 1, 1, 1) < 0.55, clouds, printed).clamp(0, 1)


def recolor(frame_BTCHW: Tensor, generator: Generator, strength: float = 1.0) -> Tensor:
    """Recolour each clip as a whole, so that its appearance changes and its motion does not: frame_BTCHW in [0, 1].

    Applies a random mix of the colour channels, then gamma, contrast and brightness. strength: 0 changes nothing.
    """
    clips, device = frame_BTCHW.shape[0], frame_BTCHW.device
    mixing_B33 = rand(generator, clips, 3, 3) ** 2 + 0.05
    mixing_B33 = mixing_B33 / mixing_B33.sum(dim=-1, keepdim=True)
    mixing_B33 = torch.eye(3, device=device) * (1 - strength) + strength * mixing_B33
    mixed_BTCHW = torch.einsum("b t c h w, b d c -> b t d h w", frame_BTCHW, mixing_B33)
    draw = lambda scale: scale * (rand(generator, clips, 1, 3, 1, 1) - 0.5)
    gamma, contrast, light = torch.exp(draw(strength)), torch.exp(draw(strength * 0.8)), draw(strength * 0.3)
    return ((mixed_BTCHW.clamp(1e-4, 1) ** gamma - 0.5) * contrast + 0.5 + light).clamp(0, 1)
