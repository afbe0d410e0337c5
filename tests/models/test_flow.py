"""Properties of optical flow: resampling, composition and the cosine basis."""

import pytest
import torch

from lawm_core.models.flow import (
    Carry,
    expected_variance,
    flow_coefficients,
    flow_from_coefficients,
    inside_frame,
    resample,
    wave_count,
)


def smooth_image(size: int, shift: float = 0.0) -> torch.Tensor:
    """A picture of slow waves, as it looks when the camera has moved right by `shift` frame widths: (1, 3, H, W)."""
    place = (torch.arange(size) + 0.5) / size
    y, x = place[:, None], place[None, :] + shift
    return torch.stack([torch.sin(9 * x + 4 * y), torch.cos(11 * x + 0 * y), torch.sin(7 * x - 8 * y)])[None]


def pan(distance: float, grid: int = 32) -> torch.Tensor:
    """The backward flow of a camera that moves right by `distance` frame widths."""
    flow = torch.zeros(1, 2, grid, grid)
    flow[:, 0] = distance
    return flow


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_a_flow_of_zeros_changes_nothing(mode):
    image = torch.rand(2, 4, 16, 16)
    torch.testing.assert_close(resample(image, torch.zeros(2, 2, 8, 8), mode), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [8, 32, 128])
def test_a_pan_is_the_same_at_any_resolution_of_the_flow(grid):
    moved, true = resample(smooth_image(64), pan(0.05, grid)), smooth_image(64, 0.05)
    torch.testing.assert_close(moved[..., :58], true[..., :58], atol=1e-2, rtol=0)


def test_a_known_pan_composed_over_16_steps_is_that_pan():
    carry = Carry.start(1, 32, torch.device("cpu"))
    for _ in range(16):
        carry = carry.step(pan(0.02), torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(carry.flow_X2HW, pan(0.32), atol=1e-5, rtol=0)
    # What lies in the right third was outside the first frame.
    seen = carry.visible_X1HW[0, 0, 16]
    assert (seen[:17] > 0.95).all() and (seen[26:] < 0.05).all()
    # One resampling in all: as sharp as the picture itself.
    moved, true = resample(smooth_image(128), carry.flow_X2HW), smooth_image(128, 0.32)
    torch.testing.assert_close(moved[..., :80], true[..., :80], atol=1e-2, rtol=0)


def test_composition_follows_a_turn():
    """A quarter turn in 30 steps of 3 degrees leads back to where everything was."""
    place = (torch.arange(64) + 0.5) / 64 - 0.5
    y, x = torch.meshgrid(place, place, indexing="ij")
    angle = torch.tensor(torch.pi / 60)
    turn = lambda a: torch.stack((x * a.cos() - y * a.sin() - x, x * a.sin() + y * a.cos() - y))[None]
    carry = Carry.start(1, 64, torch.device("cpu"))
    for _ in range(30):
        carry = carry.step(turn(angle), torch.ones(1, 1, 64, 64))
    inner = x.square() + y.square() < 0.4**2
    error = (carry.flow_X2HW - turn(torch.tensor(torch.pi / 2)))[0].norm(dim=0)[inner]
    assert error.max() < 2e-3


def test_visibility_never_increases_along_a_path():
    torch.manual_seed(0)
    carry = Carry.start(3, 16, torch.device("cpu"))
    for _ in range(6):
        flow, visible = torch.randn(3, 2, 16, 16) * 0.1, torch.rand(3, 1, 16, 16)
        before = resample(carry.visible_X1HW, flow, "bilinear")
        carry = carry.step(flow, visible)
        assert (carry.visible_X1HW <= before + 1e-6).all() and (carry.visible_X1HW <= visible + 1e-6).all()
        assert (carry.visible_X1HW[inside_frame(flow) == 0] == 0).all()


def test_coefficients_are_inverted_and_do_not_depend_on_resolution():
    torch.manual_seed(0)
    coefficient = torch.randn(4, 2 * 64)
    for grid in (8, 32, 64):
        flow = flow_from_coefficients(coefficient, 8, grid)
        torch.testing.assert_close(flow_coefficients(flow, 8), coefficient, atol=1e-4, rtol=0)
    whole = flow_coefficients(pan(0.05), 8)
    assert whole[0, 0] == pytest.approx(0.05 * 64, abs=1e-4) and whole[0, 1:].abs().max() < 1e-4


def test_slow_waves_are_expected_to_be_larger_than_fast_ones():
    assert wave_count(128, 64) == 8 and wave_count(512, 64) == 16 and wave_count(512, 8) == 8
    variance = expected_variance(150, 8)
    across, down = variance[:128].view(2, 8, 8)
    assert torch.equal(across, down) and (across.diff(dim=0) < 0).all() and (across.diff(dim=1) < 0).all()
    assert (variance[128:] == across[-1, -1]).all() and variance.min() > 0
