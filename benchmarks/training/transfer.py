"""What keeps actions precise and yet good for other scenes?

    python benchmarks/training/transfer.py --data VIDEOS --model runs/nano/model [--steps 500] [--out t.json]

Trains a noisy family from nothing in each of six ways, for the same steps on the same encoder, and compares transfers
at full capacity on twins and on real cycles of the val split. A long run: six trainings.
"""

from __future__ import annotations

from arms import keep_arm, options, read_arms, shipped_and_worlds, train_arm

from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.suites import run_suites

# Each explains its target from: itself; itself in other colours; a twin; both of these; these with the way
# back as well; and half of the twins from each other, half from themselves.
ARMS: dict[str, dict[str, dict[str, object]]] = {
    "itself": {"batch": {"across": 0.0, "recoloured": 0.0}},
    "recoloured": {"batch": {"across": 0.0}},
    "twins": {"batch": {"recoloured": 0.0}},
    "recoloured and twins": {},
    "recoloured, twins and there and back": {"objective": {"cycle": 0.5}},
    "recoloured, half of the twins": {"batch": {"across": 0.5}},
}
FIGURES = {
    "idm": ("error", "against_copying"),
    "leakage": ("appearance",),
    "cycle": ("cycle_ratio", "cycled"),
    "twins": tuple(f"{kind}_{name}" for kind in ("camera", "objects") for name in ("effect", "efficiency", "edges")),
}


def main() -> None:
    """Trains, measures and prints a table."""
    given = options(__doc__, steps=500)
    shipped, worlds = shipped_and_worlds(given)
    config = SuiteConfig(capacities=(1.0,))
    table = read_arms(given)
    for name, changes in ARMS.items():
        if name in table:
            continue
        model = train_arm(shipped, worlds["train"], given.steps, given.clips, **changes, seed=given.seed)
        results = run_suites(model, worlds["val"], config, list(FIGURES))
        figures = {
            score.name: [round(x, 4) for x in (score.mean, score.low, score.high)]
            for suite, wanted in FIGURES.items()
            for score in results[suite].scores
            if score.name in wanted and score.step is None
        }
        keep_arm(given, table, name, figures)


if __name__ == "__main__":
    main()
