"""Measures against toys that fool naive ones."""

import pytest
import torch

from lawm_core.evaluation.metrics import TwinErrors, edges_kept, lpips, pixel_error, psnr, ssim

TRUE = torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_edges_are_one_for_truth_and_none_for_grey():
    assert edges_kept(TRUE, TRUE).item() == pytest.approx(1.0)
    grey = TRUE.mean(dim=(3, 4), keepdim=True).expand_as(TRUE)
    assert edges_kept(grey, TRUE).item() == pytest.approx(0.0, abs=1e-6)


def test_misplaced_edges_do_not_count():
    assert abs(edges_kept(TRUE.roll(8, dims=-1), TRUE).item()) < 0.1


def test_grey_wins_on_error_but_not_on_edges():
    """A misplaced sharp picture has a larger pixel error than plain grey: error alone would reward fading."""
    grey = torch.full_like(TRUE, 0.5)
    moved = TRUE.roll(1, dims=-1) * 0.5 + TRUE * 0.5
    assert pixel_error(grey, TRUE).mean() < pixel_error(TRUE.roll(8, dims=-1), TRUE).mean()
    assert edges_kept(moved, TRUE) > 0.4 > edges_kept(grey, TRUE)


def test_a_model_that_ignores_actions_has_no_effect():
    same = TwinErrors(oracle=0.1, transfer=0.1, wrong=0.1, still=0.12)
    assert same.effect == 0 and same.efficiency == 0


def test_a_model_that_leaks_appearance_has_effect_without_efficiency():
    leak = TwinErrors(oracle=0.05, transfer=0.1, wrong=0.1, still=0.1)
    assert leak.effect == pytest.approx(0.5) and leak.efficiency == pytest.approx(0.0)


def test_perfect_transfer_has_both():
    good = TwinErrors(oracle=0.05, transfer=0.05, wrong=0.1, still=0.1)
    assert good.effect == pytest.approx(0.5) and good.efficiency == pytest.approx(1.0)
    assert good.against_still == pytest.approx(0.5)


def test_psnr_of_a_known_error():
    assert psnr(torch.full((2, 3, 4, 4), 0.6), torch.full((2, 3, 4, 4), 0.5)).tolist() == pytest.approx([20.0, 20.0])


def test_likeness_of_clips_is_one_for_the_same_and_falls_with_blur():
    blurred = torch.nn.functional.avg_pool2d(TRUE.flatten(0, 1), 3, stride=1, padding=1).unflatten(0, (2, 5))
    assert ssim(TRUE, TRUE).tolist() == pytest.approx([1, 1], abs=1e-4) and ssim(blurred, TRUE).max() < 0.8
    distance = lpips(TRUE, TRUE)  # None where its weights are not on this machine: nothing is downloaded
    assert distance is None or distance.tolist() == pytest.approx([0, 0], abs=1e-4)
