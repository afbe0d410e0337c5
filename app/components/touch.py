"""The component `Touch`: a picture that is dragged, with arrows for what shall move where."""

from __future__ import annotations

import gradio as gr
from torch import Tensor

from app.components import build_component
from app.pictures import data_uri, draw_sheet

PIXELS = 512
INVITATION = "Choose a target to drag."
HINT = (
    "Drag a part of the picture. Click a point to hold it still. Wheel or two fingers: zoom; with Shift: turn. Keys: "
    "Enter adds a drag, arrow keys move it."
)


def build_touch(elem_id: str) -> gr.HTML:
    """Build the picture and its tools, with an invitation to choose a target.

    Its value holds the drags: `handles`, `steps` and a `number` that identifies the request.
    """
    return build_component("touch", None, elem_id=elem_id, target=None, moved=None, invitation=INVITATION, hint=HINT)


def target_value(key: str, frame_CHW: Tensor) -> dict:
    """Return a picture to drag as JSON values. key: identifies the picture; another key removes all drags."""
    return {"key": key, "picture": picture_uri(frame_CHW)}


def moved_value(number: object, reached_J2: Tensor | None = None, frame_CHW: Tensor | None = None) -> dict:
    """Return the answer to a drag as JSON values. number: that of the event. frame_CHW: the moved picture."""
    return {
        "number": number if isinstance(number, int) else 0,
        "reached": [] if reached_J2 is None else [[round(v, 4) for v in row] for row in reached_J2.tolist()],
        "picture": None if frame_CHW is None else picture_uri(frame_CHW),
    }


def picture_uri(frame_CHW: Tensor) -> str:
    """Return a frame in [0, 1] as a data URI."""
    return data_uri(draw_sheet(frame_CHW[None], PIXELS, columns=1))
