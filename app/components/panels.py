"""Panels that play in step: one frame counter draws all of them, so they are always synchronised."""

from __future__ import annotations

import gradio as gr

from app.components import build_component
from app.pictures import data_uri
from app.views import PanelSet

INVITATION = "No result yet. Choose a source and a target, then press Transfer."


def build_panels(panels: PanelSet | None, elem_id: str, invitation: str = INVITATION) -> gr.HTML:
    """Build the player, with panels or with an invitation."""
    return build_component("panels", panels_value(panels), elem_id=elem_id, invitation=invitation)


def panels_value(panels: PanelSet | None) -> dict | None:
    """Return panels as JSON values; None stays None and shows the invitation."""
    if panels is None:
        return None
    return {
        "key": panels.key,
        "frames": panels.frames,
        "rate": panels.frames_per_second,
        "columns": panels.columns,
        "tile": panels.tile_pixels,
        "change": [round(value, 5) for value in panels.change_T],
        "panels": [
            {
                "name": panel.name,
                "title": panel.title,
                "note": panel.note,
                "sheet": data_uri(panel.sheet),
                "frames": panel.frames,
                "firstPredicted": panel.first_predicted,
            }
            for panel in panels.panels
        ],
    }
