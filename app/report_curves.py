"""Curves of a model's evaluation report against capacity, for the page to draw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import lawm_core as lawm


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A score of the report, to be drawn against capacity.

    key: identifies the curve on the page. suite, score: names of the suite and of the score in the report. help: one
    line that says which direction is better.
    """

    key: str
    title: str
    suite: str
    score: str
    help: str


TRANSFER_HELP = (
    "Two scenes have the same motion; one is predicted with the actions of the other. 1: as good as with its own "
    "actions. 0: as bad as with wrong ones."
)
CURVES = (
    Curve(
        key="error", title="Prediction error", suite="idm", score="error",
        help="L1 error of the next state, predicted with inferred actions. Lower is better: actions describe more.",
    ),
    Curve(
        key="camera", title="Camera motion transfer", suite="synthetic", score="camera_efficiency",
        help=TRANSFER_HELP,
    ),
    Curve(
        key="objects", title="Object motion transfer", suite="synthetic", score="objects_efficiency",
        help=TRANSFER_HELP,
    ),
    Curve(
        key="cycle", title="Cycle error", suite="cycle", score="cycle_ratio",
        help="Error after a transfer to another clip and back, relative to the error before. Lower is better; 1 is "
        "perfect.",
    ),
    Curve(
        key="leakage", title="Scene cut ratio", suite="leakage", score="cut_ratio",
        help="Prediction error across a cut to another clip, divided by the error without a cut. If actions copied the "
        "next frame, a cut would make no difference (1). Higher is better; at least 2 means that they do not copy.",
    ),
)  # fmt: skip


def read_curves(report: Path) -> list[dict]:
    """Return the curves of a report.json, each with one line per family; none if the file is missing or invalid."""
    try:
        suites = json.loads(report.read_text(encoding="utf-8"))["suites"]
        return [found for curve in CURVES if (found := build_curve(curve, suites.get(curve.suite, [])))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def build_curve(curve: Curve, scores: list[dict]) -> dict | None:
    """Return a curve with one line per family and with reference lines, as JSON values; None if it was not measured.

    scores: all scores of the curve's suite.
    """
    lines, references = {}, {}
    for score in scores:
        if score["name"] != curve.score or score.get("step") is not None:
            continue
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
        "help": curve.help,
        "lines": {family: sorted(points, key=lambda point: point["capacity"]) for family, points in lines.items()},
        "references": references,
        "paper": {family: list(ends) for family, ends in lawm.paper_ratios(curve.suite).items() if family in lines},
    }
