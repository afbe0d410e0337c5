"""How a report presents the results of suites: a question, a table and curves for each."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lawm_core.evaluation import paper
from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.scores import Score, SuiteResult


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """How a report presents one suite.

    question: heading. columns: names of the scores in the table; a `*` matches any text, so that `*_error_ratio` is one
    column for each robot, such as `arm_error_ratio`. curves: names of the scores that are plotted against capacity.
    """

    question: str
    columns: tuple[str, ...]
    curves: tuple[str, ...] = ()


PICTURE_SCORES = ("sharpness", "edge_agreement64", "l1", "carried_fraction")
CHAPTERS = {
    "idm": Chapter(
        question="How well do inferred actions predict the future?",
        columns=(
            "error", "error_vs_copying", "error_vs_random", "rollout_error_vs_copying", "psnr", "ssim",
            "edge_agreement", "lpips",
        ),
        curves=("error", "rollout_error", "psnr"),
    ),
    "pictures": Chapter(
        question="How sharp and accurate are rendered rollouts, by number of predicted frames?",
        columns=(*(f"{name}_{n}" for name in PICTURE_SCORES for n in (1, 4, 8, 15)), "flicker"),
    ),
    "flow": Chapter(question="How large are errors of the optical flow, in pixels of the model's frames?", columns=()),
    "leakage": Chapter(
        question="Do actions encode the next frame instead of the change to it?",
        columns=("cut_ratio", "appearance_probe"),
        curves=("cut_ratio", "appearance_probe"),
    ),
    "cycle": Chapter(
        question="How much larger is the error after actions were transferred to another clip and inferred again?",
        columns=("cycle_ratio", "own_vs_copying", "cycled_vs_copying"),
        curves=("cycle_ratio",),
    ),
    "synthetic": Chapter(
        question="Do transferred actions have the effect of the target's own actions?",
        columns=tuple(
            f"{kind}_{name}"
            for kind in ("camera", "objects")
            for name in ("effect", "efficiency", "edge_agreement", "error_vs_copying")
        ),
    ),
    "locality": Chapter(
        question="Do transfers change the image where the source moved?",
        columns=("overlap", "shuffled_overlap", "overlap_ratio", "localized_overlap_ratio"),
    ),
    "sampling": Chapter(
        question="How well does a classifier distinguish sampled from inferred actions? (0.5 is chance)",
        columns=("sampler_accuracy_prior", "sampler_accuracy_learned"),
    ),
    "controller": Chapter(
        question="Are rollouts under robot actions as accurate as under inferred actions?",
        columns=("*_idm_error", "*_idm_error_vs_copying", "*_controller_error", "*_error_ratio", "*_motion_ratio"),
    ),
    "planning_arm": Chapter(
        question="Do plans move the arm to where the recorded actions moved it?", columns=("delta_xyz", "error_vs_zero")
    ),
    "planning_rover": Chapter(
        question="Do plans drive the rover along its recorded path?", columns=("ate", "rpe", "error_vs_zero")
    ),
    "planning_latents": Chapter(
        question="Do plans that are searched in latent actions reach the goal?",
        columns=("*_goal_distance", "*_error_vs_zero"),
    ),
}  # fmt: skip


Facts = dict[str, dict[str, Any]]  # `model` and `data`: what was evaluated, and on which data


@dataclass(frozen=True)
class Measured:
    """The result of a suite and the config that it was measured with."""

    result: SuiteResult
    config: SuiteConfig


def describe_facts(facts: Facts, measured: dict[str, Measured]) -> str:
    """Return the facts and the configs of all suites as JSON; suites with the same config are listed together."""
    suites: dict[SuiteConfig, list[str]] = {}
    for name, found in measured.items():
        suites.setdefault(found.config, []).append(name)
    settings = [{"suites": names, **asdict(config)} for config, names in suites.items()]
    return json.dumps({**facts, "settings": settings}, indent=1)


def build_table(suite: str, measured: Measured) -> tuple[list[str], list[list[str]]]:
    """Return the column heads and the rows of a suite's table.

    There is one row for each setting and one column for each score. If the paper has numbers for any of the settings,
    they are the last column.
    """
    scores = {(s.family, s.capacity, s.name): s for s in measured.result.scores if s.step is None and s.family}
    names = list(dict.fromkeys(key[2] for key in scores))
    columns = [name for column in CHAPTERS[suite].columns for name in fnmatch.filter(names, column)]
    settings = list(dict.fromkeys(key[:2] for key in scores if key[2] in columns))
    heads = ["family", "capacity", *(column.replace("_", " ") for column in columns)]
    rows = []
    for family, capacity in settings:
        cells = [scores.get((family, capacity, column)) for column in columns]
        rows.append(
            [family, "" if capacity is None else f"{capacity:g}", *(format_score(s) if s else "" for s in cells)]
        )
    printed = [paper.paper_figure(suite, *setting, measured.config.key_capacities) for setting in settings]
    if any(printed):
        heads, rows = [*heads, "paper"], [[*row, figure] for row, figure in zip(rows, printed, strict=True)]
    return heads, rows


def model_scores(scores: Sequence[Score]) -> list[str]:
    """Return one line of text for each score that belongs to no family."""
    return [f"{s.name.replace('_', ' ')}: {format_score(s)}" for s in scores if s.family is None and s.step is None]


def format_score(score: Score) -> str:
    """Return the mean of a score and its interval as text."""
    return f"{score.mean:.3f} ({score.low:.3f} to {score.high:.3f})"
