"""The HTML page of an evaluation report, with figures and pictures, in one file without external resources."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import groupby

import jinja2
import plotly.graph_objects as go
import torch
from plotly.offline import get_plotlyjs
from torch import Tensor

from lawm_core.evaluation import paper
from lawm_core.evaluation.bench import SuiteConfig
from lawm_core.evaluation.chapters import CHAPTERS, Facts, Measured, build_table, describe_facts, model_scores
from lawm_core.evaluation.scores import Score
from lawm_core.library.projection import pca_layout, umap_layout

COLOURS = {
    "noisy": "#3366cc", "sparse": "#d95f02", "discrete": "#1b9e77", "deterministic": "#777777",
    "unconstrained": "#222222",
}  # fmt: skip
MAX_POINTS = 600  # largest number of inferred actions, and of each sampler's actions, on a map of latent actions
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
h2 { margin-top: 3rem; } table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
img { max-width: 100%; image-rendering: pixelated; } figcaption { color: #555; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: 12px; }
</style><script>{{ plotly | safe }}</script></head>
<body><h1>{{ title }}</h1>
<p>Means with 95 % bootstrap intervals over videos. The paper's models are larger and were trained on web video, so
compare trends, not absolute values.</p>
{% for chapter in chapters %}<section><h2>{{ chapter.question }}</h2>
{% if chapter.finding %}<p>The paper: {{ chapter.finding }}</p>{% endif %}
{% for figure in chapter.figures %}{{ figure | safe }}
{% endfor %}{% for text in chapter.texts %}<p>{{ text }}</p>
{% endfor %}<div class="wide"><table><tr>{% for head in chapter.heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in chapter.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% for title, source in chapter.pictures.items() %}<figure>
<img alt="{{ title }}" src="data:image/png;base64,{{ source }}"><figcaption>{{ title }}</figcaption></figure>
{% endfor %}</section>
{% endfor %}<h2>Model, data and settings</h2><pre>{{ facts }}</pre></body></html>
"""


def render_page(facts: Facts, measured: dict[str, Measured]) -> str:
    """Return the content of report.html."""
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(
        title=f"Evaluation of {facts['model']['name']}",
        plotly=get_plotlyjs(),
        chapters=[describe_chapter(name, found) for name, found in measured.items()],
        facts=describe_facts(facts, measured),
    )


def describe_chapter(name: str, measured: Measured) -> dict[str, object]:
    """Return what the template `PAGE` needs to show one suite, by the names that it uses."""
    result, config, chapter = measured.result, measured.config, CHAPTERS[name]
    figures = [plot_capacity(result.scores, curve) for curve in chapter.curves]
    if name == "synthetic":
        figures.append(plot_steps(result.scores, config))
    figures += [plot_points(title, kinds, config) for title, kinds in result.points.items()]
    heads, rows = build_table(name, measured)
    return {
        "question": chapter.question,
        "finding": paper.FINDINGS.get(name),
        "figures": [render_figure(figure) for figure in figures],
        "texts": model_scores(result.scores),
        "heads": heads,
        "rows": rows,
        "pictures": {title: base64.b64encode(encode_png(frames)).decode() for title, frames in result.pictures.items()},
    }


def plot_capacity(scores: Sequence[Score], name: str) -> go.Figure:
    """Plot a score against capacity.

    Each family is a line with confidence intervals; rows without capacity, such as reference lines, are dashed lines
    across the plot.
    """
    figure = go.Figure()
    chosen = sorted((s for s in scores if s.name == name and s.step is None), key=lambda s: s.capacity or 0.0)
    for family in dict.fromkeys(s.family for s in scores if s.name == name):
        line, colour = [s for s in chosen if s.family == family], COLOURS.get(family or "", "#888888")
        mean = [s.mean for s in line]
        if line[0].capacity is None:
            figure.add_hline(y=mean[0], line_dash="dash", line_color=colour, annotation_text=family)
            continue
        error = {"array": [s.high - s.mean for s in line], "arrayminus": [s.mean - s.low for s in line], "thickness": 1}
        figure.add_scatter(x=[s.capacity for s in line], y=mean, error_y=error, name=family, line={"color": colour})
    return figure.update_layout(xaxis_title="capacity", yaxis_title=name.replace("_", " "))


def plot_steps(scores: Sequence[Score], config: SuiteConfig) -> go.Figure:
    """Plot effect and efficiency on synthetic pairs against the number of predicted frames, at the highest capacity.

    There is a line for each family and score; lines of efficiency are dotted.
    """
    figure, key = go.Figure(), lambda s: (s.family, s.name)
    chosen = [s for s in scores if s.step is not None and s.capacity == config.capacities[-1]]
    for (family, name), line in groupby(sorted(chosen, key=lambda s: (*key(s), s.step)), key):
        steps, means = zip(*((s.step, s.mean) for s in line), strict=True)
        dash = "dot" if name.endswith("efficiency") else "solid"
        style = {"color": COLOURS.get(family or "", "#888888"), "dash": dash}
        figure.add_scatter(x=steps, y=means, name=f"{family} {name}", line=style)
    return figure.update_layout(xaxis_title="predicted frames", yaxis_title="effect, efficiency")


def plot_points(title: str, kinds: dict[str, Tensor], config: SuiteConfig) -> go.Figure:
    """Plot inferred and sampled actions of one setting on one map.

    kinds: latent actions, action_BA, by `inferred` or the name of the sampler.
    """
    some = {name: x[:: max(1, len(x) // MAX_POINTS)][:MAX_POINTS].float().cpu() for name, x in kinds.items()}
    layout = umap_layout if config.umap else pca_layout
    position_X2 = layout(torch.cat(list(some.values())))
    figure = go.Figure()
    for name, part_X2 in zip(some, position_X2.split([len(x) for x in some.values()]), strict=True):
        x, y = part_X2.T.tolist()
        figure.add_scatter(x=x, y=y, mode="markers", name=name, marker={"size": 4, "opacity": 0.6})
    return figure.update_layout(title=title, xaxis_visible=False, yaxis_visible=False)


def render_figure(figure: go.Figure) -> str:
    """Return the HTML of a figure, for a page that already includes the plotly script."""
    figure.update_layout(template="plotly_white", height=360, margin={"l": 50, "r": 20, "t": 40, "b": 45})
    options = {"showSendToCloud": False, "displaylogo": False}
    return figure.to_html(full_html=False, include_plotlyjs=False, config=options)


def encode_png(frame_XTCHW: Tensor, scale: int = 2) -> bytes:
    """Return a PNG with one row of frames for each clip, enlarged by a factor `scale`."""
    import imageio.v3 as imageio

    rows, frames, _, height, width = frame_XTCHW.shape
    sheet = frame_XTCHW.permute(0, 3, 1, 4, 2).reshape(rows * height, frames * width, 3)
    pixels = (sheet.clamp(0, 1) * 255).round().byte().cpu().numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    out = io.BytesIO()
    imageio.imwrite(out, pixels, extension=".png")
    return out.getvalue()
