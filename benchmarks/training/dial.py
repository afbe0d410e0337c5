"""What does one model with a dial cost against a model for each setting?

    python benchmarks/training/dial.py --data VIDEOS [--model NAME] [--steps 700] [--out dial.json]

Trains four noisy families from nothing for the same steps on the same encoder: one with the dial, and one each at low,
middle and high strength throughout. Compares one-step errors under inferred actions on the val split, setting by
setting. A long run: four trainings.
"""

from __future__ import annotations

import torch
from arms import keep_arm, options, read_arms, shipped_and_worlds, train_arm

from lawm_core.evaluation.bench import Bench, Setting, SuiteConfig
from lawm_core.evaluation.idm import one_step
from lawm_core.models.bottlenecks import NoisyBottleneck, NoisyConfig

CAPACITIES = (0.0, 0.5, 1.0)


def main() -> None:
    """Trains, measures and prints a table."""
    given = options(__doc__, steps=700)
    shipped, worlds = shipped_and_worlds(given)
    dial = NoisyBottleneck(NoisyConfig())
    limits = {"dial": dial.config}
    for capacity in CAPACITIES:
        beta = dial.beta(torch.tensor(capacity)).item()
        limits[f"fixed at {capacity:g}"] = NoisyConfig(beta_low_capacity=beta, beta_high_capacity=beta)
    table = read_arms(given)
    for name, limit in limits.items():
        if name in table:
            continue
        model = train_arm(shipped, worlds["train"], given.steps, given.clips, limit)
        bench = Bench(model, worlds["val"], SuiteConfig())
        settings = CAPACITIES if name == "dial" else (float(name.rsplit(" ", 1)[1]),)
        with torch.inference_mode():
            figures = {f"{c:g}": one_step(bench, Setting("noisy", c))[0].mean for c in settings}
        keep_arm(given, table, name, figures)
    for capacity in CAPACITIES:
        dialled, fixed = table["dial"][f"{capacity:g}"], table[f"fixed at {capacity:g}"][f"{capacity:g}"]
        print(f"capacity {capacity:g}: dial {dialled:.4f}, fixed {fixed:.4f}, {dialled / fixed - 1:+.1%}")


if __name__ == "__main__":
    main()
