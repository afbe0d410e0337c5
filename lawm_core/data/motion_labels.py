"""True optical flow and visibility of synthetic scenes, computed from their geometry."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lawm_core.data.appearance import Outline, frame_points, pixel_points, world_points
from lawm_core.data.motion_tracks import Track


@dataclass(frozen=True)
class Motion:
    """Optical flow of a batch of clips, from each frame to the frame before it, on a square grid.

    flow_BU2HW: backward flow (right, down) in frame widths. visible_BU1HW: 1 where the content was visible in the frame
    before, 0 where it was hidden or outside. known_BU1HW: 1 where the flow is known, else 0.
    """

    flow_BU2HW: Tensor
    visible_BU1HW: Tensor
    known_BU1HW: Tensor

    def to(self, device: torch.device) -> Motion:
        """Return a copy on another device."""
        return Motion(*(getattr(self, field.name).to(device) for field in fields(self)))

    @staticmethod
    def join(parts: list[Motion]) -> Motion:
        """Return the clips of several batches as one batch."""
        return Motion(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Motion)))


def true_motion(track: Track, outlines: tuple[Outline, ...], grid: int, from_first: bool = False) -> Motion:
    """Compute the motion of a batch of scenes with grid x grid flow vectors per transition.

    track: motion of the camera and the objects. outlines: outline of each object, from back to front. from_first:
    compare every later frame with the first frame instead of with the frame before it.
    """
    camera_BT4, pose_BTX3 = track.paths()
    before_camera_BU4, before_BUX3 = camera_BT4[:, :-1], pose_BTX3[:, :-1]
    if from_first:
        before_camera_BU4 = camera_BT4[:, :1].expand_as(before_camera_BU4)
        before_BUX3 = pose_BTX3[:, :1].expand_as(before_BUX3)
    point_BUHW2, pose_BUX3 = world_points(camera_BT4[:, 1:], grid), pose_BTX3[:, 1:]
    layer_BUHW = top_layer(point_BUHW2, pose_BUX3, outlines)
    origin_BUHW2 = point_BUHW2  # the background does not move in the world
    for i, outline in enumerate(outlines):
        local_BUHW2 = outline.local(point_BUHW2, pose_BUX3[:, :, i])
        moved_BUHW2 = outline.world(local_BUHW2, before_BUX3[:, :, i])
        origin_BUHW2 = torch.where((layer_BUHW == i + 1)[..., None], moved_BUHW2, origin_BUHW2)
    before_BUHW2 = frame_points(origin_BUHW2, before_camera_BU4)
    inside_BUHW = before_BUHW2.abs().amax(dim=-1) <= 0.5
    in_front_BUHW = top_layer(origin_BUHW2, before_BUX3, outlines) == layer_BUHW
    centre_HW2 = torch.stack(pixel_points(grid, point_BUHW2.device), dim=-1)
    visible_BU1HW = (inside_BUHW & in_front_BUHW).float()[:, :, None]
    return Motion((before_BUHW2 - centre_HW2).movedim(-1, 2), visible_BU1HW, torch.ones_like(visible_BU1HW))


def top_layer(point_BTHW2: Tensor, pose_BTX3: Tensor, outlines: tuple[Outline, ...]) -> Tensor:
    """Return which layer is in front at each world point, (B, T, H, W): 0 for the background, i + 1 for object i.

    pose_BTX3: x, y and angle of each object. outlines: outline of each object, from back to front.
    """
    layer_BTHW = torch.zeros(point_BTHW2.shape[:-1], dtype=torch.long, device=point_BTHW2.device)
    for i, outline in enumerate(outlines):
        inside = outline.distance(outline.local(point_BTHW2, pose_BTX3[:, :, i])) < 1
        layer_BTHW = torch.where(inside, i + 1, layer_BTHW)
    return layer_BTHW
