"""Where computation happens: device, precision, and what several processes share."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import nn


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; `auto` takes CUDA where it is there, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


# ---- precision ------------------------------------------------------------------------------------------------------

PRECISIONS = ("auto", "float32", "bf16")
MEASURED_SECONDS = 0.05  # after which float32 is preferred if bf16 has not been faster
PRECISION_VARIABLE = "LAWM_PRECISION"  # in the environment; used where the precision is "auto"


def pick_precision(name: str = "auto", device: torch.device | str = "cpu") -> str:
    """Return `float32` or `bf16`, the precision of matrix products, convolutions and attention on a device.

    `auto` takes the environment variable LAWM_PRECISION if it is set, else bf16 on CUDA, else the faster of the two on
    this CPU. Raises ValueError for any other name.
    """
    name = requested_precision(name)
    if name == "auto":
        return "bf16" if torch.device(device).type == "cuda" or cpu_prefers_bf16() else "float32"
    return name


def requested_precision(name: str = "auto") -> str:
    """Return the precision that was asked for by name or, for `auto`, by the environment; `auto` if by neither."""
    source = "precision" if name != "auto" else PRECISION_VARIABLE
    name = name if name != "auto" else os.environ.get(PRECISION_VARIABLE) or "auto"
    if name not in PRECISIONS:
        raise ValueError(f"{source} must be one of {', '.join(PRECISIONS)}, got {name!r}.")
    return name


@functools.cache
def cpu_prefers_bf16() -> bool:
    """Return whether this CPU multiplies matrices faster in bf16 than in float32, decided once per process.

    Without bf16 instructions, bf16 is emulated and up to 100 times slower. With them, a measurement of a few
    milliseconds confirms that they work as advertised: virtual machines and emulators report flags that do not. A busy
    machine can delay all products of one round, so float32 is preferred only after several.
    """
    if not cpu_may_have_bf16():
        return False
    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    end, rounds = time.perf_counter() + MEASURED_SECONDS, 0
    while rounds < 2 or time.perf_counter() < end:
        rounds += 1
        best = {dtype: min(seconds, product_seconds(dtype)) for dtype, seconds in best.items()}
        if best[torch.bfloat16] < best[torch.float32]:
            return True
    return False


def cpu_may_have_bf16() -> bool:
    """Return False if the CPU is known to lack bf16 instructions (x86 without AVX512-BF16 and AMX)."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("architecture") != "x86_64":
        return True  # unknown: other architectures do not report all their units, so the measurement decides
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@torch.inference_mode()
def product_seconds(dtype: torch.dtype, repeats: int = 3) -> float:
    """Return the shortest of several times of one matrix product of 134 MFLOP."""
    x_XA, weight_AA = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(repeats + 1):  # the first call also prepares kernels; it is never the shortest
        start = time.perf_counter()
        torch.nn.functional.linear(x_XA, weight_AA)
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Autocast to bf16 for `bf16`; for `float32`, switch any surrounding autocast off."""
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def cast_linear_weights(module: nn.Module, precision: str) -> nn.Module:
    """Store the weights of linear layers in the given precision, in place, and return the module.

    For use under `autocast` in the same precision, which would otherwise cast them anew at each call; results are the
    same bit for bit.
    """
    if precision == "bf16":
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)
    return module


def describe_hardware(device: torch.device) -> str:
    """Return the kind of processor and the PyTorch version: what else has to be equal for equal bits."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or "CPU"
        name = f"{name} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{name}, torch {torch.__version__}"


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


def pick_shared_precision(name: str, device: torch.device) -> str:
    """Return the first rank's `pick_precision` on every rank: ranks may differ in hardware and in measurements."""
    is_bf16 = torch.tensor(float(pick_precision(name, device) == "bf16"), device=device)
    return "bf16" if from_first_rank(is_bf16) else "float32"


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
