"""Measure the operations and seconds of a call, and the rate of plain matrix products as the limit of the hardware.

Operations are those of matrix products, convolutions and attention, as PyTorch counts them; a multiplication and an
addition count as two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

SHAPES = ((256, 1024, 4096), (2048, 1024, 4096), (4096, 4096, 4096))  # rows, inner size, columns
GPU_SHAPE = (8192, 8192, 8192)  # smaller products do not reach the highest rate of a GPU
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # PyTorch's counter knows that of CUDA only
CPU_ATTENTION = {
    ATTENTION: lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda out, q, k, v, *_, out_shape=None, **__: sdpa_backward_flop_count(out, q, k, v)
    ),
}


def count_operations(call: Callable[[], object]) -> int:
    """Return the number of operations of a call."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        call()
    return counter.get_total_flops()


def median_seconds(call: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Return the median seconds of a call, after a first call that is not measured."""
    call()
    return median(time_once(call, device) for _ in range(repeats))


def median_seconds_of_each(
    calls: dict[str, Callable[[], object]], device: torch.device, rounds: int = 3
) -> dict[str, float]:
    """Return the median seconds of each call, by name.

    The calls take turns, so that other processes slow down all of them equally. The first call of each does not count.
    """
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(time_once(call, device) if times[name] else median_seconds(call, device, 1))
    return {name: median(each) for name, each in times.items()}


def time_once(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished; only a GPU still computes after a call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def matrix_rate(device: torch.device, precision: str, rounds: int = 3) -> float:
    """Return the operations per second of the fastest of several plain matrix products.

    rounds: number of measurements of each product, of which the median counts.
    """
    best, dtype = 0.0, torch.bfloat16 if precision == "bf16" else torch.float32
    for rows, inner, columns in (*SHAPES, GPU_SHAPE) if device.type == "cuda" else SHAPES:
        a = torch.randn(rows, inner, device=device).to(dtype)
        b = torch.randn(columns, inner, device=device).to(dtype)
        operations = 2 * rows * inner * columns
        calls = max(1, int((2e11 if device.type == "cpu" else 2e13) / operations))

        def repeat(a=a, b=b, calls=calls) -> None:
            for _ in range(calls):
                torch.nn.functional.linear(a, b)

        best = max(best, calls * operations / median_seconds(repeat, device, rounds))
    return best
