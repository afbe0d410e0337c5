"""A model's report as curves against capacity, for the page to draw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure against capacity; paper: what the paper found at the ends of its range, by family, low then high."""

    key: str
    title: str
    suite: str
    score: str
    better: str
    paper: dict[str, tuple[float, float]]


# The paper's figures are of far larger models on other data [LAWM Tables 1, 2]: compare shapes.
CURVES = (
    Curve(
        key="error", title="Error under inferred actions", suite="idm", score="error",
        better="Lower: actions say more of what follows. Dashed: no action at all, and actions without a limit.",
        paper={},
    ),
    Curve(
        key="camera", title="Transfer between cameras", suite="twins", score="camera_efficiency",
        better="Higher: actions of one scene do in another what its own would. 1 is perfect.", paper={},
    ),
    Curve(
        key="objects", title="Transfer between objects", suite="twins", score="objects_efficiency",
        better="Higher: the same where only objects move.", paper={},
    ),
    Curve(
        key="cycle", title="There and back", suite="cycle", score="cycle_ratio",
        better="Lower: error grows less when actions go through another clip and back. 1 loses nothing.",
        paper={"sparse": (1.20, 1.30), "noisy": (1.13, 1.34), "discrete": (1.03, 1.07)},
    ),
    Curve(
        key="leakage", title="Scene cut", suite="leakage", score="cut_ratio",
        better="Higher: actions cannot smuggle a new scene. The paper asks for 2.",
        paper={
            "sparse": (0.66 / 0.28, 0.50 / 0.20), "noisy": (0.69 / 0.33, 0.54 / 0.21),
            "discrete": (0.69 / 0.34, 0.68 / 0.29),
        },
    ),
)  # fmt: skip


def read_curves(report: Path) -> list[dict]:
    """The curves of a report.json, each with a line a family; empty where there is no report or it does not fit."""
    try:
        suites = json.loads(report.read_text(encoding="utf-8"))["suites"]
        return [drawn for curve in CURVES if (drawn := draw_curve(curve, suites.get(curve.suite, [])))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def draw_curve(curve: Curve, scores: list[dict]) -> dict | None:
    """One curve's lines and reference lines, or None where nothing was measured."""
    mine = [s for s in scores if s["name"] == curve.score and s.get("step") is None]
    lines, references = {}, {}
    for score in mine:
        point = {name: round(float(score[name]), 5) for name in ("mean", "low", "high")}
        if score["capacity"] is None:
            references[str(score["family"])] = point["mean"]
        else:
            lines.setdefault(str(score["family"]), []).append({"capacity": float(score["capacity"]), **point})
    if not lines:
        return None
    return {
        "key": curve.key,
        "title": curve.title,
        "better": curve.better,
        "lines": {family: sorted(points, key=lambda p: p["capacity"]) for family, points in lines.items()},
        "references": references,
        "paper": {family: list(ends) for family, ends in curve.paper.items() if family in lines},
    }


def nearest_score(curves: list[dict], key: str, family: str, capacity: float) -> float | None:
    """A curve's figure at the measured setting nearest to the dial's."""
    points = next((c["lines"].get(family, []) for c in curves if c["key"] == key), [])
    return min(points, key=lambda p: abs(p["capacity"] - capacity))["mean"] if points else None
