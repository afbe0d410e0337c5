"""The page's views, one shown at a time.

Not Gradio's own tabs: those make a view's components when it is first opened, and a component that was given an answer
before that loses everything but the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.components import build_piece

VIEWS = {
    "transfer": "Transfer", "action-map": "Action map", "compose": "Compose", "capacity": "Capacity",
    "drive": "Drive and plan", "about": "About",
}  # fmt: skip


def build_tabs(elem_id: str) -> gr.HTML:
    """The row of names; its value is the key of the view that is open."""
    tabs = [{"key": key, "title": title} for key, title in VIEWS.items()]
    return build_piece("tabs", next(iter(VIEWS)), elem_id=elem_id, tabs=tabs)


def pane(key: str) -> gr.Column:
    """A view's place."""
    shown: Sequence[str] = ["pane", "shown"] if key == next(iter(VIEWS)) else ["pane"]
    return gr.Column(elem_id=f"pane-{key}", elem_classes=list(shown))
