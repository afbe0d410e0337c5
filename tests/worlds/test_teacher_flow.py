"""The classical flow that teaches: right on known motion, and kept right by cuts and flips."""

import numpy as np
import pytest
import torch

from lawm_core.models.flow import resample
from lawm_core.video.files import write_clip
from lawm_core.worlds.clips import open_world
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.twins import TwinWorld

GRID = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A film of a scene in motion, 64 px, and its cache with flow."""
    folder = tmp_path_factory.mktemp("videos")
    config = TwinConfig(frame_size=96, light=0.0, noise=0.0, camera_share=1.0, pan=0.04, zoom=0.03, roll=0.03, rest=0.0)
    drawn = TwinWorld(config).draw(1, 8, torch.Generator().manual_seed(2))
    write_clip(folder / "scene.mp4", drawn.first_BTCHW[0], 6.0)
    return open_world(folder, folder / "cache", "train", 6.0, 32, picture_size=64, with_flow=True)


def test_the_teachers_flow_explains_the_next_frame_however_a_clip_is_cut(world):
    """Over many draws every flip and direction of time comes up."""
    frame_BTCHW, motion = world.resized(64).draw_with_motion(24, 4, torch.Generator().manual_seed(0), GRID)
    before, after = frame_BTCHW[:, :-1].flatten(0, 1), frame_BTCHW[:, 1:].flatten(0, 1)
    known = torch.nn.functional.interpolate(motion.known_BU1HW.flatten(0, 1) * motion.visible_BU1HW.flatten(0, 1), 64)
    warped = resample(before, motion.flow_BU2HW.flatten(0, 1))
    error_X = ((warped - after).abs() * known).mean(dim=(1, 2, 3))
    still_X = ((before - after).abs() * known).mean(dim=(1, 2, 3))
    assert known.mean() > 0.6
    assert error_X.sum() < 0.6 * still_X.sum()
    moving = still_X > still_X.median()
    assert (error_X < still_X)[moving].float().mean() > 0.9


def test_draws_with_and_without_motion_are_the_same_clips(world):
    with_motion, _ = world.draw_with_motion(5, 3, torch.Generator().manual_seed(4), GRID)
    assert torch.equal(with_motion, world.draw(5, 3, torch.Generator().manual_seed(4)))


def test_flow_is_computed_once(world, monkeypatch):
    from lawm_core.worlds import teacher_flow

    monkeypatch.setattr(teacher_flow, "clip_flow", lambda *_: pytest.fail("computed again"))
    path = world.footage.home / "flow.bin"
    before = path.read_bytes()
    assert teacher_flow.build_flow(world.footage.home) == path and path.read_bytes() == before


def test_places_whose_flows_disagree_are_unknown():
    from lawm_core.worlds.teacher_flow import consistency

    forward = np.zeros((32, 32, 2), np.float32)
    forward[..., 0] = 4.0
    assert consistency(-forward, forward)[:, 5:].min() == 1
    assert consistency(-forward, -forward).max() == 0
    assert consistency(-forward, forward)[:, :3].max() == 0, "what comes from outside the frame is not known"


def test_a_cache_without_flow_says_what_is_missing(tmp_path):
    drawn = TwinWorld(TwinConfig(frame_size=64)).draw(1, 6, torch.Generator().manual_seed(2))
    write_clip(tmp_path / "scene.mp4", drawn.first_BTCHW[0], 6.0)
    world = open_world(tmp_path, tmp_path / "cache", "train", 6.0, 32)
    with pytest.raises(ValueError, match="no flow is stored"):
        world.draw_with_motion(1, 3, torch.Generator(), GRID)


def test_without_opencv_the_message_says_how_to_get_it(world, tmp_path, monkeypatch):
    from lawm_core.worlds import teacher_flow

    monkeypatch.setattr(teacher_flow, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="pip install"):
        teacher_flow.build_flow(tmp_path)
