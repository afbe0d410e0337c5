"""What does one model for all capacities cost, compared with one model per capacity?

    python benchmarks/training/capacity.py --data VIDEOS --model runs/nano/model [--steps 700] [--out capacity.json]

Trains five noisy families from scratch, for the same number of steps on the same frozen parts: one for all capacities
with uniform sampling, one for all capacities that samples high ones more often, and one each for a fixed low, middle
and high capacity. Compares their one-step errors under inferred actions on the val split, at each capacity. This takes
as long as five trainings.
"""

from __future__ import annotations

import dataclasses

import torch
from ablation import open_model_and_data, parse_options, read_results, save_result, train_variant

from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.idm import score_one_step
from lawm_core.evaluation.scores import Setting
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import NoisyConfig

CAPACITIES = (0.0, 0.5, 1.0)
POWERS = {"uniform": 1.0, "high preferred": 0.5}  # see LatentActionLossConfig.capacity_power


def main() -> None:
    """Train all variants, measure them and print a comparison."""
    options = parse_options(__doc__, steps=700)
    trained, data = open_model_and_data(options)
    results = read_results(options)
    for name, changes, capacities in variants(trained):
        if name in results:
            continue
        model = train_variant(trained, data["train"], options, **changes)
        bench = Bench(model, data["val"], SuiteConfig())
        with torch.inference_mode():
            result = {f"{c:g}": score_one_step(bench, Setting("noisy", c))[0].mean for c in capacities}
        save_result(options, results, name, result)
    for name in POWERS:
        for capacity in (f"{c:g}" for c in CAPACITIES):
            shared, fixed = results[name][capacity], results[f"fixed at {capacity}"][capacity]
            print(f"{name}, capacity {capacity}: {shared:.4f}; fixed: {fixed:.4f}; {shared / fixed - 1:+.1%}")


def variants(trained: LatentActionModel) -> list[tuple[str, dict, tuple[float, ...]]]:
    """Return each variant: its name, its arguments of `train_variant`, and the capacities to evaluate it at."""
    config = trained.config.families["noisy"].bottleneck
    assert isinstance(config, NoisyConfig)
    shared = [(name, {"loss": {"capacity_power": power}}, CAPACITIES) for name, power in POWERS.items()]
    fixed = []
    for capacity in CAPACITIES:
        beta = config.build().beta(torch.tensor(capacity)).item()
        one = dataclasses.replace(config, beta_low_capacity=beta, beta_high_capacity=beta)
        fixed.append((f"fixed at {capacity:g}", {"bottleneck": one}, (capacity,)))
    return [*shared, *fixed]


if __name__ == "__main__":
    main()
