"""What several losses use: the structural loss, weighted means and noise."""

import torch

from lawm_core.batch_slice import BatchSlice
from lawm_core.training.losses import add_noise, structural_loss, weighted_mean
from tests.ranks import run_ranks

VALUE_BX = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
WEIGHT_BX = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([[0.0], [9.0], [1.0], [5.0]])


def test_structural_loss_is_computed_in_float32_under_autocast():
    """In bf16 the variance of a bright flat region is noise, and training would paint dots on it."""
    true = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.9
    true = torch.nn.functional.interpolate(true, size=64, mode="bicubic")
    plain = structural_loss(true + 0.001, true)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = structural_loss(true + 0.001, true)
    assert torch.equal(plain, mixed) and plain.max() < 0.01


def test_structural_loss_prefers_sharp_to_blurred_frames_and_is_zero_for_equal_ones():
    true = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1)
    assert structural_loss(true, true).abs().max() < 1e-5
    assert (structural_loss(blurred, true) > structural_loss((true + 0.05).clamp(0, 1), true)).all()


def test_structural_loss_of_a_frame_does_not_depend_on_the_others():
    true = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    frame = (true + 0.2 * torch.rand(true.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    alone = torch.cat([structural_loss(frame[i : i + 1], true[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(structural_loss(frame, true), alone)


def test_weighted_mean_ignores_values_with_weight_zero():
    value, weight = torch.tensor([1.0, 5.0, 100.0]), torch.tensor([3.0, 1.0, 0.0])
    assert weighted_mean(value, weight) == 2.0
    assert weighted_mean(value, torch.zeros(3)) == 0.0


def work(rank: int, folder: str) -> None:
    """Run one of two ranks with half of the rows each."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = slice(2 * rank, 2 * rank + 2)
    value_BX = VALUE_BX[rows].clone().requires_grad_(True)
    mean = weighted_mean(value_BX, WEIGHT_BX[rows])
    torch.save((mean.detach(), *torch.autograd.grad(mean, value_BX)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_mean_of_ranks_is_the_weighted_mean_of_the_whole_batch(tmp_path):
    run_ranks(work, (str(tmp_path),), 2)
    means, gradients = zip(*(torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)), strict=True)
    value_BX = VALUE_BX.clone().requires_grad_(True)
    whole = weighted_mean(value_BX, WEIGHT_BX)
    torch.testing.assert_close(torch.stack(means).mean(), whole.detach())
    torch.testing.assert_close(torch.cat(gradients) / 2, *torch.autograd.grad(whole, value_BX))


def test_noise_has_a_level_of_its_own_for_each_row():
    torch.manual_seed(0)
    noise_BX = add_noise(torch.zeros(200, 500), 0.1, BatchSlice())
    level_B = noise_BX.std(dim=1)
    assert level_B.min() < 0.02 and 0.18 < level_B.max() < 0.22 and 0.08 < level_B.mean() < 0.12
