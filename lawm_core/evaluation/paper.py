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

# What the paper finds, in words, for measures of which it prints no table.
FINDINGS = {
    "idm": "Sparse and noisy span the range from no action to unconstrained actions; discrete stays near the former.",
    "locality": "Transfers act at the place in the image where the source moved (Fig. 7, 8).",
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


def beside(suite: str, family: str | None, capacity: float | None, ends: tuple[float, float]) -> str:
    """The paper's figure for a setting at one of the ends of the dial, or nothing."""
    end = {ends[0]: "low", ends[1]: "high"}.get(capacity if capacity is not None else -1.0)
    if suite == "leakage" and (family, end) in LEAKAGE:
        without, with_cut = LEAKAGE[family, end]
        return f"{with_cut / without:.2f}"
    if suite == "cycle" and (family, end) in CYCLE:
        return " / ".join(f"{v:.2f}" for v in CYCLE[family, end])
    return ""
