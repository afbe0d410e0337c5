"""Clips in step: one frame counter draws all of them, so they cannot drift apart."""

from __future__ import annotations

import gradio as gr

from app.components import build_piece
from app.pictures import data_uri
from app.views import Shown

INVITATION = "No result yet. Choose a source and a target below, then press Transfer."


def build_lanes(shown: Shown | None, elem_id: str, invitation: str = INVITATION) -> gr.HTML:
    """The player, with a result or with an invitation to make one."""
    return build_piece("lanes", lanes_value(shown), elem_id=elem_id, invitation=invitation)


def lanes_value(shown: Shown | None) -> dict | None:
    """What the player needs: pictures, captions, rhythm and where in time the actions act."""
    if shown is None:
        return None
    return {
        "key": shown.key,
        "frames": shown.frames,
        "rate": shown.rate,
        "columns": shown.columns,
        "tile": shown.tile_pixels,
        "effect": [round(value, 5) for value in shown.effect_T],
        "lanes": [
            {
                "name": lane.name,
                "title": lane.title,
                "note": lane.note,
                "sheet": data_uri(lane.sheet),
                "frames": lane.frames,
                "given": lane.given,
            }
            for lane in shown.lanes
        ],
    }
