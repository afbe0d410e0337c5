"""Flow between states: exact parts on known shifts, and a short training that finds motion."""

import torch

from lawm_core.models.cells import tokens_from_cells
from lawm_core.models.flow_reader import (
    FlowReader,
    FlowReaderConfig,
    correlate,
    least_squares_step,
    lucas_kanade,
    median_filter,
)
from lawm_core.models.geometry import FrameGeometry
from lawm_core.training.flow_losses import flow_error
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.true_motion import true_motion
from lawm_core.worlds.twins import TwinWorld


def test_the_best_match_is_where_things_were():
    before = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    after = before.roll((1, -2), dims=(2, 3))  # down by one place, left by two
    best = correlate(before, after, 3)[0, :, 4:-4, 4:-4].argmax(dim=0)
    assert (best == (3 - 1) * 7 + (3 + 2)).all(), "it was one place higher and two to the right"


def test_least_squares_finds_part_of_a_place():
    line = torch.arange(32) / 3.0
    wave = lambda shift: (torch.sin(line + shift / 3)[None, :] + torch.cos(line)[:, None])[None, None]
    step = least_squares_step(wave(0.0), wave(0.4), stiffness=1e-4)
    assert abs(step[:, 0, 4:-4, 4:-4].mean() - 0.4) < 0.05 and step[:, 1, 4:-4, 4:-4].abs().mean() < 0.05


def test_rounds_of_least_squares_correct_a_flow_that_is_nearly_right():
    place = torch.arange(32) / 2.0
    wave = lambda shift: (torch.sin(place + shift / 2)[None, :] + torch.cos(place)[:, None])[None, None] * 4
    before, after, flow, errors = wave(0.0), wave(0.9), torch.zeros(1, 2, 32, 32), []
    for _ in range(8):
        missing = flow * 32 - torch.tensor([0.9, 0.0])[:, None, None]
        errors.append(missing[..., 4:-4, 4:-4].norm(dim=1).mean())
        flow = median_filter(lucas_kanade(before, after, flow, stiffness=1.0))
    assert errors[-1] < 0.15 < 0.5 * errors[1], [float(e) for e in errors]


def test_a_median_filter_drops_outliers_and_keeps_edges():
    step = torch.zeros(1, 2, 8, 8)
    step[..., 4:] = 1.0
    spoiled = step.clone()
    spoiled[0, :, 2, 2] = 9.0
    assert torch.equal(median_filter(spoiled), step)


def test_a_median_filter_takes_the_fifth_of_nine():
    flow_X2HW = torch.randn(3, 2, 6, 7).round(decimals=1)  # with ties
    padded = torch.nn.functional.pad(flow_X2HW, (1,) * 4, mode="replicate")
    near = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    assert torch.equal(median_filter(flow_X2HW), near.sort(dim=4).values[..., 4])


def test_levels_go_from_two_places_a_token_side_to_one_a_cell():
    geometry = FrameGeometry(frame_size=32, patch_size=8, width=64, cells=4)
    reader = FlowReader(FlowReaderConfig(channels=8, coarse_channels=8, radius=2, fine_channels=8), geometry)
    flows = reader.levels(torch.randn(3, 16, 64), torch.randn(3, 16, 64))
    assert [tuple(f.shape) for f in flows] == [(3, 2, 4, 4), (3, 2, 8, 8), (3, 2, 16, 16)]


def test_a_short_training_finds_the_motion_of_new_scenes():
    """States are the pixels themselves, two by two."""
    torch.manual_seed(0)
    geometry = FrameGeometry(frame_size=64, patch_size=16, width=192, cells=8)
    config = TwinConfig(frame_size=32, light=0.0, noise=0.0, camera_share=1.0, pan=0.08, rest=0.0)
    reader = FlowReader(FlowReaderConfig(channels=12, coarse_channels=12, radius=3, fine_channels=8), geometry)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)

    def pairs(seed: int, clips: int = 16):
        world, generator = TwinWorld(config), torch.Generator().manual_seed(seed)
        track = world.draw_track(clips, 2, generator)
        frame_BTCHW, outlines = world.show(track, generator)
        state_BTND = tokens(frame_BTCHW * 4 - 2)
        motion = true_motion(track, outlines, 32)
        return state_BTND[:, 0], state_BTND[:, 1], motion.flow_BU2HW[:, 0], motion.visible_BU1HW[:, 0]

    def tokens(frame_BTCHW):
        return tokens_from_cells(frame_BTCHW.flatten(0, 1), 8).unflatten(0, frame_BTCHW.shape[:2])

    def error(seed: int):
        before, after, flow, visible = pairs(seed, 32)
        with torch.no_grad():
            found = reader(before, after)
        return [((f - flow).norm(dim=1, keepdim=True) * visible).sum() / visible.sum() for f in (found, 0 * found)]

    for step in range(40):
        before, after, flow, visible = pairs(step)
        loss = sum(flow_error(found, flow, visible) for found in reader.levels(before, after))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found, still = error(999)
    assert found < 0.6 * still
