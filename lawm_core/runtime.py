"""Where computation happens: device, precision, and what several processes share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import nn


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; `auto` takes CUDA where it is there, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(device: torch.device, enabled: bool = True) -> contextlib.AbstractContextManager:
    """bf16 autocast on CPU or GPU: about twice as fast as float32 on CPUs with bf16 units, and safe in range."""
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=enabled)


def hold_matrices(module: nn.Module, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """Keeps linear layers' weights in half the bytes, as autocast would cast them anew at each call; itself.

    For use under `autocast` alone, where results are the same bit for bit.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.to(dtype)
    return module


# ---- many processes -------------------------------------------------------------------------------------------------


def many_ranks() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """This process's number, from 0; alone, 0."""
    return torch.distributed.get_rank() if many_ranks() else 0


def ranks() -> int:
    """How many processes train together; alone, 1."""
    return torch.distributed.get_world_size() if many_ranks() else 1


def launched_ranks() -> int:
    """How many processes `torchrun` started, whether they have joined or not; without it, 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined_ranks(device: torch.device) -> Iterator[torch.device]:
    """Joins the processes that `torchrun` started, for the block; this one's device. Without torchrun, the same."""
    if launched_ranks() < 2 or many_ranks():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # Long enough for the first rank to decode what the others wait for.
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def first_rank_first() -> Iterator[None]:
    """The first rank goes through the block alone, the others after it: what it leaves on the disk is theirs too."""
    if rank() > 0:
        torch.distributed.barrier()
    yield
    if rank() == 0 and many_ranks():
        torch.distributed.barrier()


def wait_for_ranks() -> None:
    """Until every rank has come here."""
    if many_ranks():
        torch.distributed.barrier()


def whole_batch(x_XA: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks, the first rank's first, with gradients to one's own; alone, the rows as they are.

    Where ranks average gradients, a loss of the whole batch's rows then has the gradient that one process would find.
    """
    return RowsOfAll.apply(x_XA) if many_ranks() else x_XA


class RowsOfAll(torch.autograd.Function):
    """Gathers as many rows of every rank; a row's gradient is the sum of what all ranks make of it."""

    @staticmethod
    def forward(ctx, x_XA: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(x_XA, memory_format=torch.contiguous_format) for _ in range(ranks())]
        torch.distributed.all_gather(parts, x_XA.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient_YA: torch.Tensor) -> torch.Tensor:
        return sum_over_ranks(gradient_YA.contiguous()).chunk(ranks())[rank()]


def mean_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """The mean of all ranks' tensors, with gradients to one's own; alone, the tensor as it is."""
    return whole_batch(x[None]).mean(dim=0) if many_ranks() else x


def sum_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """The sum of all ranks' tensors, in place; alone, the tensor as it is."""
    if many_ranks():
        torch.distributed.all_reduce(x)
    return x


def from_first_rank(x: torch.Tensor) -> torch.Tensor:
    """The first rank's tensor on every rank; alone, the tensor as it is."""
    if many_ranks():
        torch.distributed.broadcast(x, src=0)
    return x


# ---- tensors in pieces ----------------------------------------------------------------------------------------------


def whole(x: torch.Tensor) -> torch.Tensor:
    """All of a tensor that ranks hold in pieces; every rank has to ask. Others as they are."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def gathered(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Whole tensors in the first rank's memory, one after another; every rank has to ask, and the others get none."""
    kept = {}
    for name, tensor in tensors.items():
        all_of_it = whole(tensor.detach())
        if rank() == 0:
            kept[name] = all_of_it.cpu().contiguous()
    return kept


def cut_like(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, the same on every rank, in pieces as those of `like`; as it is where that is whole."""
    if not hasattr(like, "full_tensor"):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)
