"""Properties of optical flow: warping, composition and the cosine basis."""

import pytest
import torch

from lawm_core.models.flow import (
    Carry,
    dct_basis,
    expected_variance,
    flow_basis_size,
    flow_coefficients,
    flow_from_coefficients,
    inside_frame,
    visibility,
    warp,
)


def smooth_image(size: int, shift: float = 0.0) -> torch.Tensor:
    """Return an image of sine waves after the camera has moved right by `shift` frame widths: (1, 3, H, W)."""
    position = (torch.arange(size) + 0.5) / size
    y, x = position[:, None], position[None, :] + shift
    return torch.stack([torch.sin(9 * x + 4 * y), torch.cos(11 * x + 0 * y), torch.sin(7 * x - 8 * y)])[None]


def pan(distance: float, grid: int = 32) -> torch.Tensor:
    """Return the backward flow of a camera that moves right by `distance` frame widths."""
    flow = torch.zeros(1, 2, grid, grid)
    flow[:, 0] = distance
    return flow


# ---- warping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_a_flow_of_zeros_changes_nothing(mode):
    image = torch.rand(2, 4, 16, 16)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 8, 8), mode), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_a_flow_of_whole_pixels_is_a_shift(mode):
    image = torch.randn(1, 3, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0], flow[:, 1] = 2 / 8, -1 / 8  # content comes from two pixels to the right and one above
    warped = warp(image, flow, mode)
    torch.testing.assert_close(warped[..., 1:, :6], image[..., :-1, 2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [8, 32, 128])
def test_a_pan_is_the_same_at_any_resolution_of_the_flow(grid):
    warped, true = warp(smooth_image(64), pan(0.05, grid)), smooth_image(64, 0.05)
    torch.testing.assert_close(warped[..., :58], true[..., :58], atol=1e-2, rtol=0)


def test_repeated_bicubic_warping_keeps_edges():
    """Eight steps of half a pixel back and forth: bilinear warping would leave a sixteenth of a checkerboard."""
    image = (torch.arange(32)[None, :] // 2 + torch.arange(32)[:, None] // 2).remainder(2).float()[None, None]
    warped = image
    for step in range(8):
        warped = warp(warped, pan((0.5 if step % 2 else -0.5) / 32))
    inside = (..., slice(8, -8), slice(8, -8))
    assert warped[inside].std() > 0.6 * image[inside].std()


# ---- composition ----------------------------------------------------------------------------------------------------


def test_a_pan_composed_of_16_steps_equals_one_pan():
    carry = Carry.start(1, 32, torch.device("cpu"))
    for _ in range(16):
        carry = carry.step(pan(0.02), torch.ones(1, 1, 32, 32))
    torch.testing.assert_close(carry.flow_X2HW, pan(0.32), atol=1e-5, rtol=0)
    visible = carry.visible_X1HW[0, 0, 16]  # the right third was outside the first frame
    assert (visible[:17] > 0.95).all() and (visible[26:] < 0.05).all()
    # The image is sampled once, so it stays as sharp as it is.
    warped, true = warp(smooth_image(128), carry.flow_X2HW), smooth_image(128, 0.32)
    torch.testing.assert_close(warped[..., :80], true[..., :80], atol=1e-2, rtol=0)


def test_composition_follows_a_rotation():
    """30 steps of 3 degrees compose to a quarter turn."""
    position = (torch.arange(64) + 0.5) / 64 - 0.5
    y, x = torch.meshgrid(position, position, indexing="ij")
    angle = torch.tensor(torch.pi / 60)
    rotation = lambda a: torch.stack((x * a.cos() - y * a.sin() - x, x * a.sin() + y * a.cos() - y))[None]
    carry = Carry.start(1, 64, torch.device("cpu"))
    for _ in range(30):
        carry = carry.step(rotation(angle), torch.ones(1, 1, 64, 64))
    inner = x.square() + y.square() < 0.4**2
    error = (carry.flow_X2HW - rotation(torch.tensor(torch.pi / 2)))[0].norm(dim=0)[inner]
    assert error.max() < 2e-3


def test_visibility_never_increases_along_a_path():
    torch.manual_seed(0)
    carry = Carry.start(3, 16, torch.device("cpu"))
    for _ in range(6):
        flow, visible = torch.randn(3, 2, 16, 16) * 0.1, torch.rand(3, 1, 16, 16)
        before = warp(carry.visible_X1HW, flow, "bilinear")
        carry = carry.step(flow, visible)
        assert (carry.visible_X1HW <= before + 1e-6).all() and (carry.visible_X1HW <= visible + 1e-6).all()
        assert (carry.visible_X1HW[inside_frame(flow) == 0] == 0).all()


def test_probably_visible_pixels_stay_visible_over_many_steps():
    """Visibilities of 0 and 1 do not change when they are multiplied."""
    visible = visibility(torch.tensor([-9.0, -1.2, 0.0, 1.2, 9.0]))
    assert visible.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_carries_are_repeated_and_picked_along_the_batch():
    carry = Carry(torch.randn(6, 2, 4, 4), torch.rand(6, 1, 4, 4))
    assert torch.equal(carry.repeat(2).flow_X2HW, carry.flow_X2HW.repeat_interleave(2, dim=0))
    assert torch.equal(carry.last_frame(3).visible_X1HW, carry.visible_X1HW[[2, 5]])


# ---- cosine basis ---------------------------------------------------------------------------------------------------


def test_the_cosine_basis_is_orthogonal_and_starts_with_a_constant():
    basis = dct_basis(size=16, count=5)
    torch.testing.assert_close(basis @ basis.T / 16, torch.eye(5), atol=1e-5, rtol=0)
    assert torch.equal(basis[0], torch.ones(16))


def test_coefficients_can_be_inverted_and_do_not_depend_on_resolution():
    torch.manual_seed(0)
    coefficient = torch.randn(4, 2 * 64)
    for grid in (8, 32, 64):
        flow = flow_from_coefficients(coefficient, 8, grid)
        torch.testing.assert_close(flow_coefficients(flow, 8), coefficient, atol=1e-4, rtol=0)
    coefficient_of_pan = flow_coefficients(pan(0.05), 8)
    assert coefficient_of_pan[0, 0] == pytest.approx(0.05 * 64, abs=1e-4)
    assert coefficient_of_pan[0, 1:].abs().max() < 1e-4


def test_the_basis_fits_into_the_action_and_onto_the_flow():
    assert flow_basis_size(128, 64) == 8 and flow_basis_size(512, 64) == 16 and flow_basis_size(512, 8) == 8


def test_low_frequencies_are_expected_to_vary_more_than_high_ones():
    variance = expected_variance(150, 8)
    right, down = variance[:128].view(2, 8, 8)
    assert torch.equal(right, down) and (right.diff(dim=0) < 0).all() and (right.diff(dim=1) < 0).all()
    assert (variance[128:] == right[-1, -1]).all() and variance.min() > 0
