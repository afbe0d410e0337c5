"""Training of a loss on many ranks, with DDP (each rank has a copy of the model) or FSDP2 (the model is sharded).

Ranks average their gradients, and batch statistics are computed over all ranks (`runtime.gather_rows`), so a step is
the same as in a single process with the whole batch.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from lawm_core.models.transformer import Block
from lawm_core.runtime import is_distributed, sum_over_ranks, world_size
from lawm_core.training.losses import Loss

PARALLEL = ("ddp", "fsdp")


class LossModule(nn.Module):
    """A module whose forward pass computes a loss, so that DDP and FSDP2 can wrap it."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss  # not an nn.Module: networks outside `trained` are neither trained nor sharded
        self.trained = loss.trained()

    def forward(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the named losses of a batch, see `Loss.losses`."""
        return self.loss.losses(batch, progress)


def parallelize(loss: Loss, parallel: str, device: torch.device) -> nn.Module:
    """Return a module that computes a loss, prepared for training on all ranks.

    parallel: `ddp` or `fsdp`. Raises ValueError for any other name.
    """
    if parallel not in PARALLEL:
        raise ValueError(f"parallel must be one of {', '.join(PARALLEL)}, got {parallel!r}.")
    module = LossModule(loss)
    if not is_distributed():
        return module
    if parallel == "ddp":
        # Some weights of a trained module get no gradient from its loss, for example those of a family's sampler.
        return nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world_size(),))
    scalars = {p for p in module.parameters() if p.ndim == 0}  # FSDP2 cannot shard these, so every rank holds them
    for scalar in scalars:
        scalar.register_post_accumulate_grad_hook(average_gradient)
    for block in (part for part in module.trained.modules() if isinstance(part, Block)):
        fully_shard(block, mesh=mesh)
    return fully_shard(module, mesh=mesh, ignored_params=scalars)  # pyright: ignore[reportReturnType]


def average_gradient(parameter: Tensor) -> None:
    """Replace the gradient of a parameter by its mean over all ranks, in place."""
    assert parameter.grad is not None
    sum_over_ranks(parameter.grad).div_(world_size())


def gradient_sync(module: Any, last: bool) -> contextlib.AbstractContextManager:
    """Context manager for the forward and backward pass of a micro-batch.

    With DDP, gradients are averaged over ranks only after the last micro-batch of a step, which saves communication.
    With FSDP2 they are averaged after each, because each rank would otherwise hold the gradients of the whole model.

    last: whether this is the last micro-batch of the step.
    """
    skip = isinstance(module, nn.parallel.DistributedDataParallel) and not last
    return module.no_sync() if skip else contextlib.nullcontext()
