"""Under the lanes: what was used, and what the figures mean in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.components import build_piece
from app.views import View, is_still


def build_facts(view: View | None, warnings: Sequence[str], elem_id: str) -> gr.HTML:
    """The facts of a result, or an empty place for them."""
    return build_piece("facts", facts_value(view, warnings), elem_id=elem_id, min_height=96)


def facts_value(view: View | None, warnings: Sequence[str] = ()) -> dict:
    """Sentences and figures for the page, and what a careful reader should know."""
    if view is None:
        return {"used": [], "scores": [], "warnings": []}
    return {"used": used_sentences(view), "scores": score_lines(view), "warnings": list(warnings)}


def used_sentences(view: View) -> list[str]:
    """What went in, and how the pictures came about: never silent about clipping or enlarging."""
    source, target, result = view.source, view.target, view.result
    rate, side = source.frames_per_second, source.frame_TCHW.shape[-1]
    asked = view.recipe.source.frames if view.recipe.source else view.shown.frames
    short = f" (all it holds from there; {asked} were asked for)" if view.shown.frames < asked else ""
    return [
        f"Actions: {view.shown.frames} frames at {rate:g} per second from {source.start_seconds:.1f} s of "
        f"{source.name}{short}.",
        f"First frame: {target.name} at {target.start_seconds:.1f} s. Every later frame is predicted.",
        f"Family {result.family}, capacity {result.capacity:.2f}. The model draws {side} × {side} pixels.",
    ]


def score_lines(view: View) -> list[dict]:
    """Each score with a name, a figure and one line that says how to read it."""
    scores = view.result.scores
    gain, effect, cycle = scores["prediction_gain"], scores["action_effect"], scores["cycle_ratio"]
    carried = scores.get("carried_share")
    lines = [
        {
            "name": "Source explained",
            "figure": "–" if is_still(view) else percent(gain),
            "text": "How much of the source's own change its actions predict. 100 % is perfect, 0 % no better than a "
            "still picture, below 0 worse; a source that stands still has none.",
        },
        {
            "name": "Effect on the target",
            "figure": f"{100 * effect:.1f} %",
            "text": "How far the transfer differs from no action, averaged over all pixels, as a share of full "
            "brightness.",
        },
        {
            "name": "Read back again",
            "figure": f"{cycle:.2f} ×",
            "text": "Error on the source when its actions are read back from the transfer, over the error of the "
            "originals. 1 means nothing was lost on the way.",
        },
    ]
    if carried is not None:
        lines.append(
            {
                "name": "Carried over",
                "figure": percent(carried),
                "text": "Share of the transfer's pixels that are taken from the target's first frame and moved. The "
                "rest is generated.",
            }
        )
    return lines


def percent(fraction: float) -> str:
    """A fraction as a whole percentage with a true minus sign."""
    return f"{100 * fraction:.0f} %".replace("-0 %", "0 %").replace("-", "−")
