"""What does one model with a dial cost against a model for each setting?

    python benchmarks/training/dial.py --data VIDEOS --model runs/nano/model [--steps 700] [--out dial.json]

Trains five noisy families from nothing for the same steps on the same encoder: one with the dial, one whose dial
stands high more often, and one each at low, middle and high strength throughout. Compares one-step errors under
inferred actions on the val split, setting by setting. A long run: five trainings.
"""

from __future__ import annotations

import torch
from arms import keep_arm, options, read_arms, shipped_and_worlds, train_arm

from lawm_core.evaluation.bench import Bench, Setting, SuiteConfig
from lawm_core.evaluation.idm import one_step
from lawm_core.models.bottlenecks import NoisyBottleneck, NoisyConfig

CAPACITIES = (0.0, 0.5, 1.0)
LEANING, LEAN = "leaning dial", 0.5


def main() -> None:
    """Trains, measures and prints a table."""
    given = options(__doc__, steps=700)
    shipped, worlds = shipped_and_worlds(given)
    dial = NoisyBottleneck(NoisyConfig())
    limits = {"dial": dial.config, LEANING: dial.config}
    for capacity in CAPACITIES:
        beta = dial.beta(torch.tensor(capacity)).item()
        limits[f"fixed at {capacity:g}"] = NoisyConfig(beta_low_capacity=beta, beta_high_capacity=beta)
    table = read_arms(given)
    for name, limit in limits.items():
        if name in table:
            continue
        objective = {"lean": LEAN} if name == LEANING else {}
        model = train_arm(
            shipped, worlds["train"], given.steps, given.clips, limit, objective=objective, seed=given.seed
        )
        bench = Bench(model, worlds["val"], SuiteConfig())
        settings = (float(name.rsplit(" ", 1)[1]),) if name.startswith("fixed") else CAPACITIES
        with torch.inference_mode():
            figures = {f"{c:g}": one_step(bench, Setting("noisy", c))[0].mean for c in settings}
        keep_arm(given, table, name, figures)
    for name in ("dial", LEANING):
        for capacity in CAPACITIES:
            dialled, fixed = table[name][f"{capacity:g}"], table[f"fixed at {capacity:g}"][f"{capacity:g}"]
            print(f"{name} at {capacity:g}: {dialled:.4f}, fixed {fixed:.4f}, {dialled / fixed - 1:+.1%}")


if __name__ == "__main__":
    main()
