"""From what should actions be inferred in training, so that they are precise and transfer to other scenes?

    python benchmarks/training/transfer.py --data VIDEOS --model runs/nano/model [--steps 500] [--out transfer.json]

Trains a noisy family from scratch in each of six ways, for the same number of steps on the same frozen parts. Compares
transfers at capacity 1 between synthetic pairs, and between real clips of the val split and back. This takes as long as
six trainings.
"""

from __future__ import annotations

from ablation import open_model_and_data, parse_options, read_results, save_result, train_variant

from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.suites import run_suites

# Variants by name. The name says what the actions that predict a clip are inferred from in training.
VARIANTS: dict[str, dict[str, dict[str, object]]] = {
    "the target itself": {
        "batch": {"cross_pair_fraction": 0.0, "recolor_fraction": 0.0}, "loss": {"cycle": 0.0},
    },
    "a recolored copy": {"batch": {"cross_pair_fraction": 0.0}, "loss": {"cycle": 0.0}},
    "the other scene of a synthetic pair": {
        "batch": {"cross_pair_fraction": 1.0, "recolor_fraction": 0.0}, "loss": {"cycle": 0.0},
    },
    "recolored copies and synthetic pairs": {"batch": {"cross_pair_fraction": 1.0}, "loss": {"cycle": 0.0}},
    "both, and the cycle loss": {"batch": {"cross_pair_fraction": 1.0}, "loss": {"cycle": 0.5}},
    "both, half of the synthetic pairs crossed": {"batch": {"cross_pair_fraction": 0.5}, "loss": {"cycle": 0.0}},
}  # fmt: skip
SCORES = {  # names of the reported scores, by evaluation suite
    "idm": ("error", "error_vs_copying"),
    "leakage": ("appearance_probe",),
    "cycle": ("cycle_ratio", "cycled_vs_copying"),
    "synthetic": tuple(
        f"{kind}_{name}" for kind in ("camera", "objects") for name in ("effect", "efficiency", "edge_agreement")
    ),
}


def main() -> None:
    """Train all variants, measure them and print their scores."""
    options = parse_options(__doc__, steps=500)
    trained, data = open_model_and_data(options)
    config, results = SuiteConfig(capacities=(1.0,)), read_results(options)
    for name, changes in VARIANTS.items():
        if name in results:
            continue
        model = train_variant(trained, data["train"], options, **changes)
        suites = run_suites(model, data["val"], config, list(SCORES))
        result = {
            score.name: [round(x, 4) for x in (score.mean, score.low, score.high)]
            for suite, names in SCORES.items()
            for score in suites[suite].scores
            if score.name in names and score.step is None
        }
        save_result(options, results, name, result)


if __name__ == "__main__":
    main()
