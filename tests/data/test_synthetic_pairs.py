"""Synthetic pairs: two appearances share one track, and frames move as the track says."""

import torch

from lawm_core.data.appearance import recolor, sample_texture, world_points
from lawm_core.data.motion_tracks import ActionTrack, SyntheticConfig, draw_track
from lawm_core.data.synthetic_pairs import SyntheticScenes

QUIET = SyntheticConfig(light=0.0, noise=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pairs_depend_on_the_seed_alone():
    scenes = SyntheticScenes(SyntheticConfig())
    one, two, other = (scenes.draw(2, 4, generator(s)) for s in (3, 3, 4))
    assert torch.equal(one.first_BTCHW, two.first_BTCHW) and torch.equal(one.second_BTCHW, two.second_BTCHW)
    assert not torch.equal(one.first_BTCHW, other.first_BTCHW)
    assert one.first_BTCHW.shape == (2, 4, 3, 64, 64)
    assert one.first_BTCHW.min() >= 0 and one.first_BTCHW.max() <= 1


def test_the_scenes_of_a_pair_differ_in_appearance():
    drawn = SyntheticScenes(QUIET).draw(8, 2, generator())
    assert (drawn.first_BTCHW - drawn.second_BTCHW).abs().mean() > 0.1


def test_a_track_without_motion_gives_equal_frames():
    track = ActionTrack(torch.zeros(2, 3, 4), torch.zeros(2, 3, 3, 3), torch.rand(2, 3, 3) - 0.5)
    frame = SyntheticScenes(QUIET).render(track, generator())
    assert torch.equal(frame[:, 0], frame[:, -1])


def test_a_pan_shifts_the_frame_by_its_pixels():
    camera = torch.zeros(1, 1, 4)
    camera[..., 0] = 4 / 64  # the camera moves right, so the content moves left
    track = ActionTrack(camera, torch.zeros(1, 1, 1, 3), torch.full((1, 1, 3), 9.0))  # the object is outside the frame
    frame = SyntheticScenes(QUIET).render(track, generator())[0]
    torch.testing.assert_close(frame[1, :, :, :-4], frame[0, :, :, 4:], atol=1e-3, rtol=0)


def test_an_object_moves_and_the_background_does_not():
    objects = torch.zeros(1, 1, 1, 3)
    objects[..., 0] = 0.4
    track = ActionTrack(torch.zeros(1, 1, 4), objects, torch.tensor([[[-0.2, 0.0, 0.0]]]))
    frame = SyntheticScenes(QUIET).render(track, generator())[0]
    changed = (frame[1] - frame[0]).abs().amax(dim=0) > 1e-3
    rows, columns = changed.nonzero(as_tuple=True)
    assert 0.02 < changed.float().mean() < 0.7
    assert abs(rows.float().mean() - 31.5) < 12 and abs(columns.float().mean() - 31.5) < 12


def test_zoom_and_roll_keep_the_centre():
    camera = torch.tensor([[[0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.0, 0.7]]]).cumsum(dim=1)
    at = world_points(torch.nn.functional.pad(camera, (0, 0, 1, 0)), 64)
    centre = at[0, :, 31:33, 31:33].mean(dim=(1, 2))
    torch.testing.assert_close(centre, torch.zeros(3, 2), atol=1e-5, rtol=0)
    span = at[0, :, 32, :, :].diff(dim=1).norm(dim=-1).sum(dim=1)
    assert span[1] < 0.8 * span[0]  # zooming in shows less of the world
    torch.testing.assert_close(span[2], span[1])  # rolling keeps the scale


def test_tracks_change_often_and_rest_sometimes():
    track = draw_track(SyntheticConfig(), 400, 9, generator())
    rate = track.camera_BU4[track.camera_BU4.abs().sum(dim=(1, 2)) > 0]
    changes = (rate[:, 1:] != rate[:, :-1]).any(dim=-1).float().mean()
    rests = (rate == 0).all(dim=-1).float().mean()
    assert 0.25 < changes < 0.45 and 0.15 < rests < 0.4
    still_cameras = (track.camera_BU4.abs().sum(dim=(1, 2)) == 0).float().mean()
    assert 0.12 < still_cameras < 0.35


def test_backgrounds_show_still_images():
    stills = torch.zeros(1, 3, 32, 32)
    stills[:, :, 16:] = 1  # half black, half white; recolouring keeps the horizontal edge
    scenes = SyntheticScenes(SyntheticConfig(light=0, noise=0, stills_share=1.0, objects=0), stills)
    frame = scenes.draw(4, 2, generator()).first_BTCHW[:, 0]
    assert frame.std(dim=3).mean() < 0.02 and frame.std(dim=2).mean() > 0.05


def test_recolouring_changes_colours_and_keeps_motion():
    frame = torch.rand(3, 4, 3, 8, 8, generator=generator())
    frame[:, 2] = frame[:, 1]  # nothing moves here
    other = recolor(frame, generator())
    assert torch.equal(other[:, 2], other[:, 1])
    assert (other - frame).abs().mean() > 0.05
    torch.testing.assert_close(recolor(frame, generator(), strength=0.0), frame, atol=2e-4, rtol=0)


def test_textures_are_mirrored_beyond_their_edges():
    texture = torch.rand(1, 3, 8, 8)
    inside, outside = torch.full((1, 1, 1, 1, 2), 0.8), torch.full((1, 1, 1, 1, 2), 1.2)
    torch.testing.assert_close(sample_texture(texture, inside), sample_texture(texture, outside))
