"""Evaluation reports in files: report.json with all scores, report.md with the tables, and report.html with figures
too.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from lawm_core.atomic_files import write_text
from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.chapters import CHAPTERS, Facts, Measured, build_table, describe_facts, model_scores
from lawm_core.evaluation.report_page import render_page
from lawm_core.evaluation.scores import Score, SuiteResult
from lawm_core.schema import build_dataclass


def write_report(
    folder: str | Path, model: dict[str, object], data: dict[str, object], config: SuiteConfig,
    results: dict[str, SuiteResult], add: bool = False,
) -> None:  # fmt: skip
    """Write report.json, report.md and report.html.

    model: properties of the evaluated model, including its `name`. data: properties of the data that it was evaluated
    on. config: how much was measured. results: results of suites by name. add: whether to keep the scores, but not the
    pictures, of other suites in a report that the folder already has. Raises ValueError if that report is of another
    model or other data.
    """
    folder = Path(folder)
    facts: Facts = {"model": model, "data": data}
    folder.mkdir(parents=True, exist_ok=True)
    measured = read_report(folder, facts) if add else {}
    measured |= {name: Measured(result, config) for name, result in results.items()}
    measured = {name: measured[name] for name in CHAPTERS if name in measured}
    settings = {name: asdict(found.config) for name, found in measured.items()}
    suites = {name: [asdict(score) for score in found.result.scores] for name, found in measured.items()}
    write_text(folder / "report.json", json.dumps({**facts, "settings": settings, "suites": suites}, indent=1) + "\n")
    write_text(folder / "report.md", render_markdown(facts, measured))
    write_text(folder / "report.html", render_page(facts, measured))


def read_report(folder: Path, facts: Facts) -> dict[str, Measured]:
    """Return the scores of a folder's report by suite; empty if the folder has no report.

    facts: the properties of `model` and `data` that the report must have. Raises ValueError if they differ, or if the
    report is invalid.
    """
    path = folder / "report.json"
    if not path.is_file():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        measured = {
            name: Measured(
                SuiteResult(scores=[Score(**score) for score in scores]),
                build_dataclass(SuiteConfig, report["settings"][name]),
            )
            for name, scores in report["suites"].items()
        }
        found = {name: report[name] for name in facts}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a valid report ({type(error).__name__}: {error}); delete it, or choose another --out."
        ) from None
    if found != json.loads(json.dumps(facts)):
        raise ValueError(
            f"{path} is a report on {found}, so that scores of {facts} cannot be added; choose another --out."
        )
    return measured


def render_markdown(facts: Facts, measured: dict[str, Measured]) -> str:
    """Return the content of report.md: the tables of all suites."""
    parts = [f"# Evaluation of {facts['model']['name']}\n", "Means with 95 % bootstrap intervals over videos.\n"]
    for name, found in measured.items():
        heads, rows = build_table(name, found)
        lines = [heads, ["---"] * len(heads), *rows]
        parts += [f"## {CHAPTERS[name].question}\n", *(text + "\n" for text in model_scores(found.result.scores))]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
    parts.append(f"## Model, data and settings\n\n```json\n{describe_facts(facts, measured)}\n```\n")
    return "\n".join(parts)
