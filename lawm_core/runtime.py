"""Device, precision and helpers for distributed training."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import nn


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device called `name`; `auto` is CUDA if available, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


# ---- precision ------------------------------------------------------------------------------------------------------

PRECISIONS = ("auto", "float32", "bf16")
MEASURED_SECONDS = 0.05  # time to measure, after which float32 is chosen unless bf16 has been faster
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
    """Return the requested precision: `name` or, for `auto`, the environment variable; `auto` if neither is set."""
    source = "precision" if name != "auto" else PRECISION_VARIABLE
    name = name if name != "auto" else os.environ.get(PRECISION_VARIABLE) or "auto"
    if name not in PRECISIONS:
        raise ValueError(f"{source} must be one of {', '.join(PRECISIONS)}, got {name!r}.")
    return name


@functools.cache
def cpu_prefers_bf16() -> bool:
    """Return whether this CPU multiplies matrices faster in bf16 than in float32, decided once per process.

    Without bf16 instructions, bf16 is emulated and up to 100 times slower. If the CPU reports these instructions,
    matrix products are measured, because virtual machines can report instructions that are emulated. bf16 is chosen as
    soon as its best time is shorter. float32 is chosen only after several rounds, because other processes can slow down
    a round.
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
    """Return False if the CPU is known to lack bf16 instructions: x86 with neither AVX512-BF16 nor AMX-BF16."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("architecture") != "x86_64":
        return True  # unknown: other architectures do not report all their units, so the measurement decides
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@torch.inference_mode()
def product_seconds(dtype: torch.dtype, repeats: int = 3) -> float:
    """Return the time of a matrix product of 134 MFLOP in seconds, the shortest of several measurements."""
    x_XA, weight_AA = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(repeats + 1):  # the first call also prepares kernels; it is never the shortest
        start = time.perf_counter()
        torch.nn.functional.linear(x_XA, weight_AA)
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Return a context manager that autocasts to bf16 for `bf16`, and disables autocasting for `float32`."""
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def cast_linear_weights(module: nn.Module, precision: str) -> nn.Module:
    """Store the weights of linear layers in the given precision, in place, and return the module.

    `autocast` in the same precision then no longer has to cast them at each call. Results are bit-identical, but only
    under `autocast`.
    """
    if precision == "bf16":
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)
    return module


def describe_hardware(device: torch.device) -> str:
    """Return the names of processor or GPU and the version of PyTorch. Results are bit-identical if these are equal."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name") or "CPU"
        name = f"{name} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{name}, torch {torch.__version__}"


# ---- distributed training -------------------------------------------------------------------------------------------


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """Return the rank of this process; 0 without distributed training."""
    return torch.distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes that train together; 1 without distributed training."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def launched_world_size() -> int:
    """Return the number of processes that `torchrun` launched, whether or not they have joined; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Context manager that initialises the process group under `torchrun` and yields this rank's device.

    Without `torchrun` it yields `device` and does nothing else.
    """
    if launched_world_size() < 2 or is_distributed():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # Long enough for rank 0 to decode the data set while the others wait.
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
    try:
        yield device
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """Context manager in which rank 0 runs the block first. Other ranks run it afterwards and find its files."""
    if rank() > 0:
        torch.distributed.barrier()
    yield
    if rank() == 0 and is_distributed():
        torch.distributed.barrier()


def barrier() -> None:
    """Wait until every rank has called this."""
    if is_distributed():
        torch.distributed.barrier()


def gather_rows(x_XA: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of all ranks, rank 0 first. All ranks must have equally many rows.

    Gradients flow back to the rows of every rank. If each rank computes a loss of all rows and ranks average their
    gradients, the gradient is the same as in a single process.
    """
    return GatherRows.apply(x_XA) if is_distributed() else x_XA


class GatherRows(torch.autograd.Function):
    """All-gather with gradients: the gradient of a row is the sum of its gradients on all ranks."""

    @staticmethod
    def forward(ctx, x_XA: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(x_XA, memory_format=torch.contiguous_format) for _ in range(world_size())]
        torch.distributed.all_gather(parts, x_XA.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient_YA: torch.Tensor) -> torch.Tensor:
        return sum_over_ranks(gradient_YA.contiguous()).chunk(world_size())[rank()]


def mean_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over ranks, with gradients as in `gather_rows`."""
    return gather_rows(x[None]).mean(dim=0) if is_distributed() else x


def sum_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over ranks, in place, and return it."""
    if is_distributed():
        torch.distributed.all_reduce(x)
    return x


def from_first_rank(x: torch.Tensor) -> torch.Tensor:
    """Overwrite a tensor in place with that of rank 0, and return it."""
    if is_distributed():
        torch.distributed.broadcast(x, src=0)
    return x


def pick_shared_precision(name: str, device: torch.device) -> str:
    """Return the precision that `pick_precision` gives on rank 0. The hardware and measurements of ranks may differ."""
    is_bf16 = torch.tensor(float(pick_precision(name, device) == "bf16"), device=device)
    return "bf16" if from_first_rank(is_bf16) else "float32"


# ---- sharded tensors ------------------------------------------------------------------------------------------------


def full_tensor(x: Any) -> torch.Tensor:
    """Gather a tensor that is sharded over ranks; every rank must call this. Other tensors are returned unchanged."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def gather_state(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gather tensors, sharded or not, one by one into the CPU memory of rank 0.

    Every rank must call this function; the result is empty on the other ranks.
    """
    gathered = {}
    for name, tensor in tensors.items():
        whole = full_tensor(tensor.detach())
        if rank() == 0:
            gathered[name] = whole.cpu().contiguous()
    return gathered


def shard_like(x: torch.Tensor, like: Any) -> torch.Tensor:
    """Shard a tensor, which must be equal on all ranks, in the same way as `like`.

    It is returned unchanged if `like` is not sharded.
    """
    if not hasattr(like, "full_tensor"):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)
