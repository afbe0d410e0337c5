"""Four clips in step: one frame counter draws all of them, so they cannot drift apart."""

from __future__ import annotations

import gradio as gr

from app.components import build_piece
from app.pictures import data_uri
from app.studio import TransferView


def build_lanes(view: TransferView | None, elem_id: str) -> gr.HTML:
    """The player, with a result or with an invitation to make one."""
    return build_piece("lanes", lanes_value(view), elem_id=elem_id)


def lanes_value(view: TransferView | None) -> dict | None:
    """What the player needs: pictures, captions, rhythm and where in time the actions act."""
    if view is None:
        return None
    notes = {"source": view.source.name, "target": view.target.name}
    return {
        "key": view.key,
        "frames": view.frames,
        "given": view.result.context_frames,
        "rate": view.source.frames_per_second,
        "columns": view.columns,
        "tile": view.tile_pixels,
        "effect": [round(value, 5) for value in view.effect_T],
        "lanes": [
            {"name": lane.name, "sheet": data_uri(lane.sheet), "frames": lane.frames, "note": notes.get(lane.name, "")}
            for lane in view.lanes
        ],
    }
