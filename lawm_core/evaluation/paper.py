"""The paper's own numbers, for standing beside ours [LAWM]. Its models: ViT-L, 256 px, web video; so read shapes, not
absolute values. Capacity: "low" and "high" are the ends of each family's range there.
"""

from __future__ import annotations

# Table 1: LPIPS without and with a scene cut; the ratio is what a suite's `cut_ratio` is compared with.
LEAKAGE = {
    ("sparse", "low"): (0.28, 0.66),
    ("sparse", "high"): (0.20, 0.50),
    ("noisy", "low"): (0.33, 0.69),
    ("noisy", "high"): (0.21, 0.54),
    ("discrete", "low"): (0.34, 0.69),
    ("discrete", "high"): (0.29, 0.68),
}

# Table 2: cycle ratios on Kinetics and RECON.
CYCLE = {
    ("sparse", "low"): (1.20, 1.21),
    ("sparse", "high"): (1.30, 1.14),
    ("noisy", "low"): (1.13, 1.15),
    ("noisy", "high"): (1.34, 1.22),
    ("discrete", "low"): (1.03, 1.03),
    ("discrete", "high"): (1.07, 1.05),
}

# Tables S1 and S2: delta_xyz in metres on DROID; ATE and RPE in metres on RECON. Low, middle and high capacity.
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
PRINTED = {"planning_arm": PLANNING_ARM, "planning_rover": PLANNING_ROVER}

# What the paper finds, in words, for measures of which it prints no table.
FINDINGS = {
    "idm": "Sparse and noisy span the range from no action to unconstrained actions; discrete stays near the former.",
    "locality": "Transfers act at the place in the image where the source moved (Fig. 7, 8).",
    "controller": "Controllers' rollouts err 1.0 to 1.5 times as much as inferred actions' (Tables S1, S2); those that "
    "see the action alone fall back to no motion.",
    "planning_arm": "V-JEPA 2-AC, trained with labels: 0.15; V-JEPA 2 with a world model (Terver et al.): 0.05.",
    "planning_rover": "NoMaD, a goal-conditioned policy: 1.93 / 0.52; NWM, trained with labels: 1.13 / 0.35.",
    "planning_latents": "Left open; the paper's plans are searched in known actions.",
    "sampling": "Sampled latents overlap inferred ones at low capacity and separate at high (Fig. S1).",
}


def paper_ratios(suite: str) -> dict[str, tuple[float, float]]:
    """The ratios it printed for a suite, by family, at the low and the high end of its range; on its first data set."""
    both = {
        "leakage": {key: cut / without for key, (without, cut) in LEAKAGE.items()},
        "cycle": {key: ratios[0] for key, ratios in CYCLE.items()},
    }.get(suite, {})
    families = dict.fromkeys(family for family, _ in both)
    return {family: (both[family, "low"], both[family, "high"]) for family in families}


def beside(suite: str, family: str | None, capacity: float | None, ends: tuple[float, ...]) -> str:
    """The paper's figure for a setting at an end or the middle of the dial, or nothing. ends: low, middle, high."""
    # The high end last: where fewer than three capacities are measured, it is the middle one too.
    end = {ends[0]: "low", ends[len(ends) // 2]: "middle", ends[-1]: "high"}.get(-1.0 if capacity is None else capacity)
    if suite in PRINTED:
        return PRINTED[suite].get((family, end), "")
    if suite == "leakage" and (family, end) in LEAKAGE:
        without, with_cut = LEAKAGE[family, end]
        return f"{with_cut / without:.2f}"
    if suite == "cycle" and (family, end) in CYCLE:
        return " / ".join(f"{v:.2f}" for v in CYCLE[family, end])
    return ""
