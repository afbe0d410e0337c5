"""Handles, with which a user says how parts of a frame shall move, and the motion fields that follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lawm_core.models.flow import pixel_centres

WHOLE_FRAME = 10.0  # a radius with which the whole frame moves
MAX_HANDLES = 16
LIMITS = {
    "x": (0.0, 1.0), "y": (0.0, 1.0), "dx": (-1.5, 1.5), "dy": (-1.5, 1.5), "zoom": (-0.8, 2.0),
    "roll": (-math.pi, math.pi), "radius": (0.05, WHOLE_FRAME),
}  # fmt: skip
RIDGE = 1e-3  # keeps the interpolation stable when two handles are at nearly the same place


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A point of a frame, and how it and its surroundings shall move. Without any motion, it holds them still.

    x, y: position, as distance from the left and from the top edge in frame widths.
    dx, dy: how far the point moves to the right and down, in frame widths.
    zoom: relative growth around the point; 0.5 makes things 1.5 times as large.
    roll: clockwise rotation around the point, in radians.
    radius: standard deviation of the Gaussian with which the motion falls off around the point, in frame widths.

    Raises ValueError for a value that is not a number or outside its range in LIMITS.
    """

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    zoom: float = 0.0
    roll: float = 0.0
    radius: float = 0.15

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), LIMITS[field.name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{field.name} of a handle must be in [{low:g}, {high:g}], got {repr(value)[:40]}.")

    @property
    def largest_motion(self) -> float:
        """Estimate of how far any point within a radius of the handle moves, in frame widths."""
        return math.hypot(self.dx, self.dy) + min(self.radius, 0.5) * math.hypot(self.zoom, self.roll)


def handle_positions(handles: Sequence[Handle], progress: float) -> Tensor:
    """Return the positions of handles when the fraction `progress` of their motion is done, at_J2 in frame widths.

    Handles move on straight lines at constant speed.
    """
    return torch.tensor([(h.x + progress * h.dx, h.y + progress * h.dy) for h in handles], dtype=torch.float32)


def handle_weights(handles: Sequence[Handle], size: int, progress: float) -> Tensor:
    """Return how much each position of a frame follows each handle, weight_JHW with H = W = size.

    At the position of a handle, its own weight is 1 and that of all others is 0. Around the handles, weights are
    interpolated with Gaussians; far from all of them, they are 0. progress: see `handle_positions`.
    """
    at_J2 = handle_positions(handles, progress)
    variance_J = torch.tensor([handle.radius for handle in handles], dtype=torch.float32).square()
    between_JJ = torch.exp(-(at_J2[:, None] - at_J2).square().sum(dim=-1) / (2 * variance_J))
    offset_J2HW = pixel_centres(size, size) - at_J2[:, :, None, None]
    gaussian_JHW = torch.exp(-offset_J2HW.square().sum(dim=1) / (2 * variance_J[:, None, None]))
    weight_JX = torch.linalg.solve(between_JJ.mT + RIDGE * torch.eye(len(handles)), gaussian_JHW.flatten(1))
    return weight_JX.unflatten(1, (size, size))


def motion_field(handles: Sequence[Handle], size: int, start: float, end: float) -> Tensor:
    """Return the backward flow of one step of the handles' motion, flow_12HW in frame widths with H = W = size.

    start, end: which part of the motion the step makes, as fractions of the whole, with 0 <= start < end <= 1.
    """
    offset_J2HW = pixel_centres(size, size) - handle_positions(handles, end)[:, :, None, None]
    flow_J2HW = torch.stack(
        [unlimited_flow(handle, offset, start, end) for handle, offset in zip(handles, offset_J2HW, strict=True)]
    )
    return (handle_weights(handles, size, end)[:, None] * flow_J2HW).sum(dim=0, keepdim=True)


def unlimited_flow(handle: Handle, offset_2HW: Tensor, start: float, end: float) -> Tensor:
    """Return the backward flow of one handle's motion without its fall-off, flow_2HW.

    offset_2HW: distance of each position from the handle at the end of the step. start, end: see `motion_field`.
    """
    scale = (1 + start * handle.zoom) / (1 + end * handle.zoom)
    angle = (start - end) * handle.roll
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    x_HW, y_HW = offset_2HW
    turned_2HW = torch.stack((cosine * x_HW - sine * y_HW, sine * x_HW + cosine * y_HW))
    moved_2 = (start - end) * torch.tensor((handle.dx, handle.dy), dtype=torch.float32)
    return turned_2HW - offset_2HW + moved_2[:, None, None]
