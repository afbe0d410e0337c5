"""Measure how the memory of a rollout, and of one teacher-forced pass over all frames, grows with the number of frames.

    python benchmarks/memory.py [--horizons 4 8 16 32] [--layers 4] [--width 512] [--tokens 256] [--device auto]

The horizon is the number of frames. The attention window is as long, so the cache keeps all frames. If memory grows as
horizon ^ power, the power is reported for the two longest horizons: 1 is linear growth, and a mask over all pairs of
tokens would approach 2.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import write_results
from benchmarks.rollout import build_world_model, random_inputs
from lawm_core.runtime import autocast, pick_device, pick_precision

MODES = ("rollout", "one pass")


def additional_memory(mode: str, horizon: int, options: argparse.Namespace) -> float:
    """Return the peak memory of a call in MiB, less that of a rollout of two frames, measured in a new process.

    mode: one of MODES. horizon: number of frames.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (mode, horizon, options.layers, options.width, options.tokens, options.device))


@torch.inference_mode()
def measure(mode: str, horizon: int, layers: int, width: int, tokens: int, device_name: str) -> float:
    """Return what `additional_memory` measures. The process must be new, because its peak memory never decreases."""
    device = pick_device(device_name)
    world_model = build_world_model(tokens, width, layers, horizon).to(device)
    state_B1ND, action_BUA, capacity_B = random_inputs(world_model, horizon, device)
    with autocast(device, pick_precision("auto", device)):
        world_model.rollout(state_B1ND, action_BUA[:, :2], capacity_B)  # also takes what only a first call needs
        before = peak_memory(device)
        if mode == "rollout":
            world_model.rollout(state_B1ND, action_BUA, capacity_B)
        else:
            world_model(state_B1ND.expand(-1, horizon, -1, -1), action_BUA, capacity_B)
    return peak_memory(device) - before


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=[4, 8, 16, 32], help="numbers of frames")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=256, help="tokens per frame")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    horizons = sorted(set(options.horizons))
    if len(horizons) < 2 or horizons[0] < 3:
        parser.error(f"--horizons must be at least two different numbers, each at least 3, got {options.horizons}.")
    sizes = f"{options.layers} layers, width {options.width}, {options.tokens} tokens per frame"
    results: dict[str, object] = {"sizes": sizes}
    for mode in MODES:
        memory = {horizon: additional_memory(mode, horizon, options) for horizon in horizons}
        results |= {f"{mode}, {horizon} frames, MiB": mib for horizon, mib in memory.items()}
        short, long = horizons[-2:]
        results[f"{mode}, power of the horizon"] = math.log(memory[long] / memory[short]) / math.log(long / short)
    pairs = (horizons[-1] * options.tokens) ** 2
    results[f"a mask over all pairs of {horizons[-1]} frames, MiB"] = pairs / 2**20
    write_results(results, options.out)


if __name__ == "__main__":
    main()
