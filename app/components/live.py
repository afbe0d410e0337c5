"""The component `Live`: a camera, a clip or the pointer moves the target."""

from __future__ import annotations

import gradio as gr

from app.components import build_component
from app.components.touch import picture_uri
from app.live import LiveSession
from app.pictures import data_uri
from app.views import Panel

INVITATION = "Choose where the motion comes from, and press Start."
HINT = (
    "Frames are used to infer actions and then discarded; they are not stored or logged. Pointer: drag the left "
    "picture, zoom with the wheel, or use the arrow keys, + and −."
)


def build_live(elem_id: str, family: str) -> gr.HTML:
    """Build the screens and the tools, with an invitation to start."""
    setting = {"family": family, "capacity": 1.0}
    return build_component("live", None, elem_id=elem_id, setting=setting, invitation=INVITATION, hint=HINT)


def live_value(session: LiveSession, kind: str, size: int, clip: dict | None = None) -> dict:
    """Return a session as JSON values.

    kind: what the motion comes from: "camera", "clip" or "pointer". size: height and width of the frames that the page
    sends. clip: result of `clip_value`, for the kind "clip".
    """
    picture = picture_uri(session.transfer.picture_CHW)
    return {"token": session.token, "kind": kind, "size": size, "picture": picture, "clip": clip}


def clip_value(panel: Panel, name: str, rate: float, columns: int, tile_pixels: int) -> dict:
    """Return a clip that plays in the browser as JSON values. rate: frames per second."""
    sheet = data_uri(panel.sheet)
    return {"name": name, "sheet": sheet, "frames": panel.frames, "rate": rate, "columns": columns, "tile": tile_pixels}
