"""Procedural scenes with known motion, rendered in batches on any device.

A synthetic pair is two scenes that share one motion track and differ in appearance. Both futures are rendered, which
gives transfer a ground truth that real videos lack. A track moves a camera (pan, zoom, roll) and objects (which move,
turn, stop, enter and leave); it changes often and at random, so that the past does not predict the next frame. The
appearance (background, shapes, textures, light, noise) is drawn for each scene separately.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.data.appearance import (
    Appearance,
    Outline,
    draw_outline,
    paint,
    procedural_textures,
    recolor,
    sample_texture,
    world_points,
)
from lawm_core.data.figures import FigureTrack, draw_figure_track, figure_outline
from lawm_core.data.motion_tracks import SyntheticConfig, Track, draw_track, rand, smooth_walk
from lawm_core.video.transforms import resize_bilinear


@dataclass(frozen=True)
class SyntheticPair:
    """A batch of pairs of scenes that share a track: first_BTCHW and second_BTCHW in [0, 1]."""

    first_BTCHW: Tensor
    second_BTCHW: Tensor
    track: Track


class SyntheticScenes:
    """Draws tracks and appearances at random and renders them.

    The result depends on the configuration, the stills and the generator's state alone. stills_XCHW: square images in
    [0, 1] of any size from which to take backgrounds and textures, or None.
    """

    def __init__(self, config: SyntheticConfig, stills_XCHW: Tensor | None = None) -> None:
        self.config, self.stills_XCHW = config, stills_XCHW

    def draw(self, clips: int, frames: int, generator: Generator) -> SyntheticPair:
        """Draw `clips` pairs of `frames` frames."""
        track = self.draw_track(clips, frames, generator)
        return SyntheticPair(self.render(track, generator), self.render(track, generator), track)

    def draw_track(self, clips: int, frames: int, generator: Generator) -> Track:
        """Draw a track per clip: of free objects, or of a figure if the configuration says so."""
        draw = draw_figure_track if self.config.figures else draw_track
        return draw(self.config, clips, frames, generator)

    def render(self, track: Track, generator: Generator) -> Tensor:
        """Render a track with a random appearance: frame_BTCHW in [0, 1]."""
        return self.render_with_outlines(track, generator)[0]

    def render_with_outlines(self, track: Track, generator: Generator) -> tuple[Tensor, tuple[Outline, ...]]:
        """Same as `render`, and also return the outlines of the objects, from back to front."""
        config = self.config
        camera_BT4, object_BTX3 = track.paths()
        clips, frames = camera_BT4.shape[:2]
        point_BTHW2 = world_points(camera_BT4, config.frame_size * config.supersample)
        appearance = self.draw_appearance(track, generator)
        frame_BTCHW = sample_texture(appearance.background_BCHW, point_BTHW2)
        for (outline, texture_BCHW), pose_BT3 in zip(appearance.objects, object_BTX3.unbind(2), strict=True):
            frame_BTCHW = paint(frame_BTCHW, point_BTHW2, pose_BT3, outline, texture_BCHW)
        if config.supersample > 1:
            frame_BTCHW = F.avg_pool2d(frame_BTCHW.flatten(0, 1), config.supersample).unflatten(0, (clips, frames))
        light_BT = smooth_walk(clips, frames, config.light, generator)
        contrast_BT = 1 + smooth_walk(clips, frames, config.light, generator)
        noise_std = rand(generator, clips, 1, 1, 1, 1) * config.noise
        frame_BTCHW = (frame_BTCHW - 0.5) * contrast_BT[..., None, None, None] + 0.5 + light_BT[..., None, None, None]
        noise_BTCHW = torch.randn(frame_BTCHW.shape, generator=generator, device=generator.device) * noise_std
        return (frame_BTCHW + noise_BTCHW).clamp(0, 1), appearance.outlines

    def draw_appearance(self, track: Track, generator: Generator) -> Appearance:
        """Draw a background, outlines and textures for the scenes of a track."""
        clips, config = track.camera_BU4.shape[0], self.config
        background_BCHW = self._textures(clips, config.background_pixels, generator)
        objects = []
        for i in range(track.paths()[1].shape[2]):
            if isinstance(track, FigureTrack):
                outline = figure_outline(track, i, generator)
            else:
                outline = draw_outline(clips, generator)
            objects.append((outline, self._textures(clips, config.object_pixels, generator)))
        return Appearance(background_BCHW, tuple(objects))

    def _textures(self, count: int, size: int, generator: Generator) -> Tensor:
        """Draw `count` textures texture_XCHW of size x size pixels: procedural ones, and recoloured still images."""
        texture_XCHW = procedural_textures(count, size, generator)
        if self.stills_XCHW is None:
            return texture_XCHW
        device = generator.device
        pick_X = torch.randint(len(self.stills_XCHW), (count,), generator=generator, device=device)
        still_XCHW = resize_bilinear(self.stills_XCHW[pick_X.to(self.stills_XCHW.device)].to(device), size)
        still_XCHW = recolor(still_XCHW[:, None], generator, self.config.recolor)[:, 0]
        return torch.where(rand(generator, count, 1, 1, 1) < self.config.stills_share, still_XCHW, texture_XCHW)
