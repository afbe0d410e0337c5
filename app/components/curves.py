"""The plot of scores against capacity, in which the current setting is marked."""

from __future__ import annotations

import gradio as gr

from app.components import build_component
from app.components.action_map import PLOTLY, static_url


def build_curves(curves: list[dict], family: str, capacity: float, elem_id: str) -> gr.HTML:
    """Build the plot, which shows one curve of `app.report_curves` at a time, and its numbers as a table."""
    value = setting_value(family, capacity)
    return build_component("curves", value, elem_id=elem_id, curves=curves, plotly=static_url(PLOTLY))


def setting_value(family: str, capacity: float) -> dict:
    """Return the current setting."""
    return {"family": family, "capacity": capacity}
