"""Is the key/value cache worth it? A rollout that feeds each frame once against one that recomputes its whole past.

    python benchmarks/rollout.py [--model NAME] [--frames 16] [--repeats 5] [--out rollout.json]

Same model, same run, same predictions (checked to 1e-4); prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lawm_core.checkpoint import load_model
from lawm_core.models.world_model import WorldModel


def recomputed(world_model: WorldModel, state_B1ND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> Tensor:
    """Every frame so far goes through the network again for each new one."""
    state_BTND = state_B1ND
    for u in range(action_BUA.shape[1]):
        predicted_BFND, _ = world_model(state_BTND, action_BUA[:, : u + 1], capacity_B)
        state_BTND = torch.cat((state_BTND, predicted_BFND[:, -1:]), dim=1)
    return state_BTND[:, 1:]


def seconds(work: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """The median time of a call, after one that warms up, and what it returns."""
    out, times = work(), []
    for _ in range(repeats):
        start = time.perf_counter()
        out = work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2], out


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("report/rollout.json"))
    options = parser.parse_args()
    model = load_model(options.model)
    world_model, encoder = model.member(None).world_model, model.config.encoder
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(1, 1, encoder.tokens, encoder.width, generator=generator)
    action = torch.randn(1, options.frames, model.member(None).config.bottleneck.action_width, generator=generator)
    capacity = torch.ones(1)
    fast, cached = seconds(lambda: world_model.rollout(state, action, capacity), options.repeats)
    slow, again = seconds(lambda: recomputed(world_model, state, action, capacity), options.repeats)
    difference = (cached - again).abs().max().item()
    result = {
        "model": model.name, "frames": options.frames, "threads": torch.get_num_threads(), "cached_seconds": fast,
        "recomputed_seconds": slow, "times_faster": slow / fast, "largest_difference": difference,
    }  # fmt: skip
    print(f"{'rollout':<12}{'seconds':>10}\n{'cached':<12}{fast:>10.3f}\n{'recomputed':<12}{slow:>10.3f}")
    print(f"{slow / fast:.1f} times faster; largest difference {difference:.1e}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    if difference > 1e-4:
        sys.exit("the two rollouts differ by more than 1e-4")


if __name__ == "__main__":
    main()
