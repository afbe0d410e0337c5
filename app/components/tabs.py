"""The tabs of the page.

These are not Gradio's tabs. Gradio creates the components of a tab when it is first opened, and a component that has
received an output before that loses all of its other properties.
"""

from __future__ import annotations

import gradio as gr

from app.components import build_component

TABS = {
    "transfer": "Transfer", "touch": "Touch", "live": "Live", "action-map": "Action map", "compose": "Compose",
    "capacity": "Capacity", "drive": "Drive and plan", "about": "About",
}  # fmt: skip
FIRST = next(iter(TABS))


def build_tabs(elem_id: str) -> gr.HTML:
    """Build the row of tab titles; its value is the key of the open tab."""
    tabs = [{"key": key, "title": title} for key, title in TABS.items()]
    return build_component("tabs", FIRST, elem_id=elem_id, tabs=tabs)


def tab_content(key: str) -> gr.Column:
    """Return the container of a tab's content."""
    return gr.Column(elem_id=f"pane-{key}", elem_classes=["pane", "shown"] if key == FIRST else ["pane"])
