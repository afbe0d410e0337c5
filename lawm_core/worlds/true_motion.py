"""True optical flow and visibility of synthetic scenes, computed from their geometry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.worlds.appearance import Outline, frame_points, world_points
from lawm_core.worlds.figures import FigureTrack
from lawm_core.worlds.tracks import ActionTrack


@dataclass(frozen=True)
class Motion:
    """Where each place of a frame was in the frame before, on a square grid of places.

    flow_BU2HW: backward flow, (right, down) in frame widths. visible_BU1HW: 1 where the place was in view, 0 where it
    was hidden or outside. known_BU1HW: 1 where the flow is known.
    """

    flow_BU2HW: Tensor
    visible_BU1HW: Tensor
    known_BU1HW: Tensor

    def to(self, device: torch.device) -> Motion:
        """The same on another device."""
        return Motion(*(x.to(device) for x in (self.flow_BU2HW, self.visible_BU1HW, self.known_BU1HW)))

    @staticmethod
    def join(parts: list[Motion]) -> Motion:
        """Several batches as one."""
        fields = zip(*((m.flow_BU2HW, m.visible_BU1HW, m.known_BU1HW) for m in parts), strict=True)
        return Motion(*(torch.cat(field) for field in fields))


def true_motion(
    track: ActionTrack | FigureTrack, outlines: tuple[Outline, ...], grid: int, from_first: bool = False
) -> Motion:
    """Compute the motion of a track whose objects have these outlines, on a grid of `grid` x `grid` places.

    from_first: compare every later frame with the first one instead of with the frame before it.
    """
    camera_BT4, pose_BTK3 = track.paths()
    after = slice(1, None)
    before_camera_BU4, before_BUK3 = camera_BT4[:, :-1], pose_BTK3[:, :-1]
    if from_first:
        before_camera_BU4 = camera_BT4[:, :1].expand_as(before_camera_BU4)
        before_BUK3 = pose_BTK3[:, :1].expand_as(before_BUK3)
    at_BUHW2 = world_points(camera_BT4[:, after], grid)
    layer_BUHW = top_layer(at_BUHW2, pose_BTK3[:, after], outlines)
    origin_BUHW2 = at_BUHW2  # the background stays where it is in the world
    for k, outline in enumerate(outlines):
        local_BUHW2 = outline.local(at_BUHW2, pose_BTK3[:, after, k])
        moved_BUHW2 = outline.world(local_BUHW2, before_BUK3[:, :, k])
        origin_BUHW2 = torch.where((layer_BUHW == k + 1)[..., None], moved_BUHW2, origin_BUHW2)
    line = (torch.arange(grid, device=at_BUHW2.device) + 0.5) / grid - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    was_BUHW2 = frame_points(origin_BUHW2, before_camera_BU4)
    inside = was_BUHW2.abs().amax(dim=-1) <= 0.5
    seen = top_layer(origin_BUHW2, before_BUK3, outlines) == layer_BUHW
    flow_BU2HW = (was_BUHW2 - torch.stack((x, y), dim=-1)).movedim(-1, 2)
    visible_BU1HW = (inside & seen).float()[:, :, None]
    return Motion(flow_BU2HW, visible_BU1HW, torch.ones_like(visible_BU1HW))


def top_layer(at_BTHW2: Tensor, pose_BTK3: Tensor, outlines: tuple[Outline, ...]) -> Tensor:
    """What is in front at points of the world, (B, T, H, W): 0 for the background, k + 1 for object k."""
    layer_BTHW = torch.zeros(at_BTHW2.shape[:-1], dtype=torch.long, device=at_BTHW2.device)
    for k, outline in enumerate(outlines):
        inside = outline.distance(outline.local(at_BTHW2, pose_BTK3[:, :, k])) < 1
        layer_BTHW = torch.where(inside, k + 1, layer_BTHW)
    return layer_BTHW
