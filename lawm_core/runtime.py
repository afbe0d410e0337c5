"""Where computation happens: device, precision, and what several processes share."""

from __future__ import annotations

import contextlib

import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes CUDA where it is there, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(device: torch.device, enabled: bool = True) -> contextlib.AbstractContextManager:
    """bf16 autocast on CPU or GPU: about twice as fast as float32 on CPUs with bf16 units, and safe in range."""
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=enabled)


# ---- many processes -------------------------------------------------------------------------------------------------


def many_ranks() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def whole_batch(x_XA: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks, with gradients to one's own; alone, the rows as they are."""
    if not many_ranks():
        return x_XA
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x_XA.contiguous()))


def sum_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """The sum of all ranks' tensors; alone, the tensor as it is."""
    if many_ranks():
        torch.distributed.all_reduce(x)
    return x


def from_first_rank(x: torch.Tensor) -> torch.Tensor:
    """The first rank's tensor on every rank; alone, the tensor as it is."""
    if many_ranks():
        torch.distributed.broadcast(x, src=0)
    return x
