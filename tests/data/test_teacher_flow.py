"""Teacher flow: correct for known motion, and after crops and flips."""

import numpy as np
import pytest
import torch

from lawm_core.data.clip_dataset import open_dataset
from lawm_core.data.motion_labels import Motion
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.data.teacher_flow import measure_motion
from lawm_core.models.flow import warp
from lawm_core.video.files import write_clip

GRID = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A video of a moving scene and its cache with flow, for clips of up to 64 pixels."""
    folder = tmp_path_factory.mktemp("videos")
    config = SyntheticConfig(
        frame_size=96, light=0.0, noise=0.0, camera_share=1.0, pan=0.04, zoom=0.03, roll=0.03, rest=0.0
    )
    drawn = SyntheticScenes(config).draw(1, 8, torch.Generator().manual_seed(2))
    write_clip(folder / "scene.mp4", drawn.first_BTCHW[0], 6.0)
    return open_dataset(folder, folder / "cache", "train", 6.0, 32, picture_size=64, with_flow=True)


def test_warping_by_the_flow_gives_the_next_frame_for_every_crop_and_flip(dataset):
    """Many draws cover every mirroring and direction of time."""
    frame_BTCHW, motion = dataset.resized(64).draw_with_motion(24, 4, torch.Generator().manual_seed(0), GRID)
    before, after = frame_BTCHW[:, :-1].flatten(0, 1), frame_BTCHW[:, 1:].flatten(0, 1)
    known = torch.nn.functional.interpolate(motion.known_BU1HW.flatten(0, 1) * motion.visible_BU1HW.flatten(0, 1), 64)
    warped = warp(before, motion.flow_BU2HW.flatten(0, 1))
    error_X = ((warped - after).abs() * known).mean(dim=(1, 2, 3))
    still_X = ((before - after).abs() * known).mean(dim=(1, 2, 3))
    assert known.mean() > 0.6
    assert error_X.sum() < 0.6 * still_X.sum()
    moving = still_X > still_X.median()
    assert (error_X < still_X)[moving].float().mean() > 0.9


def test_draws_with_and_without_motion_give_the_same_clips(dataset):
    with_motion, _ = dataset.draw_with_motion(5, 3, torch.Generator().manual_seed(4), GRID)
    assert torch.equal(with_motion, dataset.draw(5, 3, torch.Generator().manual_seed(4)))


def test_flow_is_computed_once(dataset, monkeypatch):
    from lawm_core.data import teacher_flow

    monkeypatch.setattr(teacher_flow, "clip_flow", lambda *_: pytest.fail("computed again"))
    path = dataset.store.home / "flow.bin"
    before = path.read_bytes()
    assert teacher_flow.build_flow(dataset.store.home) == path and path.read_bytes() == before


def test_flow_is_unknown_where_forward_and_backward_disagree():
    from lawm_core.data.teacher_flow import consistency

    forward = np.zeros((32, 32, 2), np.float32)
    forward[..., 0] = 4.0
    assert consistency(-forward, forward)[:, 5:].min() == 1
    assert consistency(-forward, -forward).max() == 0
    assert consistency(-forward, forward)[:, :3].max() == 0, "content from outside the frame has no known flow"


def test_a_cache_without_flow_computes_it_for_each_draw(tmp_path):
    drawn = SyntheticScenes(SyntheticConfig(frame_size=64)).draw(1, 6, torch.Generator().manual_seed(2))
    write_clip(tmp_path / "scene.mp4", drawn.first_BTCHW[0], 6.0)
    dataset = open_dataset(tmp_path, tmp_path / "cache", "train", 6.0, 32)
    frame_BTCHW, motion = dataset.draw_with_motion(2, 3, torch.Generator().manual_seed(0), GRID)
    expected = Motion.join([measure_motion(frame_TCHW, GRID) for frame_TCHW in frame_BTCHW])
    assert motion.flow_BU2HW.shape == (2, 2, 2, GRID, GRID) and torch.equal(motion.flow_BU2HW, expected.flow_BU2HW)


def test_without_opencv_the_error_says_how_to_install_it(dataset, tmp_path, monkeypatch):
    from lawm_core.data import teacher_flow

    monkeypatch.setattr(teacher_flow, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="pip install"):
        teacher_flow.build_flow(tmp_path)
