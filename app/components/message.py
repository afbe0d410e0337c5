"""The message area, which says why a request was rejected until the next one succeeds, and short notices."""

from __future__ import annotations

import time

import gradio as gr

from app.components import build_component


def build_message(elem_id: str) -> gr.HTML:
    """Build the message area, empty and hidden."""
    return build_component("message", message_value(), elem_id=elem_id)


def message_value(text: str = "") -> dict:
    """Return the value that shows a message; an empty one hides the area."""
    return {"text": text}


def notice_value(text: str) -> dict:
    """Return the value that shows a notice at the lower edge of the page.

    It includes the time, so that a repeated notice is a new value and is shown again.
    """
    return {"text": "", "notice": text, "time": time.monotonic()}
