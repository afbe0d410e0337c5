"""Numbers that the paper prints, for comparison [LAWM].

The paper's models are larger (ViT-L, 256 px, web video), so compare trends, not absolute values. The keys "low",
"middle" and "high" stand for the lowest, a middle and the highest capacity that the paper reports for a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Table 1: (LPIPS without a scene cut, LPIPS with a scene cut).
LEAKAGE = {
    ("sparse", "low"): (0.28, 0.66), ("sparse", "high"): (0.20, 0.50),
    ("noisy", "low"): (0.33, 0.69), ("noisy", "high"): (0.21, 0.54),
    ("discrete", "low"): (0.34, 0.69), ("discrete", "high"): (0.29, 0.68),
}  # fmt: skip

# Table 2: (cycle ratio on Kinetics, cycle ratio on RECON).
CYCLE = {
    ("sparse", "low"): (1.20, 1.21), ("sparse", "high"): (1.30, 1.14),
    ("noisy", "low"): (1.13, 1.15), ("noisy", "high"): (1.34, 1.22),
    ("discrete", "low"): (1.03, 1.03), ("discrete", "high"): (1.07, 1.05),
}  # fmt: skip

# Table S1: delta_xyz on DROID, in metres. Table S2: ATE / RPE on RECON, in metres.
PLANNING_ARM = {
    ("sparse", "low"): "0.33", ("sparse", "middle"): "0.18", ("sparse", "high"): "0.13",
    ("noisy", "low"): "0.49", ("noisy", "middle"): "0.11", ("noisy", "high"): "0.10",
    ("discrete", "low"): "0.18", ("discrete", "high"): "0.14",
}  # fmt: skip
PLANNING_ROVER = {
    ("sparse", "low"): "1.68 / 0.48", ("sparse", "middle"): "1.45 / 0.41", ("sparse", "high"): "1.43 / 0.42",
    ("noisy", "low"): "2.06 / 0.55", ("noisy", "middle"): "1.49 / 0.41", ("noisy", "high"): "1.40 / 0.40",
    ("discrete", "low"): "1.81 / 0.51", ("discrete", "high"): "1.48 / 0.42",
}  # fmt: skip

CUT_RATIOS = {key: cut / without for key, (without, cut) in LEAKAGE.items()}
FIGURES: dict[str, Mapping[tuple[Any, Any], str]] = {
    "leakage": {key: f"{ratio:.2f}" for key, ratio in CUT_RATIOS.items()},
    "cycle": {key: " / ".join(f"{ratio:.2f}" for ratio in ratios) for key, ratios in CYCLE.items()},
    "planning_arm": PLANNING_ARM,
    "planning_rover": PLANNING_ROVER,
}

# What the paper finds in the experiment of each suite; printed above the suite's table.
FINDINGS = {
    "idm": "With capacity, the error of the sparse and noisy families falls from that of no action to that of "
    "unconstrained actions; that of the discrete family stays close to no action.",
    "locality": "Transfers change the image where the source moved (Fig. 7, 8).",
    "controller": "The error under controllers is 1.0 to 1.5 times that under inferred actions (Tables S1, S2). "
    "Controllers that do not see the state predict no motion.",
    "planning_arm": "delta_xyz of other methods: V-JEPA 2-AC, trained with labels, 0.15 m; V-JEPA 2 with a world model "
    "(Terver et al.), 0.05 m.",
    "planning_rover": "ATE / RPE of other methods: NoMaD, a goal-conditioned policy, 1.93 / 0.52 m; NWM, trained with "
    "labels, 1.13 / 0.35 m.",
    "planning_latents": "Plans are searched in robot actions only.",
    "sampling": "Sampled actions overlap inferred ones at low capacity and separate at high capacity (Fig. S1).",
}


def paper_ratios(suite: str) -> dict[str, tuple[float, float]]:
    """Return the paper's ratios of a suite, `leakage` or `cycle`: for each family, (at low, at high capacity).

    The ratios of `cycle` are those on Kinetics. The result is empty for other suites.
    """
    first = {"leakage": CUT_RATIOS, "cycle": {key: ratios[0] for key, ratios in CYCLE.items()}}.get(suite, {})
    families = dict.fromkeys(family for family, _ in first)
    return {family: (first[family, "low"], first[family, "high"]) for family in families}


def paper_figure(suite: str, family: str | None, capacity: float | None, key_capacities: tuple[float, ...]) -> str:
    """Return the number that the paper prints for a family at a capacity, as text; empty if there is none.

    key_capacities: which capacities count as low, middle and high, in this order. If there are two, they count as low
    and high.
    """
    # "high" comes last: with fewer than three capacities, the highest is also the middle one, and "high" must win.
    names: dict[float | None, str] = {
        key_capacities[0]: "low", key_capacities[len(key_capacities) // 2]: "middle", key_capacities[-1]: "high",
    }  # fmt: skip
    return FIGURES.get(suite, {}).get((family, names.get(capacity)), "")
