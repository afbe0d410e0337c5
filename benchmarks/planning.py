"""Is sharing the context worth it? A search whose candidates share one past against one that repeats it for each.

    python benchmarks/planning.py [--model NAME] [--samples 300] [--steps 3] [--context 4] [--out planning.json]

Same model, same draws, same plan (checked to 1e-4), in float32; then how much memory a search takes under a cap. Prints
a table and writes JSON.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lawm_core as lawm
from benchmarks.telling import tell

CAPS = (64, 256)  # MiB


@dataclass(frozen=True)
class RepeatedDynamics:
    """Each candidate goes through its whole past again, step by step, as planners without a cache do."""

    model: lawm.LatentActionModel
    state_1CND: Tensor
    action_1cA: Tensor
    at_once: int

    @torch.no_grad()
    def unroll(self, plan_SHA: Tensor) -> Tensor:
        """end_SND."""
        world_model, ends = self.model.member(None).world_model, []
        for part_SHA in plan_SHA.split(self.at_once):
            samples, capacity_S = len(part_SHA), torch.ones(len(part_SHA))
            state_SCND = self.state_1CND.expand(samples, -1, -1, -1)
            action_SUA = torch.cat((self.action_1cA.expand(samples, -1, -1), part_SHA), dim=1)
            for step in range(part_SHA.shape[1]):
                known = self.state_1CND.shape[1] + step
                predicted_SFND, _ = world_model(state_SCND, action_SUA[:, :known], capacity_S)
                state_SCND = torch.cat((state_SCND, predicted_SFND[:, -1:]), dim=1)
            ends.append(state_SCND[:, -1])
        return torch.cat(ends)


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--context", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("report/planning.json"))
    options = parser.parse_args()
    model = lawm.load_model(options.model)
    generator = torch.Generator().manual_seed(0)
    still_1CCHW = torch.rand(1, options.context, 3, model.frame_size, model.frame_size, generator=generator)
    with torch.inference_mode():
        state_1CND = model.encode(still_1CCHW)
        action_1cA = model.infer_actions(state_1CND) if options.context > 1 else None
        goal = lawm.GoalState(model.encode(still_1CCHW.flip(1))[0, 0])
    width = model.member(None).config.bottleneck.action_width
    search = lawm.free_search(torch.ones(width), options.steps)
    config = lawm.CemConfig(samples=options.samples, iterations=options.iterations)
    present = model.begin(state_1CND, action_1cA)
    memory = {}
    for cap in CAPS:  # the smallest first: the most a process ever took never falls
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timed(lawm.WorldModelDynamics(present, memory_bytes=cap * 2**20), goal, search, config)
        memory[f"grown by, MiB, under a cap of {cap}"] = (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        ) / 1024
    shared = lawm.WorldModelDynamics(present)
    past_1cA = action_1cA if action_1cA is not None else torch.zeros(1, 0, width)
    repeated = RepeatedDynamics(model, state_1CND, past_1cA, at_once=shared.chunk(options.steps))
    fast, plan = timed(shared, goal, search, config)
    slow, again = timed(repeated, goal, search, config)
    difference = (plan.action_HK - again.action_HK).abs().max().item()
    result = {
        "model": model.name, "samples": options.samples, "steps": options.steps, "context": options.context,
        "threads": torch.get_num_threads(), "shared, s an iteration": fast / options.iterations,
        "repeated, s an iteration": slow / options.iterations, "times faster": slow / fast,
        "largest difference of plans": difference, **memory,
    }  # fmt: skip
    tell(result, options.out)
    if difference > 1e-4:
        sys.exit("the two plans differ by more than 1e-4")


def timed(dynamics, goal, search, config) -> tuple[float, lawm.Plan]:
    """Seconds of a whole search, and its plan."""
    start = time.perf_counter()
    plan = lawm.plan_by_cem(dynamics, goal, search, config, torch.Generator().manual_seed(1))
    return time.perf_counter() - start, plan


if __name__ == "__main__":
    main()
