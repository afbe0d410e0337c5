"""Films of a painted background and objects under a motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.data.appearance import sample_texture, world_points
from painting.canvas import Canvas
from painting.motions import Motion

PIXELS = 256  # a frame's side


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One clip: a background, objects with their radius in frame widths, and a motion."""

    file: str
    title: str
    about: str
    motion: Motion
    painting: Callable[[], Canvas]
    things: tuple[tuple[Callable[[], Canvas], float], ...] = ()

    def film(self) -> Tensor:
        """Return frame_TCHW in [0, 1]."""
        camera_BT4, thing_BTK3 = self.motion.track().paths()
        at_BTHW2 = world_points(camera_BT4, 2 * PIXELS)
        ground_CHW = defocused(self.painting().rgba_4HW[:3], pixels=3 if self.things else 1.5)
        frame_BTCHW = sample_texture(ground_CHW[None], at_BTHW2)
        for k, (paint, radius) in enumerate(self.things):
            layer_BTCHW = see(paint().rgba_4HW, at_BTHW2, thing_BTK3[:, :, k], radius)
            frame_BTCHW = frame_BTCHW * (1 - layer_BTCHW[:, :, 3:]) + layer_BTCHW[:, :, :3]
        return halved(frame_BTCHW[0]).clamp(0, 1)


def halved(frame_TCHW: Tensor) -> Tensor:
    """Downscale by two with anti-aliasing."""
    return blurred(frame_TCHW, torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, stride=2)


def defocused(picture_CHW: Tensor, pixels: float) -> Tensor:
    """Blur by a number of pixels, so that objects stand out and files are small."""
    line = torch.exp(-((torch.arange(-9, 10) / pixels) ** 2) / 2)
    return blurred(picture_CHW[None], line / line.sum(), stride=1)[0]


def blurred(frame_TCHW: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Convolve each channel with a kernel along both axes."""
    margin = (len(kernel) - 1) // 2
    padded = F.pad(frame_TCHW, (margin,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.expand(3, 1, 1, -1), stride=(1, stride), groups=3)
    return F.conv2d(rows, kernel[:, None].expand(3, 1, -1, 1), stride=(stride, 1), groups=3)


def see(rgba_4HW: Tensor, at_BTHW2: Tensor, pose_BT3: Tensor, radius: float) -> Tensor:
    """Sample an object's picture at points of the world, for each pose."""
    x, y = ((at_BTHW2 - pose_BT3[:, :, None, None, :2]) / radius).unbind(-1)
    angle = pose_BT3[:, :, None, None, 2]
    own = torch.stack((x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()), dim=-1)
    return sample_texture(rgba_4HW[None], own) * (own.abs().amax(-1) < 1)[:, :, None]
