"""Summaries of motion: the shift, zoom and roll that best fit the flow between two states, and their description."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.model import LatentActionModel

MIN_MOTION = 0.003  # frame widths per transition; smaller motion is called still
CHUNK = 64  # pairs of states per forward pass


@torch.inference_mode()
def summarize_motion(model: LatentActionModel, before_XND: Tensor, after_XND: Tensor) -> Tensor:
    """Fit a camera motion to the flow between pairs of states by least squares; return motion_X6 on the CPU.

    The columns describe how the image moves; a camera that pans right moves it left. 0, 1: shift right and down, in
    frame widths. 2: zoom, log scale, positive when zooming in. 3: roll, radians clockwise. 4: residual, the fraction of
    the squared flow that no camera motion explains, 0 to 1; it is large where parts of the scene move on their own.
    5: speed, the root mean square of the flow, in frame widths.
    """
    grid, flows = model.config.encoder.grid, []
    for before, after in zip(before_XND.split(CHUNK), after_XND.split(CHUNK), strict=True):
        # The flow that the flow reader finds between equal states is its bias; it is subtracted.
        backward = [F.adaptive_avg_pool2d(model.flow_reader(before, x), grid) for x in (after, before)]
        flows.append(backward[0] - backward[1])
    flow_XY = -torch.cat(flows).flatten(2).transpose(1, 2).flatten(1).cpu()  # forward: how the image moves
    # In double precision, because the solver's rounding depends on the alignment of memory and must not be visible.
    flow_XY, basis_Y4 = flow_XY.double(), camera_flow_basis(grid).double()
    motion_X4 = torch.linalg.lstsq(basis_Y4, flow_XY.T).solution.T
    rest_XY = flow_XY - motion_X4 @ basis_Y4.T
    residual_X = rest_XY.square().sum(dim=1) / flow_XY.square().sum(dim=1).clamp_min(1e-9)
    speed_X = flow_XY.square().mean(dim=1).mul(2).sqrt()
    return torch.cat((motion_X4, residual_X[:, None], speed_X[:, None]), dim=1).float()


def camera_flow_basis(grid: int) -> Tensor:
    """Return the flow of an image that shifts right, shifts down, zooms in or rolls clockwise by one unit: basis_Y4.

    Y = 2 * grid * grid: the x and y components of the flow at each point of the grid.
    """
    line = (torch.arange(grid) + 0.5) / grid - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    fields = [(one, zero), (zero, one), (x, y), (-y, x)]
    return torch.stack([torch.stack(field, dim=-1).flatten() for field in fields], dim=1)


def describe_motion(motion_6: Tensor) -> str:
    """Describe the motion of one transition, a row of `summarize_motion`, largest component first.

    For example 'shifts right 4.0 %, zooms in 2.0 %'. Shifts are in percent of the frame width.
    """
    right, down, zoom, roll, residual, speed = motion_6.tolist()
    # Zoom and roll move the frame's edges, half a frame width from its centre, by half their value.
    parts = [
        (abs(right), f"shifts {'right' if right > 0 else 'left'} {100 * abs(right):.1f} %"),
        (abs(down), f"shifts {'down' if down > 0 else 'up'} {100 * abs(down):.1f} %"),
        (abs(zoom) / 2, f"zooms {'in' if zoom > 0 else 'out'} {100 * abs(zoom):.1f} %"),
        (abs(roll) / 2, f"rotates {'clockwise' if roll > 0 else 'anticlockwise'} {57.3 * abs(roll):.1f}°"),
    ]
    described = [text for size, text in sorted(parts, reverse=True) if size > MIN_MOTION][:2]
    if speed > MIN_MOTION and residual > 0.5:
        described = ["objects move separately", *described[:1]]
    return ", ".join(described) or "almost still"
