"""Articulated figures for synthetic scenes: limbs that turn at their joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.worlds.appearance import Outline
from lawm_core.worlds.tracks import TwinConfig, draw_rates, draw_track


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
    draw = lambda low, high: (
        low + (high - low) * torch.rand(clips, 1, 1, 1, generator=generator, device=generator.device)
    )
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
