"""Laws of the perceptual loss."""

import torch

from lawm_core.training.losses import structural_loss


def test_structure_is_measured_in_full_precision_under_autocast():
    """In bf16 the variance of a bright flat picture is noise, and training then paints dots on it."""
    true = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.9
    true = torch.nn.functional.interpolate(true, size=64, mode="bicubic")
    plain = structural_loss(true + 0.001, true)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = structural_loss(true + 0.001, true)
    assert torch.equal(plain, mixed) and plain < 0.01


def test_structure_prefers_sharp_to_blurred_and_is_zero_for_the_same():
    true = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1)
    assert structural_loss(true, true).abs() < 1e-5
    assert structural_loss(blurred, true) > structural_loss((true + 0.05).clamp(0, 1), true)
