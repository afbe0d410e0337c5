"""Metrics of frames are not fooled by grey, blurred or misplaced frames."""

import pytest
import torch

from lawm_core.evaluation.metrics import edges_kept, lpips, pixel_error, psnr, ssim

TRUE = torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_edges_kept_is_one_for_the_truth_and_zero_for_grey():
    assert edges_kept(TRUE, TRUE).item() == pytest.approx(1.0)
    grey = TRUE.mean(dim=(3, 4), keepdim=True).expand_as(TRUE)
    assert edges_kept(grey, TRUE).item() == pytest.approx(0.0, abs=1e-6)


def test_misplaced_edges_do_not_count():
    assert abs(edges_kept(TRUE.roll(8, dims=-1), TRUE).item()) < 0.1


def test_grey_has_a_low_pixel_error_but_no_edges():
    """Grey frames have a lower pixel error than sharp, misplaced ones: the error alone rewards blur."""
    grey = torch.full_like(TRUE, 0.5)
    moved = TRUE.roll(1, dims=-1) * 0.5 + TRUE * 0.5
    assert pixel_error(grey, TRUE).mean() < pixel_error(TRUE.roll(8, dims=-1), TRUE).mean()
    assert edges_kept(moved, TRUE) > 0.4 > edges_kept(grey, TRUE)


def test_psnr_of_a_known_error():
    assert psnr(torch.full((2, 3, 4, 4), 0.6), torch.full((2, 3, 4, 4), 0.5)).tolist() == pytest.approx([20.0, 20.0])


def test_similarity_is_perfect_for_equal_clips_and_falls_with_blur():
    blurred = torch.nn.functional.avg_pool2d(TRUE.flatten(0, 1), 3, stride=1, padding=1).unflatten(0, (2, 5))
    assert ssim(TRUE, TRUE).tolist() == pytest.approx([1, 1], abs=1e-4) and ssim(blurred, TRUE).max() < 0.8
    distance = lpips(TRUE, TRUE)  # None without its weights, which are not downloaded
    assert distance is None or distance.tolist() == pytest.approx([0, 0], abs=1e-4)
