"""The interface of losses, and functions that several losses use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lawm_core.batch_slice import BatchSlice
from lawm_core.runtime import sum_over_ranks, world_size


class Loss(Protocol):
    """Base of losses: what a training stage minimises, and the modules that it trains."""

    def losses(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the named losses of a batch; `loss` is minimised, the others are logged.

        progress: fraction of the training done, 0 to 1.
        """
        ...

    def trained(self) -> nn.Module:
        """Return the module that holds all trained weights."""
        ...

    def before_step(self) -> None:
        """Update modules that are not trained by gradients. The trainer calls this once before each step."""


def structural_loss(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Return 1 - MS-SSIM over three scales (Wang et al. 2003) of each frame, (X,).

    It penalises blur, which an L1 loss hardly does.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    betas, size = (0.3, 0.3, 0.4), 7
    # In bf16, local variances are lost to rounding, because they are differences of large numbers. Dots would then
    # appear in bright flat regions.
    with torch.autocast(frame_XCHW.device.type, enabled=False):
        similarity = ms_ssim(
            frame_XCHW.float(), true_XCHW.float(), data_range=1.0, betas=betas, kernel_size=size, sigma=1.0,
            normalize="relu", gaussian_kernel=True, reduction="none",
        )  # fmt: skip
    return 1 - similarity


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """Return this rank's share of a weighted mean over the batches of all ranks.

    The mean of the returned values over all ranks is the weighted mean of the whole batch, because the trainer averages
    losses and gradients over ranks. Each rank divides its own weighted sum by the mean over ranks of the total weight.
    This divisor is at least 1, so that the result is small rather than noisy if nearly all weights are 0. In a single
    process, the weighted mean itself is returned.

    weight: must broadcast to the shape of `value`.
    """
    total = sum_over_ranks(weight.detach().float().expand_as(value).sum()) / world_size()
    return (value * weight).sum() / total.clamp_min(1.0)


def add_noise(state: Tensor, std: float, batch_slice: BatchSlice, stacks: int = 1) -> Tensor:
    """Return states with added normal noise.

    The standard deviation is drawn for each row (index of the first axis), uniformly between 0 and 2 * std. stacks:
    number of copies of the batch that are concatenated in the rows, see `BatchSlice.row_indices`.
    """
    (rows, *shape), device = state.shape, state.device
    level = batch_slice.rand(rows, *[1] * len(shape), device=device, stacks=stacks) * 2 * std
    return state + level * batch_slice.randn(rows, *shape, device=device, stacks=stacks)


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the sum of the losses that have a weight, each times its weight."""
    return torch.stack([weight * losses[name] for name, weight in weights.items()]).sum()
