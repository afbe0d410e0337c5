"""Measure how much faster planning is if all candidates share one context instead of computing it again for each.

    python benchmarks/planning.py [--model NAME] [--samples 300] [--steps 3] [--context 4] [--out planning.json]

Both searches use the same model and the same samples in float32, and must find the same plan. Also measures how much
memory a search takes under each of two memory limits.
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

from benchmarks.results import write_results
from benchmarks.rollout import recomputed_rollout
from lawm_core.checkpoint import load_model
from lawm_core.models.world_model import WorldModel
from lawm_core.planning.cem import CemConfig, SearchSpace, independent_steps, plan_by_cem
from lawm_core.planning.costs import GoalStateCost
from lawm_core.planning.dynamics import WorldModelDynamics
from lawm_core.types import Dynamics, Plan

LIMITS = (64, 256)  # memory limits of a search, MiB
MAX_DIFFERENCE = 1e-4  # largest difference between the actions of both plans


@dataclass(frozen=True)
class RepeatedDynamics:
    """Dynamics that compute all previous frames again for each candidate and step, as planners without a cache do.

    context_1TND: states of the given frames. action_1UA: actions between these states. chunk_size: number of candidates
    that are rolled out at once.
    """

    world_model: WorldModel
    context_1TND: Tensor
    action_1UA: Tensor
    chunk_size: int

    @torch.no_grad()
    def unroll(self, plan_SKA: Tensor) -> Tensor:
        """Return the state after the last step of each plan, final_SND."""
        return torch.cat([self._final_states(part_SKA) for part_SKA in plan_SKA.split(self.chunk_size)])

    def _final_states(self, plan_SKA: Tensor) -> Tensor:
        samples = len(plan_SKA)
        context_STND = self.context_1TND.expand(samples, -1, -1, -1)
        action_SUA = torch.cat((self.action_1UA.expand(samples, -1, -1), plan_SKA), dim=1)
        return recomputed_rollout(self.world_model, context_STND, action_SUA, torch.ones(samples))[:, -1]


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--context", type=int, default=4, help="number of given frames")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("report/planning.json"))
    options = parser.parse_args()
    model = load_model(options.model, precision="float32")
    bound, generator = model.at(), torch.Generator().manual_seed(0)
    frame_1TCHW = torch.rand(1, options.context, 3, model.frame_size, model.frame_size, generator=generator)
    with torch.inference_mode():
        context_1TND = model.encode(frame_1TCHW)
        action_1UA = bound.infer_actions(context_1TND) if options.context > 1 else None
        goal = GoalStateCost(model.encode(frame_1TCHW.flip(1))[0, 0])
    space = independent_steps(torch.ones(bound.action_width), options.steps)
    config = CemConfig(samples=options.samples, elites=min(10, options.samples), iterations=options.iterations)
    start, memory = bound.start_rollout(context_1TND, action_1UA), {}
    for limit in LIMITS:  # the smallest first: the peak memory of a process never decreases
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timed_plan(WorldModelDynamics(start, memory_bytes=limit * 2**20), goal, space, config)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory[f"additional memory, MiB, with a limit of {limit}"] = (after - before) / 1024
    shared = WorldModelDynamics(start)
    action_1UA = action_1UA if action_1UA is not None else torch.zeros(1, 0, bound.action_width)
    chunk_size = shared.chunk_size(options.steps)
    repeated = RepeatedDynamics(bound.family.world_model, context_1TND, action_1UA, chunk_size)
    shared_seconds, shared_plan = timed_plan(shared, goal, space, config)
    repeated_seconds, repeated_plan = timed_plan(repeated, goal, space, config)
    difference = (shared_plan.action_KR - repeated_plan.action_KR).abs().max().item()
    results = {
        "model": model.name, "samples": options.samples, "steps": options.steps, "context": options.context,
        "threads": torch.get_num_threads(), "shared context, s per iteration": shared_seconds / options.iterations,
        "repeated context, s per iteration": repeated_seconds / options.iterations,
        "times faster": repeated_seconds / shared_seconds, "largest difference of plans": difference, **memory,
    }  # fmt: skip
    write_results(results, options.out)
    if difference > MAX_DIFFERENCE:
        sys.exit(
            f"the plans with shared and with repeated context must differ by at most {MAX_DIFFERENCE:.0e}, "
            f"got {difference:.1e}."
        )


def timed_plan(dynamics: Dynamics, goal: GoalStateCost, space: SearchSpace, config: CemConfig) -> tuple[float, Plan]:
    """Search for a plan, and return the seconds that it took and the plan."""
    start = time.perf_counter()
    plan = plan_by_cem(dynamics, goal, space, config, torch.Generator().manual_seed(1))
    return time.perf_counter() - start, plan


if __name__ == "__main__":
    main()
