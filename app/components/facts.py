"""The facts below a result: warnings, scores with their meaning, and what the result was computed from."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.components import build_component
from app.views import View, is_still

# Words for the mean pixel change: (largest change in % of the pixel range, word).
CHANGE_WORDS = ((0.5, "none"), (5, "small"), (15, "medium"), (100, "large"))


def build_facts(view: View | None, warnings: Sequence[str], elem_id: str) -> gr.HTML:
    """Build the facts of a result, or an empty component."""
    return build_component("facts", facts_value(view, warnings), elem_id=elem_id, min_height=96)


def facts_value(view: View | None, warnings: Sequence[str] = ()) -> dict:
    """Return the facts of a result as JSON values."""
    if view is None:
        return {"inputs": [], "scores": [], "warnings": []}
    return {"inputs": describe_inputs(view), "scores": describe_scores(view), "warnings": list(warnings)}


def describe_inputs(view: View) -> list[str]:
    """Return sentences that say what a result was computed from, and whether the source is shorter than requested."""
    source, target, result = view.source, view.target, view.result
    frames, requested = view.panels.frames, view.spec.source.frames if view.spec.source else view.panels.frames
    short = f" (the clip ends there; {requested} were requested)" if frames < requested else ""
    size = source.frame_TCHW.shape[-1]
    return [
        f"Source: {source.name}, {frames} frames from {source.start_seconds:.1f} s at "
        f"{source.frames_per_second:g} frames per second{short}.",
        f"Target: {target.name}, first frame at {target.start_seconds:.1f} s. All later frames are predicted.",
        f"Setting: {result.family}, capacity {result.capacity:.2f}. Frames have {size} × {size} pixels.",
    ]


def describe_scores(view: View) -> list[dict]:
    """Return each score with a name, a number, a scale that says how to read it, and a line of help."""
    scores = view.result.scores
    change = 100 * scores["action_effect"]
    still = is_still(view)
    lines = [
        {
            "name": "Explained motion",
            "number": "–" if still else percent(scores["prediction_gain"]),
            "scale": "(the source does not move)" if still else "(100 % = perfect)",
            "help": "How well the actions predict the source itself. 0 % is no better than repeating the first frame.",
        },
        {
            "name": "How much changed",
            "number": f"{change:.1f} %",
            "scale": f"({next(word for limit, word in CHANGE_WORDS if change <= limit)})",
            "help": "Mean pixel difference between transfer and control, in % of the pixel range.",
        },
        {
            "name": "Cycle error",
            "number": f"{scores['cycle_ratio']:.2f} ×",
            "scale": "(1 = nothing lost, higher is worse)",
            "help": "Error of predicting the source with actions inferred from the transfer, divided by the error with "
            "the source's own actions.",
        },
    ]
    if (carried := scores.get("carried_fraction")) is not None:
        lines.append(
            {
                "name": "Carried over",
                "number": percent(carried),
                "scale": "of the pixels",
                "help": "Pixels of the transfer that are moved from the target's first frame. The rest is generated.",
            }
        )
    return lines


def percent(fraction: float) -> str:
    """Return a fraction as a whole percentage, with a minus sign instead of a hyphen."""
    return f"{100 * fraction:.0f} %".replace("-0 %", "0 %").replace("-", "−")
