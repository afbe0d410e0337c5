"""The place where the page says what went wrong, and keeps saying it until the next success."""

from __future__ import annotations

import time

import gradio as gr

from app.components import build_piece


def build_message(elem_id: str) -> gr.HTML:
    """An alert area, empty and out of the way at first."""
    return build_piece("message", message_value(), elem_id=elem_id)


def message_value(text: str = "") -> dict:
    """What the area says; nothing hides it."""
    return {"text": text}


def notice_value(text: str) -> dict:
    """Nothing to say here, and a notice at the page's lower edge. Each is another value, so that each is shown."""
    return {"text": "", "notice": text, "at": time.monotonic()}
