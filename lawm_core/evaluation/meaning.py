"""What a step between two states looks like to a person: pan, zoom and roll, in words.

The model's own motion reader gives a flow over tokens. The camera motion nearest to it, by least squares, is what the
step means here; `left_over` is the share of the flow that no camera motion explains: large where something in the scene
moves on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.model import LatentActionModel

NOTICEABLE = 0.003  # of a frame's width a step: what moves less is called still


@dataclass(frozen=True)
class Motion:
    """How the picture's content moves in a step, X of them; a camera that pans right moves its content left.

    pan_X2: right and down, in frame widths; zoom_X: in log units, growing is positive; roll_X: radians, clockwise;
    left_over_X: 0 to 1; speed_X: root mean square of the flow over the frame, in frame widths.
    """

    pan_X2: Tensor
    zoom_X: Tensor
    roll_X: Tensor
    left_over_X: Tensor
    speed_X: Tensor

    def stacked(self) -> Tensor:
        """All of it in this order, motion_X6."""
        return torch.cat(
            (self.pan_X2, torch.stack((self.zoom_X, self.roll_X, self.left_over_X, self.speed_X), dim=1)), dim=1
        )


@torch.inference_mode()
def read_motion(model: LatentActionModel, before_XND: Tensor, after_XND: Tensor, family: str | None = None) -> Motion:
    """The motion between pairs of states."""
    encoder = model.config.encoder
    pairs = zip(before_XND.split(64), after_XND.split(64), strict=True)
    # What is read where nothing moves is the reader's own habit, and does not count.
    flows = [read_tokens(model, b, a, family) - read_tokens(model, b, b, family) for b, a in pairs]
    # The reader says where content came from; it moved the other way.
    flow_XY = -torch.cat(flows).flatten(1).cpu()
    # In double precision: the solver's last digits depend on where in memory its numbers lie, and must not show.
    flow_XY, basis_Y4 = flow_XY.double(), camera_motions(encoder.grid).double()
    motion_X4 = torch.linalg.lstsq(basis_Y4, flow_XY.T).solution.T
    left_XY = flow_XY - motion_X4 @ basis_Y4.T
    share_X = left_XY.square().sum(dim=1) / flow_XY.square().sum(dim=1).clamp_min(1e-9)
    speed_X = flow_XY.square().mean(dim=1).mul(2).sqrt()
    motion_X4, share_X, speed_X = motion_X4.float(), share_X.float(), speed_X.float()
    return Motion(motion_X4[:, :2], motion_X4[:, 2], motion_X4[:, 3], share_X, speed_X)


def read_tokens(model: LatentActionModel, before_XND: Tensor, after_XND: Tensor, family: str | None) -> Tensor:
    """Where the content of each token was in the state before, flow_XN2 in frame widths."""
    encoder = model.config.encoder
    if model.flow_reader is None:
        flow_XN2 = model.member(family).inverse_dynamics.motion(before_XND, after_XND)[1]
        return flow_XN2 / (encoder.grid * encoder.cells)
    flow_X2HW = F.adaptive_avg_pool2d(model.flow_reader(before_XND, after_XND), encoder.grid)
    return flow_X2HW.flatten(2).transpose(1, 2)


def camera_motions(grid: int, device: torch.device | str = "cpu") -> Tensor:
    """The flow of a unit each of pan right, pan down, zoom in and roll clockwise: basis_Y4, Y = 2 * grid * grid."""
    line = (torch.arange(grid, device=device) + 0.5) / grid - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    one, none = torch.ones_like(x), torch.zeros_like(x)
    fields = [(one, none), (none, one), (x, y), (-y, x)]
    return torch.stack([torch.stack(field, dim=-1).flatten() for field in fields], dim=1)


def say_motion(motion_6: Tensor) -> str:
    """One step's motion, a row of `Motion.stacked`, in words, strongest first: 'moves right 4.0 %, grows 2.0 %'."""
    right, down, zoom, roll, left_over, speed = motion_6.tolist()
    # Zoom and roll move the frame's rim by half of what they say.
    parts = [
        (abs(right), f"moves {'right' if right > 0 else 'left'} {100 * abs(right):.1f} %"),
        (abs(down), f"moves {'down' if down > 0 else 'up'} {100 * abs(down):.1f} %"),
        (abs(zoom) / 2, f"{'grows' if zoom > 0 else 'shrinks'} {100 * abs(zoom):.1f} %"),
        (abs(roll) / 2, f"turns {'clockwise' if roll > 0 else 'anticlockwise'} {57.3 * abs(roll):.1f}°"),
    ]
    said = [words for size, words in sorted(parts, reverse=True) if size > NOTICEABLE][:2]
    if speed > NOTICEABLE and left_over > 0.5:
        said = ["parts move on their own", *said[:1]]
    return ", ".join(said) or "almost still"
