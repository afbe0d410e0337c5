"""How does memory grow with the horizon? A rollout, and one pass over all frames, each in a process of its own.

    python benchmarks/memory.py [--horizons 4 8 16 32] [--layers 4] [--width 512] [--tokens 256] [--device auto]

The window is as long as the horizon, so nothing is forgotten on the way. Growth is told as a power of the horizon
between the two longest: 1 is linear; a mask over all pairs of tokens would tend to 2.
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

from benchmarks.rollout import build_world_model, inputs
from benchmarks.telling import tell
from lawm_core.runtime import autocast, pick_device, pick_precision

WAYS = ("rollout", "one pass")


def most_taken(way: str, horizon: int, given: argparse.Namespace) -> float:
    """MiB that a call takes at its fullest, beyond a rollout of two frames; in a fresh process: a peak never falls."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (way, horizon, given.layers, given.width, given.tokens, given.device))


@torch.inference_mode()
def measure(way: str, horizon: int, layers: int, width: int, tokens: int, device_name: str) -> float:
    """In the process of its own."""
    device = pick_device(device_name)
    world_model = build_world_model(tokens, width, layers, horizon).to(device)
    state_B1ND, action_BUA, capacity_B = inputs(world_model, horizon, device)
    with autocast(device, pick_precision("auto", device)):
        world_model.rollout(state_B1ND, action_BUA[:, :2], capacity_B)  # what the first call alone needs
        before = peak(device)
        if way == "rollout":
            world_model.rollout(state_B1ND, action_BUA, capacity_B)
        else:
            world_model(state_B1ND.expand(-1, horizon, -1, -1), action_BUA, capacity_B)
    return peak(device) - before


def peak(device: torch.device) -> float:
    """The most this process has ever held, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    horizons = sorted(set(given.horizons))
    if len(horizons) < 2 or horizons[0] < 3:
        parser.error(f"horizons came as {given.horizons}; two or more of 3 frames and up are needed")
    figures: dict[str, object] = {"sizes": f"{given.layers} layers, width {given.width}, {given.tokens} tokens a frame"}
    for way in WAYS:
        taken = {horizon: most_taken(way, horizon, given) for horizon in horizons}
        figures |= {f"{way}, {horizon} frames, MiB": mib for horizon, mib in taken.items()}
        short, long = horizons[-2:]
        figures[f"{way}, power of the horizon"] = math.log(taken[long] / taken[short]) / math.log(long / short)
    pairs = (horizons[-1] * given.tokens) ** 2
    figures[f"a mask over all pairs of {horizons[-1]} frames would take, MiB"] = pairs / 2**20
    tell(figures, given.out)


if __name__ == "__main__":
    main()
