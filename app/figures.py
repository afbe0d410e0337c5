"""A model's report as curves against capacity, for the page to draw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import lawm_core as lawm


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure against capacity; better: how to read it."""

    key: str
    title: str
    suite: str
    score: str
    better: str


CURVES = (
    Curve(
        key="error", title="Error under inferred actions", suite="idm", score="error",
        better="Lower: actions say more of what follows.",
    ),
    Curve(
        key="camera", title="Transfer between cameras", suite="twins", score="camera_efficiency",
        better="Higher: actions of one scene do in another what its own would. 1 is perfect.",
    ),
    Curve(
        key="objects", title="Transfer between objects", suite="twins", score="objects_efficiency",
        better="Higher: the same where only objects move.",
    ),
    Curve(
        key="cycle", title="There and back", suite="cycle", score="cycle_ratio",
        better="Lower: error grows less when actions go through another clip and back. 1 loses nothing.",
    ),
    Curve(
        key="leakage", title="Scene cut", suite="leakage", score="cut_ratio",
        better="Higher: actions cannot smuggle a new scene. The paper asks for 2.",
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
        "paper": {family: list(ends) for family, ends in lawm.paper_ratios(curve.suite).items() if family in lines},
    }
