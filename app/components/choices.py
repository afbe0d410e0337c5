"""Clips or pairs of clips to choose from, as thumbnails that play on hover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import gradio as gr

from app.components import build_component
from app.studio import THUMB_FRAMES


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A clip, or a pair of clips, that can be chosen.

    key: sent to the server if it is chosen. note: shown below the choices if it is chosen. rows: indices of the rows of
    the gallery image that show its thumbnails.
    """

    key: str
    title: str
    note: str = ""
    rows: tuple[int, ...] = ()


def build_choices(
    items: Sequence[Choice], chosen: str | None, rows: int, label: str, elem_id: str, **settings: object
) -> gr.HTML:
    """Build the thumbnails. chosen: key of the initial choice. rows: number of rows of the gallery image."""
    props = {"items": [asdict(item) for item in items], "rows": rows, "caption": label}
    return build_component("choices", choice_value(chosen), elem_id=elem_id, **props, **settings)


def choice_value(chosen: str | None, upload: dict | None = None) -> dict:
    """Return a value of the component: the chosen key, and an uploaded video as an additional choice."""
    return {"chosen": chosen, "upload": upload}


def upload_choice(key: str, title: str, note: str, picture: str) -> dict:
    """Return an uploaded video as a choice. picture: data URI of its thumbnails."""
    return {"key": key, "title": title, "note": note, "picture": picture, "rows": []}


def current_upload(value: object) -> dict | None:
    """Return the uploaded video in a value of the component, or None, to keep it as a choice."""
    return value.get("upload") if isinstance(value, dict) else None


def chosen_key(value: object) -> str:
    """Return the chosen key in a value, or "" if it has none. The page sends a dict; a program may send a key alone."""
    key = value.get("chosen") if isinstance(value, dict) else value
    return key if isinstance(key, str) else ""


def gallery_style(picture: str | None, rows: int) -> str:
    """Return the CSS of thumbnails: the gallery image, which is included once, and the animation of a row of frames.

    picture: data URI of the gallery image. rows: number of its rows.
    """
    width, end = 100 * THUMB_FRAMES, 100 * THUMB_FRAMES / (THUMB_FRAMES - 1)
    style = f".thumb {{ --frames: {THUMB_FRAMES}; --played: {end:.4f}%; background-size: {width}% 100%; }}\n"
    if picture:
        style += f'.of-gallery {{ background-image: url("{picture}"); background-size: {width}% {100 * rows}%; }}\n'
    return style
