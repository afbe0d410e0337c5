"""A report on disk: every figure, its tables, and a page to look at; the paper's numbers beside ours."""

from __future__ import annotations

import base64
import fnmatch
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lawm_core.evaluation import paper
from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.projection import pca_places, umap_places
from lawm_core.evaluation.scores import Score, SuiteResult
from lawm_core.saving import write_text

COLOURS = {
    "noisy": "#3366cc",
    "sparse": "#d95f02",
    "discrete": "#1b9e77",
    "deterministic": "#777777",
    "unconstrained": "#222222",
}


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """What a suite is about, which figures go into its table, and which of them are drawn against capacity.

    A column may stand for several figures: `*_ratio` for that of every robot.
    """

    question: str
    columns: tuple[str, ...]
    curves: tuple[str, ...] = ()


PICTURE_COLUMNS = ("psnr", "ssim", "edges", "lpips")
TWIN_COLUMNS = ("effect", "efficiency", "edges", "against_still")

CHAPTERS = {
    "idm": Chapter(
        question="How well do inferred actions foretell the future?",
        columns=("error", "against_copying", "against_random", "unrolled_against_copying", *PICTURE_COLUMNS),
        curves=("error", "unrolled_error", "psnr"),
    ),
    "pictures": Chapter(
        question="How sharp and how right are rollouts, as people see them?",
        columns=(
            *(f"{name}_{step}" for name in ("sharpness", "edges64", "l1", "carried") for step in (1, 4, 8, 15)),
            "flicker",
        ),
    ),
    "flow": Chapter(question="How right is the motion, in pixels of the model's frames?", columns=()),
    "leakage": Chapter(
        question="Do actions copy the future?",
        columns=("cut_ratio", "appearance"),
        curves=("cut_ratio", "appearance"),
    ),
    "cycle": Chapter(
        question="Do actions survive a way there and back?",
        columns=("cycle_ratio", "own", "cycled"),
        curves=("cycle_ratio",),
    ),
    "twins": Chapter(
        question="Do actions do to one scene what they did to another?",
        columns=tuple(f"{kind}_{column}" for kind in ("camera", "objects") for column in TWIN_COLUMNS),
    ),
    "locality": Chapter(
        question="Does the change happen where the source moved?",
        columns=("overlap", "shuffled", "locality", "placed_locality"),
    ),
    "sampling": Chapter(
        question="Can actions be made from nothing?", columns=("told_apart_prior", "told_apart_learned")
    ),
    "controller": Chapter(
        question="Do known actions do what was inferred?",
        columns=("*_idm", "*_still", "*_controller", "*_ratio", "*_moved"),
    ),
    "planning_arm": Chapter(question="Do plans move the arm as it really moved?", columns=("delta_xyz", "relative")),
    "planning_rover": Chapter(
        question="Do plans drive the rover where it really went?", columns=("ate", "rpe", "relative")
    ),
    "planning_latents": Chapter(
        question="Can ways be planned in latent actions alone?", columns=("*_goal", "*_missed")
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a suite found, and with which settings."""

    result: SuiteResult
    config: SuiteConfig


def write_report(
    folder: str | Path, model: dict[str, object], data: dict[str, object], config: SuiteConfig,
    results: dict[str, SuiteResult], add: bool = False,
) -> None:  # fmt: skip
    """Writes report.json, report.md (its tables) and report.html; `model` and `data` say what was measured on what.

    add: suites that the folder's report has and these results lack stay, their figures without pictures. Raises
    ValueError where that report is of another model or other data.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"model": model, "data": data}
    measured = read_report(folder, facts) if add else {}
    measured |= {name: Measured(result, config) for name, result in results.items()}
    measured = {name: measured[name] for name in CHAPTERS if name in measured}
    settings = {name: asdict(m.config) for name, m in measured.items()}
    suites = {name: [asdict(s) for s in m.result.scores] for name, m in measured.items()}
    write_text(folder / "report.json", json.dumps({**facts, "settings": settings, "suites": suites}, indent=1) + "\n")
    write_text(folder / "report.md", render_markdown(facts, measured))
    write_text(folder / "report.html", render(facts, measured))


def read_report(folder: Path, facts: dict[str, object]) -> dict[str, Measured]:
    """The figures of a folder's report by suite, none where there is no report. Raises ValueError where it is not of
    these facts, or cannot be read.
    """
    path = folder / "report.json"
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        measured = {
            name: Measured(
                SuiteResult(scores=[Score(**score) for score in scores]), read_settings(kept["settings"][name])
            )
            for name, scores in kept["suites"].items()
        }
        told = {name: kept[name] for name in facts}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a report that can be added to ({type(error).__name__}: {error}).") from None
    if told != json.loads(json.dumps(facts)):
        raise ValueError(f"{path} is about {told}, these figures about {facts}; add only to a report of the same.")
    return measured


def read_settings(kept: dict[str, object]) -> SuiteConfig:
    """Settings as a report tells them."""
    return SuiteConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()})


def settings_told(measured: dict[str, Measured]) -> list[dict[str, object]]:
    """Settings with the suites that share them."""
    told: dict[SuiteConfig, list[str]] = {}
    for name, m in measured.items():
        told.setdefault(m.config, []).append(name)
    return [{"suites": names, **asdict(config)} for config, names in told.items()]


# ---- the page -------------------------------------------------------------------------------------------------------


def render(facts: dict[str, object], measured: dict[str, Measured]) -> str:
    """The whole page as one file that needs nothing else."""
    from plotly.offline import get_plotlyjs

    chapters = "\n".join(chapter(name, m.result, m.config) for name, m in measured.items())
    return PAGE.format(
        title=html.escape(f"{facts['model']['name']}: what it can do"),
        plotly=get_plotlyjs(),
        facts=html.escape(json.dumps({**facts, "settings": settings_told(measured)}, indent=1)),
        chapters=chapters,
    )


def chapter(name: str, result: SuiteResult, config: SuiteConfig) -> str:
    """One suite: question, finding of the paper, figures, table, pictures."""
    about = CHAPTERS[name]
    parts = [f"<h2>{html.escape(about.question)}</h2>"]
    if name in paper.FINDINGS:
        parts.append(f"<p>The paper: {html.escape(paper.FINDINGS[name])}</p>")
    parts += [figure_html(curve(result.scores, column)) for column in about.curves]
    if name == "twins":
        parts.append(figure_html(by_step(result.scores, config)))
    parts += [figure_html(latent_map(title, layers, config)) for title, layers in result.points.items()]
    parts.append(table(name, result.scores, about.columns, config))
    for title, frames in result.pictures.items():
        source, caption = base64.b64encode(strip(frames)).decode(), html.escape(title)
        image = f'<img alt="{caption}" src="data:image/png;base64,{source}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return "<section>" + "\n".join(parts) + "</section>"


def table(suite: str, scores: Sequence[Score], columns: Sequence[str], config: SuiteConfig) -> str:
    """The suite's table for the page."""
    heads, rows = table_cells(suite, scores, columns, config)
    lines = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in heads) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in alone(scores))
    return notes + f"<div class='wide'><table>{''.join(lines)}</table></div>"


def table_cells(
    suite: str, scores: Sequence[Score], columns: Sequence[str], config: SuiteConfig
) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: settings down, figures across with intervals; the paper's figure last where it has one."""
    whole = {(s.family, s.capacity, s.name): s for s in scores if s.step is None and s.family}
    names = list(dict.fromkeys(key[2] for key in whole))
    columns = [name for column in columns for name in fnmatch.filter(names, column)]
    settings = list(dict.fromkeys(key[:2] for key in whole if key[2] in columns))
    printed = {setting: paper.beside(suite, *setting, config.ends) for setting in settings}
    heads = [
        "family",
        "capacity",
        *(c.replace("_", " ") for c in columns),
        *(["paper"] if any(printed.values()) else []),
    ]
    rows = []
    for family, capacity in settings:
        row = [family, "" if capacity is None else f"{capacity:g}"]
        for column in columns:
            score = whole.get((family, capacity, column))
            row.append("" if score is None else f"{score.mean:.3f} ({score.low:.3f} to {score.high:.3f})")
        rows.append(row + ([printed[family, capacity]] if "paper" in heads else []))
    return heads, rows


def alone(scores: Sequence[Score]) -> list[str]:
    """Figures of the model as a whole, as sentences."""
    return [
        f"{s.name.replace('_', ' ')}: {s.mean:.3f} ({s.low:.3f} to {s.high:.3f})"
        for s in scores
        if s.family is None and s.step is None
    ]


def render_markdown(facts: dict[str, object], measured: dict[str, Measured]) -> str:
    """The tables alone, for a model's card."""
    parts = [f"# {facts['model']['name']}: what it can do\n", "95 % bootstrap intervals over videos in brackets.\n"]
    for name, m in measured.items():
        heads, rows = table_cells(name, m.result.scores, CHAPTERS[name].columns, m.config)
        lines = [heads, ["---"] * len(heads), *rows]
        parts += [f"## {CHAPTERS[name].question}\n", *(note + "\n" for note in alone(m.result.scores))]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
    exactly = json.dumps({**facts, "settings": settings_told(measured)}, indent=1)
    parts.append(f"## Exactly what was measured\n\n```json\n{exactly}\n```\n")
    return "\n".join(parts)


# ---- figures --------------------------------------------------------------------------------------------------------


def curve(scores: Sequence[Score], name: str):
    """A figure against capacity, a line a family with its interval; reference lines dashed."""
    import plotly.graph_objects as go

    figure = go.Figure()
    mine = [s for s in scores if s.name == name and s.step is None]
    for family in dict.fromkeys(s.family for s in mine):
        line = sorted((s for s in mine if s.family == family), key=lambda s: s.capacity or 0.0)
        colour = COLOURS.get(family, "#888888")
        if line[0].capacity is None:
            figure.add_hline(y=line[0].mean, line_dash="dash", line_color=colour, annotation_text=family)
            continue
        at = [s.capacity for s in line]
        error = {"array": [s.high - s.mean for s in line], "arrayminus": [s.mean - s.low for s in line], "thickness": 1}
        figure.add_scatter(x=at, y=[s.mean for s in line], error_y=error, name=family, line={"color": colour})
    figure.update_layout(xaxis_title="capacity", yaxis_title=name.replace("_", " "))
    return figure


def by_step(scores: Sequence[Score], config: SuiteConfig):
    """Effect and efficiency of twins against the number of steps, at the highest capacity."""
    import plotly.graph_objects as go

    figure = go.Figure()
    steps = [s for s in scores if s.step is not None and s.capacity == config.capacities[-1]]
    for family, name in dict.fromkeys((s.family, s.name) for s in steps):
        line = sorted((s for s in steps if (s.family, s.name) == (family, name)), key=lambda s: s.step)
        style = {"color": COLOURS.get(family, "#888888"), "dash": "dot" if name.endswith("efficiency") else "solid"}
        figure.add_scatter(x=[s.step for s in line], y=[s.mean for s in line], name=f"{family} {name}", line=style)
    figure.update_layout(xaxis_title="frames rolled out", yaxis_title="effect, efficiency")
    return figure


def latent_map(title: str, layers: dict[str, Tensor], config: SuiteConfig, most: int = 600):
    """Inferred and sampled latents of one setting on one map."""
    import plotly.graph_objects as go

    some = {name: x[:: max(1, len(x) // most)][:most].float().cpu() for name, x in layers.items()}
    place_X2 = (umap_places if config.umap else pca_places)(torch.cat(list(some.values())))
    figure, start = go.Figure(), 0
    for name, x in some.items():
        at = place_X2[start : start + len(x)]
        start += len(x)
        figure.add_scatter(
            x=at[:, 0].tolist(), y=at[:, 1].tolist(), mode="markers", name=name, marker={"size": 4, "opacity": 0.6}
        )
    figure.update_layout(title=title, xaxis_visible=False, yaxis_visible=False)
    return figure


def figure_html(figure) -> str:
    """A figure for a page that already holds plotly."""
    figure.update_layout(template="plotly_white", height=360, margin={"l": 50, "r": 20, "t": 40, "b": 45})
    return figure.to_html(
        full_html=False, include_plotlyjs=False, config={"showSendToCloud": False, "displaylogo": False}
    )


def strip(frame_LTCHW: Tensor, scale: int = 2) -> bytes:
    """Lanes of frames as one PNG."""
    import imageio.v3 as imageio

    lanes, frames, _, height, width = frame_LTCHW.shape
    sheet = frame_LTCHW.permute(0, 3, 1, 4, 2).reshape(lanes * height, frames * width, 3)
    pixels = (sheet.clamp(0, 1) * 255).round().byte().cpu().numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    out = io.BytesIO()
    imageio.imwrite(out, pixels, extension=".png")
    return out.getvalue()


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h2 {{ margin-top: 3rem; }} table {{ border-collapse: collapse; font-size: 13px; }} .wide {{ overflow-x: auto; }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }}
img {{ max-width: 100%; image-rendering: pixelated; }} figcaption {{ color: #555; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: 12px; }}
</style><script>{plotly}</script></head>
<body><h1>{title}</h1>
<p>Figures with 95 % bootstrap intervals over videos. The paper's models are far larger and saw web video:
compare shapes.</p>
{chapters}
<h2>Exactly what was measured</h2><pre>{facts}</pre></body></html>
"""
