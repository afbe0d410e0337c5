"""Procedural scenes with known actions, made in batches on any device.

A **twin** is two scenes with different looks under one action track, with both true futures: the ground truth for
transfer that no real video has. The track holds a camera (pan, zoom, roll) and objects (move, turn, stop, enter,
leave); it changes often and at random, so that the past does not foretell the next frame. Looks (background, shapes,
textures, light, noise) are drawn for each scene on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.worlds.appearance import (
    Appearance,
    Outline,
    draw_outline,
    paint,
    procedural_textures,
    recolour,
    sample_texture,
    world_points,
)
from lawm_core.worlds.figures import FigureTrack, draw_figure_track, figure_outline
from lawm_core.worlds.tracks import ActionTrack, TwinConfig, draw_track, smooth_walk


@dataclass(frozen=True)
class Twins:
    """Two looks under one track: first_BTCHW and second_BTCHW in [0, 1]."""

    first_BTCHW: Tensor
    second_BTCHW: Tensor
    track: ActionTrack | FigureTrack


class TwinWorld:
    """Draws tracks and looks, and renders them.

    stills_SCHW: frames in [0, 1] to take backgrounds and textures from (squares of any size), or none.
    """

    def __init__(self, config: TwinConfig, stills_SCHW: Tensor | None = None) -> None:
        self.config, self.stills_SCHW = config, stills_SCHW

    def draw(self, clips: int, frames: int, generator: Generator) -> Twins:
        """`clips` twins of `frames` frames, the same for the same generator state."""
        track = self.draw_track(clips, frames, generator)
        first, second = (self.render(track, generator) for _ in range(2))
        return Twins(first, second, track)

    def draw_track(self, clips: int, frames: int, generator: Generator) -> ActionTrack | FigureTrack:
        """A random track for each clip, of loose objects or of a figure."""
        draw = draw_figure_track if self.config.figures else draw_track
        return draw(self.config, clips, frames, generator)

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
            own = (
                figure_outline(track, k, generator)
                if isinstance(track, FigureTrack)
                else draw_outline(clips, generator)
            )
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
