"""True optical flow and visibility of synthetic scenes: warping by the flow gives the next frame."""

import dataclasses

import pytest
import torch

from lawm_core.data.appearance import frame_points, world_points
from lawm_core.data.figures import BODY, TORSO
from lawm_core.data.motion_labels import Motion, true_motion
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.models.flow import Carry, warp

QUIET = SyntheticConfig(frame_size=128, light=0.0, noise=0.0, camera_share=1.0, object_share=1.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(figures: bool, frames: int = 3, clips: int = 6):
    scenes = SyntheticScenes(dataclasses.replace(QUIET, figures=figures))
    track = scenes.draw_track(clips, frames, generator())
    frame_BTCHW, outlines = scenes.render_with_outlines(track, generator(1))
    return track, frame_BTCHW, outlines


@pytest.mark.parametrize("figures", [False, True])
def test_warping_a_frame_by_the_true_flow_gives_the_next_one_where_it_was_visible(figures):
    track, frame_BTCHW, outlines = scene(figures)
    motion = true_motion(track, outlines, 128)
    before, after = frame_BTCHW[:, :-1].flatten(0, 1), frame_BTCHW[:, 1:].flatten(0, 1)
    visible = motion.visible_BU1HW.flatten(0, 1) > 0.5
    # Pixels on the soft edge of an object mix moving and static content.
    inner = -torch.nn.functional.max_pool2d(-visible.float(), 5, stride=1, padding=2) > 0.5
    error = (warp(before, motion.flow_BU2HW.flatten(0, 1)) - after).abs().mean(dim=1, keepdim=True)
    still = (before - after).abs().mean(dim=1, keepdim=True)
    assert error[inner].mean() < 0.25 * still[inner].mean() and error[inner].median() < 0.005
    assert 0.5 < visible.float().mean() < 1 and error[~visible].mean() > 2 * error[inner].mean()


def test_motion_from_the_first_frame_equals_the_composed_motion():
    track, _, outlines = scene(figures=False, frames=5)
    direct, steps = true_motion(track, outlines, 64, from_first=True), true_motion(track, outlines, 64)
    carry = Carry.start(6, 64, torch.device("cpu"))
    for u in range(4):
        carry = carry.step(steps.flow_BU2HW[:, u], steps.visible_BU1HW[:, u])
    sure = (carry.visible_X1HW > 0.999) & (direct.visible_BU1HW[:, 3] > 0.5)
    error = (carry.flow_X2HW - direct.flow_BU2HW[:, 3]).norm(dim=1, keepdim=True)[sure]
    assert sure.float().mean() > 0.4 and error.median() < 2e-3


def test_frame_points_invert_world_points():
    camera = torch.randn(2, 3, 4, generator=generator()) * 0.3
    back = frame_points(world_points(camera, 16), camera)
    line = (torch.arange(16) + 0.5) / 16 - 0.5
    torch.testing.assert_close(back[..., 0], line.expand_as(back[..., 0]), atol=1e-5, rtol=0)


def test_limbs_stay_attached_at_their_joints():
    track, _, _ = scene(figures=True, frames=6)
    _, pose_BTX3 = track.paths()
    height = track.placement_B3[:, None, 2:]
    turned = False
    for k, limb in enumerate(BODY):
        if k == TORSO:
            continue
        parent, pose, angle = BODY[limb.parent], pose_BTX3[:, :, k], pose_BTX3[:, :, k, 2:]
        own = pose[..., :2] + limb.half_length * height * torch.cat((angle.sin(), -angle.cos()), dim=-1)
        other, turn = pose_BTX3[:, :, limb.parent], pose_BTX3[:, :, limb.parent, 2:]
        x, y = limb.joint_x * parent.half_width * height, limb.joint_y * parent.half_length * height
        joint = other[..., :2] + torch.cat((x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()), dim=-1)
        torch.testing.assert_close(own, joint, atol=1e-5, rtol=0)
        turned |= bool((angle.diff(dim=1) - turn.diff(dim=1)).abs().max() > 0.1)
    assert turned


def test_join_concatenates_batches():
    track, _, outlines = scene(figures=False)
    motion = true_motion(track, outlines, 8)
    both = Motion.join([motion, motion])
    assert both.flow_BU2HW.shape == (12, 2, 2, 8, 8) and both.known_BU1HW.min() == 1
