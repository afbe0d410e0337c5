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


@dataclass(frozen=True)
class Twins:
    """Two looks under one track: first_BTCHW and second_BTCHW in [0, 1], and the outlines of the objects in each."""

    first_BTCHW: Tensor
    second_BTCHW: Tensor
    track: ActionTrack | FigureTrack
    first_outlines: tuple[Outline, ...] = ()
    second_outlines: tuple[Outline, ...] = ()


class TwinWorld:
    """Draws tracks and looks, and renders them.

    stills_SCHW: frames in [0, 1] to take backgrounds and textures from (squares of any size), or none.
    """

    def __init__(self, config: TwinConfig, stills_SCHW: Tensor | None = None) -> None:
        self.config, self.stills_SCHW = config, stills_SCHW

    def draw(self, clips: int, frames: int, generator: Generator) -> Twins:
        """`clips` twins of `frames` frames, the same for the same generator state."""
        draw = draw_figure_track if self.config.figures else draw_track
        track = draw(self.config, clips, frames, generator)
        (first, first_outlines), (second, second_outlines) = (self.show(track, generator) for _ in range(2))
        return Twins(first, second, track, first_outlines, second_outlines)

    def render(self, track: ActionTrack | FigureTrack, generator: Generator) -> Tensor:
        """frame_BTCHW: the track with freshly drawn looks."""
        return self.show(track, generator)[0]

    def show(self, track: ActionTrack | FigureTrack, generator: Generator) -> tuple[Tensor, tuple[Outline, ...]]:
        """frame_BTCHW of the track with freshly drawn looks, and the outlines of its objects."""
        device, config = generator.device, self.config
        camera_BT4, object_BTK3 = track.paths()
        clips, frames = camera_BT4.shape[:2]
        size = config.frame_size * config.supersample
        at_BTHW2 = world_points(camera_BT4, size)
        looks = self.draw_appearance(track, generator)
        frame_BTCHW = sample_texture(looks.background_BCHW, at_BTHW2)
        for (outline, texture_BCHW), pose_BT3 in zip(looks.objects, object_BTK3.unbind(2), strict=True):
            frame_BTCHW = paint(frame_BTCHW, at_BTHW2, pose_BT3, outline, texture_BCHW)
        if config.supersample > 1:
            flat = F.avg_pool2d(frame_BTCHW.flatten(0, 1), config.supersample)
            frame_BTCHW = flat.unflatten(0, (clips, frames))
        light_BT = smooth_walk(clips, frames, config.light, generator)
        contrast_BT = 1 + smooth_walk(clips, frames, config.light, generator)
        level_B = torch.rand(clips, 1, 1, 1, 1, generator=generator, device=device) * config.noise
        frame_BTCHW = (frame_BTCHW - 0.5) * contrast_BT[..., None, None, None] + 0.5 + light_BT[..., None, None, None]
        noise = torch.randn(frame_BTCHW.shape, generator=generator, device=device) * level_B
        return (frame_BTCHW + noise).clamp(0, 1), looks.outlines

    def draw_appearance(self, track: ActionTrack | FigureTrack, generator: Generator) -> Appearance:
        """Draw a background, outlines and textures for the scenes of a track."""
        clips, config = track.camera_BU4.shape[0], self.config
        background_BCHW = self._textures(clips, config.background_pixels, generator)
        objects = []
        for k in range(track.parts):
            own = figure_outline(track, k, generator) if isinstance(track, FigureTrack) else draw_outline(clips, generator)
            objects.append((own, self._textures(clips, config.object_pixels, generator)))
        return Appearance(background_BCHW, tuple(objects))

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


def draw_outline(clips: int, generator: Generator) -> Outline:
    """A random shape, star-like or boxy, from a tenth to a quarter of the frame."""
    draw = lambda low, high: low + (high - low) * torch.rand(clips, 1, 1, 1, generator=generator, device=generator.device)
    radius, stretch = draw(0.09, 0.24), draw(0.6, 1.6)
    power, lobes, depth, phase = draw(1.2, 6.0), draw(2, 6.99).floor(), draw(0, 0.35), draw(0, 2 * math.pi)
    return Outline(
        half_width=radius * stretch.sqrt(), half_height=radius / stretch.sqrt(), power=power, lobes=lobes, depth=depth,
        phase=phase,
    )  # fmt: skip


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


# ---- articulated figures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Limb:
    """A part of a figure. parent: index of the part that it hangs from; joint_x, joint_y: where, in the parent's own
    coordinates; half_width, half_length: in units of the figure's height. A limb's joint is the upper end of its axis.
    """

    parent: int
    joint_x: float
    joint_y: float
    half_width: float
    half_length: float


BODY = (  # from back to front: far arm and leg, torso and head, near leg and arm
    Limb(parent=4, joint_x=-0.7, joint_y=-0.85, half_width=0.045, half_length=0.11),
    Limb(parent=0, joint_x=0.0, joint_y=0.95, half_width=0.04, half_length=0.11),
    Limb(parent=4, joint_x=-0.45, joint_y=0.95, half_width=0.06, half_length=0.13),
    Limb(parent=2, joint_x=0.0, joint_y=0.95, half_width=0.05, half_length=0.13),
    Limb(parent=-1, joint_x=0.0, joint_y=0.0, half_width=0.11, half_length=0.17),
    Limb(parent=4, joint_x=0.0, joint_y=-1.55, half_width=0.075, half_length=0.09),
    Limb(parent=4, joint_x=0.45, joint_y=0.95, half_width=0.06, half_length=0.13),
    Limb(parent=6, joint_x=0.0, joint_y=0.95, half_width=0.05, half_length=0.13),
    Limb(parent=4, joint_x=0.7, joint_y=-0.85, half_width=0.045, half_length=0.11),
    Limb(parent=8, joint_x=0.0, joint_y=0.95, half_width=0.04, half_length=0.11),
)
TORSO = 4


@dataclass(frozen=True)
class FigureTrack:
    """What a figure and the camera do, as rates between frames, the same for both twins.

    camera_BU4: as in `ActionTrack`. root_BU3: x, y, turn of the torso. joint_BUK: turn of each limb at its joint, 0 for
    the torso. start_BK: angles at first. place_B3: where the torso stands at first, and the figure's height.
    """

    camera_BU4: Tensor
    root_BU3: Tensor
    joint_BUK: Tensor
    start_BK: Tensor
    place_B3: Tensor

    @property
    def parts(self) -> int:
        """How many limbs there are, torso and head included."""
        return len(BODY)

    def paths(self) -> tuple[Tensor, Tensor]:
        """Poses frame by frame: camera_BT4 and limb_BTK3, x, y and angle of the middle of each limb."""
        camera_BT4 = F.pad(self.camera_BU4.cumsum(dim=1), (0, 0, 1, 0))
        root_BT3 = F.pad(self.root_BU3.cumsum(dim=1), (0, 0, 1, 0))
        joint_BTK = F.pad(self.joint_BUK.cumsum(dim=1), (0, 0, 1, 0)) + self.start_BK[:, None]
        height_B1 = self.place_B3[:, 2:]
        poses: dict[int, Tensor] = {
            TORSO: torch.cat((root_BT3[..., :2] + self.place_B3[:, None, :2], root_BT3[..., 2:]), dim=-1)
        }
        while len(poses) < len(BODY):
            for k, limb in enumerate(BODY):
                if k not in poses and limb.parent in poses:
                    poses[k] = hang(limb, BODY[limb.parent], poses[limb.parent], joint_BTK[..., k], height_B1)
        return camera_BT4, torch.stack([poses[k] for k in range(len(BODY))], dim=2)

    def __getitem__(self, index: Tensor | slice) -> FigureTrack:
        """Some of the clips."""
        rates = (self.camera_BU4, self.root_BU3, self.joint_BUK, self.start_BK, self.place_B3)
        return FigureTrack(*(rate[index] for rate in rates))


def hang(limb: Limb, parent: Limb, parent_BT3: Tensor, joint_BT: Tensor, height_B1: Tensor) -> Tensor:
    """The pose of a limb that hangs from its parent at an angle, (B, T, 3)."""
    x, y, angle = parent_BT3.unbind(-1)
    across, along = limb.joint_x * parent.half_width * height_B1, limb.joint_y * parent.half_length * height_B1
    joint_x = x + across * angle.cos() - along * angle.sin()
    joint_y = y + across * angle.sin() + along * angle.cos()
    angle, length = angle + joint_BT, limb.half_length * height_B1
    return torch.stack((joint_x - length * angle.sin(), joint_y + length * angle.cos(), angle), dim=-1)


def figure_outline(track: FigureTrack, part: int, generator: Generator) -> Outline:
    """The shape of one limb: as long as the track says, and about as thick."""
    limb, height_B111 = BODY[part], track.place_B3[:, 2, None, None, None]
    clips = len(height_B111)
    draw = lambda low, high: low + (high - low) * torch.rand(clips, 1, 1, 1, generator=generator, device=generator.device)
    overlap = 1.15  # limbs reach beyond their joints, so that no gap opens where they bend
    return Outline(
        half_width=limb.half_width * height_B111 * draw(0.7, 1.5),
        half_height=limb.half_length * height_B111 * overlap,
        power=draw(2.0, 5.0),
        lobes=torch.zeros_like(height_B111),
        depth=torch.zeros_like(height_B111),
        phase=torch.zeros_like(height_B111),
    )


def draw_figure_track(config: TwinConfig, clips: int, frames: int, generator: Generator) -> FigureTrack:
    """A random track for each clip: the camera, the torso and the limbs move by turns."""
    device = generator.device
    camera_BU4 = draw_track(config, clips, frames, generator).camera_BU4
    whole_BU13 = draw_rates((config.move * 0.7, config.move * 0.7, config.turn * 0.3), 1, config, camera_BU4, generator)
    limb_BUK1 = draw_rates((config.turn * 1.2,), len(BODY), config, camera_BU4, generator)
    resting = torch.tensor([k != TORSO for k in range(len(BODY))], device=device)
    start_BK = (2 * torch.rand(clips, len(BODY), generator=generator, device=device) - 1) * 0.9 * resting
    low, high = torch.tensor([-0.3, -0.25, 0.5], device=device), torch.tensor([0.3, 0.25, 1.2], device=device)
    place_B3 = low + (high - low) * torch.rand(clips, 3, generator=generator, device=device)
    return FigureTrack(camera_BU4, whole_BU13[:, :, 0], limb_BUK1[..., 0] * resting, start_BK, place_B3)
