"""Measured figures against capacity, with the dial's place on them."""

from __future__ import annotations

import gradio as gr

from app.components import build_piece
from app.components.action_map import PLOTLY, address


def build_curves(curves: list[dict], family: str, capacity: float, elem_id: str) -> gr.HTML:
    """The curves of `app.figures`, one shown at a time, and the same figures as a table."""
    return build_piece("curves", dial_value(family, capacity), elem_id=elem_id, curves=curves, plotly=address(PLOTLY))


def dial_value(family: str, capacity: float) -> dict:
    """Where the dial stands."""
    return {"family": family, "capacity": capacity}
