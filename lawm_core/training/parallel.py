"""One objective on many ranks: DDP, with the whole model on each, or FSDP2, where it is held in pieces.

Both are PyTorch's own. Ranks average gradients; whatever is a statistic of the batch is already of all ranks' rows
(`runtime.py`), so a step is the one that a single process would take on the whole batch.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from lawm_core.models.blocks import Block
from lawm_core.runtime import many_ranks, ranks, sum_over_ranks
from lawm_core.training.batches import Pairs
from lawm_core.training.losses import Objective

PARALLEL = ("ddp", "fsdp")


class Stage(nn.Module):
    """What an objective trains, with its losses as the forward pass, which is what DDP and FSDP2 hold on to."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective  # no module, so what it only looks at is not trained, and not cut up
        self.trained = objective.trained()

    def forward(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """Named losses."""
        return self.objective.losses(pairs, progress)


def average_gradient(parameter: Tensor) -> None:
    """The mean of all ranks' gradients in place of one's own."""
    sum_over_ranks(parameter.grad).div_(ranks())


def waiting(stage: nn.Module, more: bool) -> contextlib.AbstractContextManager:
    """For a pass that `more` passes follow: ranks average what has gathered after the last. FSDP2's do so after each,
    where gradients would otherwise be held whole.
    """
    held = isinstance(stage, nn.parallel.DistributedDataParallel) and more
    return stage.no_sync() if held else contextlib.nullcontext()


def spread(objective: Objective, parallel: str, device: torch.device) -> nn.Module:
    """A stage on all ranks; alone, the stage itself. parallel: `ddp` or `fsdp`, ValueError for anything else."""
    if parallel not in PARALLEL:
        raise ValueError(f"parallel came as {parallel!r}; needed: one of {', '.join(PARALLEL)}.")
    stage = Stage(objective)
    if not many_ranks():
        return stage
    if parallel == "ddp":
        # A stage may leave weights alone, a sampler's for one.
        return nn.parallel.DistributedDataParallel(stage, find_unused_parameters=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks(),))
    single = {p for p in stage.parameters() if p.ndim == 0}  # cannot be cut up: every rank has them whole
    for number in single:
        number.register_post_accumulate_grad_hook(average_gradient)
    for block in (part for part in stage.trained.modules() if isinstance(part, Block)):
        fully_shard(block, mesh=mesh)
    return fully_shard(stage, mesh=mesh, ignored_params=single)
