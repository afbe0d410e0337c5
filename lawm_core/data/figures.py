"""Articulated figures for synthetic scenes: limbs that turn at their joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.data.appearance import Outline, uniform
from lawm_core.data.motion_tracks import SyntheticConfig, Track, draw_rates, draw_track, integrate, rand


@dataclass(frozen=True, kw_only=True)
class Limb:
    """A part of a figure. Its joint, at which it is attached to its parent, is the upper end of its axis.

    parent: index of the parent in BODY, -1 for the torso. joint_x, joint_y: position of the joint in the parent's
    coordinates, in which the parent covers -1 to 1. half_width, half_length: in units of the figure's height.
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
class FigureTrack(Track):
    """Motion of the camera and of an articulated figure.

    root_BU3: change of x, y and angle of the torso per transition. joint_BUX: change of each limb's angle at its joint
    per transition, 0 for the torso. start_BX: the angles in the first frame. placement_B3: x and y of the torso in the
    first frame, and the figure's height, in frame widths.
    """

    root_BU3: Tensor
    joint_BUX: Tensor
    start_BX: Tensor
    placement_B3: Tensor

    def paths(self) -> tuple[Tensor, Tensor]:
        """See `Track.paths`."""
        root_BT3, joint_BTX = integrate(self.root_BU3), integrate(self.joint_BUX) + self.start_BX[:, None]
        height_B1 = self.placement_B3[:, 2:]
        torso_BT3 = torch.cat((root_BT3[..., :2] + self.placement_B3[:, None, :2], root_BT3[..., 2:]), dim=-1)
        poses: dict[int, Tensor] = {TORSO: torso_BT3}
        while len(poses) < len(BODY):
            for i, limb in enumerate(BODY):
                if i not in poses and limb.parent in poses:
                    poses[i] = attach(limb, BODY[limb.parent], poses[limb.parent], joint_BTX[..., i], height_B1)
        return integrate(self.camera_BU4), torch.stack([poses[i] for i in range(len(BODY))], dim=2)


def attach(limb: Limb, parent: Limb, parent_BT3: Tensor, joint_BT: Tensor, height_B1: Tensor) -> Tensor:
    """Return the pose of a limb, (B, T, 3): x and y of its centre, and its angle.

    parent_BT3: pose of its parent. joint_BT: angle between the two. height_B1: height of the figure.
    """
    x, y, angle = parent_BT3.unbind(-1)
    across, along = limb.joint_x * parent.half_width * height_B1, limb.joint_y * parent.half_length * height_B1
    joint_x = x + across * angle.cos() - along * angle.sin()
    joint_y = y + across * angle.sin() + along * angle.cos()
    angle, length = angle + joint_BT, limb.half_length * height_B1
    return torch.stack((joint_x - length * angle.sin(), joint_y + length * angle.cos(), angle), dim=-1)


def figure_outline(track: FigureTrack, part: int, generator: Generator) -> Outline:
    """Draw the outline of a limb for each figure. Its length follows from the figure's height; its width is random.

    part: index of the limb in BODY.
    """
    limb, height_B111 = BODY[part], track.placement_B3[:, 2, None, None, None]
    clips, zero_B111 = len(height_B111), torch.zeros_like(height_B111)
    overlap = 1.15  # limbs reach beyond their joints, so that no gap opens when they bend
    return Outline(
        half_width=limb.half_width * height_B111 * uniform(clips, 0.7, 1.5, generator),
        half_height=limb.half_length * height_B111 * overlap,
        power=uniform(clips, 2.0, 5.0, generator),
        lobes=zero_B111,
        depth=zero_B111,
        phase=zero_B111,
    )


def draw_figure_track(config: SyntheticConfig, clips: int, frames: int, generator: Generator) -> FigureTrack:
    """Draw a random track per clip, in which the camera, the torso and the limbs move."""
    device = generator.device
    camera_BU4 = draw_track(config, clips, frames, generator).camera_BU4
    root_speeds = (config.move * 0.7, config.move * 0.7, config.turn * 0.3)
    root_BU13 = draw_rates(root_speeds, 1, config, clips, frames - 1, generator)
    joint_BUX1 = draw_rates((config.turn * 1.2,), len(BODY), config, clips, frames - 1, generator)
    bends_X = torch.tensor([i != TORSO for i in range(len(BODY))], device=device)
    start_BX = (2 * rand(generator, clips, len(BODY)) - 1) * 0.9 * bends_X
    low_3, high_3 = torch.tensor([-0.3, -0.25, 0.5], device=device), torch.tensor([0.3, 0.25, 1.2], device=device)
    placement_B3 = low_3 + (high_3 - low_3) * rand(generator, clips, 3)
    return FigureTrack(camera_BU4, root_BU13[:, :, 0], joint_BUX1[..., 0] * bends_X, start_BX, placement_B3)
