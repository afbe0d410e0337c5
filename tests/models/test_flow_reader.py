"""Flow between two states: exact parts on known shifts, and a short training that finds motion."""

import pytest
import torch
import torch.nn.functional as F

from lawm_core.data.motion_labels import true_motion
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.models.feature_map import tokens_from_feature_map
from lawm_core.models.flow_reader import (
    FlowReader,
    FlowReaderConfig,
    correlate,
    least_squares_step,
    lucas_kanade,
    median_filter,
)
from lawm_core.models.geometry import FrameGeometry
from lawm_core.training.flow_reader_loss import flow_error


def wave(shift: float, amplitude: float = 1.0) -> torch.Tensor:
    """Return an image of sine waves, shifted left by `shift` pixels: (1, 1, 32, 32)."""
    line = torch.arange(32) / 2.0
    return (torch.sin(line + shift / 2)[None, :] + torch.cos(line)[:, None])[None, None] * amplitude


# ---- matching -------------------------------------------------------------------------------------------------------


def test_correlation_is_highest_at_the_true_shift():
    before = torch.randn(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    after = before.roll((1, -2), dims=(2, 3))  # one position down, two to the left
    best = correlate(before, after, radius=3)[0, :, 4:-4, 4:-4].argmax(dim=0)
    assert (best == (3 - 1) * 7 + (3 + 2)).all(), "the content came from one position above and two to the right"


@pytest.mark.parametrize("channels", [1, 3])
def test_least_squares_finds_a_shift_below_one_position(channels):
    before, after = (wave(shift).expand(1, channels, 32, 32) for shift in (0.0, 0.4))
    step = least_squares_step(before, after, stiffness=1e-4)
    assert abs(step[:, 0, 4:-4, 4:-4].mean() - 0.4) < 0.05 and step[:, 1, 4:-4, 4:-4].abs().mean() < 0.05


def test_flat_regions_do_not_move():
    flat = torch.ones(1, 2, 32, 32)
    flow = lucas_kanade(flat, flat * 1.1, torch.zeros(1, 2, 32, 32))
    assert torch.equal(flow, torch.zeros(1, 2, 32, 32))


def test_iterated_least_squares_converges():
    before, after, flow, errors = wave(0.0, 4.0), wave(0.9, 4.0), torch.zeros(1, 2, 32, 32), []
    for _ in range(8):
        difference = flow * 32 - torch.tensor([0.9, 0.0])[:, None, None]
        errors.append(difference[..., 4:-4, 4:-4].norm(dim=1).mean())
        flow = median_filter(lucas_kanade(before, after, flow, stiffness=1.0))
    assert errors[-1] < 0.15 < 0.5 * errors[1], [float(e) for e in errors]


# ---- median filter --------------------------------------------------------------------------------------------------


def test_median_filter_removes_outliers_and_keeps_edges():
    edge = torch.zeros(1, 2, 8, 8)
    edge[..., 4:] = 1.0
    with_outlier = edge.clone()
    with_outlier[0, :, 2, 2] = 9.0
    assert torch.equal(median_filter(with_outlier), edge)


def test_median_filter_returns_the_median_of_nine():
    flow_X2HW = torch.randn(3, 2, 6, 7).round(decimals=1)  # with ties
    padded = F.pad(flow_X2HW, (1,) * 4, mode="replicate")
    windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
    assert torch.equal(median_filter(flow_X2HW), windows.sort(dim=4).values[..., 4])


# ---- the network ----------------------------------------------------------------------------------------------------


def test_levels_double_in_resolution_up_to_the_feature_map():
    geometry = FrameGeometry(frame_size=32, patch_size=8, width=64, subpatches=4)
    reader = FlowReader(FlowReaderConfig(channels=8, coarse_channels=8, radius=2, fine_channels=8), geometry)
    flows = reader.levels(torch.randn(3, 16, 64), torch.randn(3, 16, 64))
    assert [tuple(f.shape) for f in flows] == [(3, 2, 4, 4), (3, 2, 8, 8), (3, 2, 16, 16)]


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_an_untrained_reader_finds_small_shifts(shift):
    """Lucas-Kanade iterations need no training."""
    torch.manual_seed(0)
    geometry = FrameGeometry(frame_size=32, patch_size=8, width=16, subpatches=4)
    reader = FlowReader(FlowReaderConfig(channels=8, coarse_channels=8, radius=1, fine_channels=8), geometry).eval()
    smooth = F.interpolate(torch.randn(1, 1, 7, 7), size=28, mode="bicubic", align_corners=False) * 4
    before, after = smooth[..., 6:22, 6:22], smooth[..., 6:22, 7:23]
    if not shift:
        after = before
    with torch.no_grad():
        flow = reader(tokens_from_feature_map(before, 4), tokens_from_feature_map(after, 4)) * 16
    assert abs(flow[:, 0, 2:-2, 2:-2].median() - shift) < 0.3 and abs(flow[:, 1, 2:-2, 2:-2].median()) < 0.3


def test_a_short_training_finds_the_motion_of_new_scenes():
    """States are the pixels themselves, 2 x 2 per sub-patch."""
    torch.manual_seed(0)
    geometry = FrameGeometry(frame_size=64, patch_size=16, width=192, subpatches=8)
    config = SyntheticConfig(frame_size=32, light=0.0, noise=0.0, camera_share=1.0, pan=0.08, rest=0.0)
    reader = FlowReader(FlowReaderConfig(channels=12, coarse_channels=12, radius=3, fine_channels=8), geometry)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)

    def draw(seed: int, clips: int = 16):
        scenes, generator = SyntheticScenes(config), torch.Generator().manual_seed(seed)
        track = scenes.draw_track(clips, 2, generator)
        frame_BTCHW, outlines = scenes.render_with_outlines(track, generator)
        token_XND = tokens_from_feature_map(frame_BTCHW.flatten(0, 1) * 4 - 2, 8)
        state_BTND = token_XND.unflatten(0, frame_BTCHW.shape[:2])
        motion = true_motion(track, outlines, 32)
        return state_BTND[:, 0], state_BTND[:, 1], motion.flow_BU2HW[:, 0], motion.visible_BU1HW[:, 0]

    def errors(seed: int):
        """Return the mean error where the content was visible: of the reader, and of a flow of zeros."""
        before, after, flow, visible = draw(seed, 32)
        with torch.no_grad():
            found = reader(before, after)
        return [((f - flow).norm(dim=1, keepdim=True) * visible).sum() / visible.sum() for f in (found, 0 * found)]

    for step in range(40):
        before, after, flow, visible = draw(step)
        loss = sum(flow_error(level, flow, visible) for level in reader.levels(before, after))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error, error_of_zeros = errors(999)
    assert error < 0.6 * error_of_zeros
