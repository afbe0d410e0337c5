"""How near to the hardware's limit? Operations a call takes, its seconds, and the rate of plain matrix products.

Operations are those of matrix products, convolutions and attention, as PyTorch counts them; a multiplication and an
addition are two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

SHAPES = ((256, 1024, 4096), (2048, 1024, 4096), (4096, 4096, 4096))  # rows, inner, columns
LARGE = (8192, 8192, 8192)  # what a GPU needs to come to its best
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # PyTorch's table has CUDA's alone
BY_HAND = {
    ATTENTION: lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda out, q, k, v, *_, out_shape=None, **__: sdpa_backward_flop_count(out, q, k, v)
    ),
}


def operations(work: Callable[[], object]) -> int:
    """What one call takes."""
    with FlopCounterMode(display=False, custom_mapping=BY_HAND) as counter:
        work()
    return counter.get_total_flops()


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The median time of a call, after one that warms up."""
    work()
    return median(once(work, device) for _ in range(repeats))


def seconds_of_each(works: dict[str, Callable[[], object]], device: torch.device, rounds: int = 3) -> dict[str, float]:
    """The median time of each, taken in turns: what else the machine does meets all of them alike."""
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work, device, 1) if not times[name] else once(work, device))
    return {name: median(each) for name, each in times.items()}


def once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until what was asked of a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def matrix_rate(device: torch.device, precision: str, rounds: int = 3) -> float:
    """Operations a second of the fastest of several plain matrix products, in this very process."""
    best, dtype = 0.0, torch.bfloat16 if precision == "bf16" else torch.float32
    for rows, inner, columns in (*SHAPES, LARGE) if device.type == "cuda" else SHAPES:
        a = torch.randn(rows, inner, device=device).to(dtype)
        b = torch.randn(columns, inner, device=device).to(dtype)
        once = 2 * rows * inner * columns
        calls = max(1, int((2e11 if device.type == "cpu" else 2e13) / once))

        def many(a=a, b=b, calls=calls) -> None:
            for _ in range(calls):
                torch.nn.functional.linear(a, b)

        best = max(best, calls * once / seconds(many, device, rounds))
    return best
