"""Things to choose from, as pictures: pairs of clips, or single clips. Pointing at a picture plays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import gradio as gr

from app.components import build_piece
from app.studio import THUMB_FRAMES


@dataclass(frozen=True, kw_only=True)
class Choice:
    """key: what the page sends back. rows: which rows of the gallery's picture show it. note: shown once chosen."""

    key: str
    title: str
    note: str = ""
    rows: tuple[int, ...] = ()


def build_choices(
    items: Sequence[Choice], chosen: str | None, rows: int, label: str, elem_id: str, **settings: object
) -> gr.HTML:
    """Buttons with moving pictures; `rows` is how many rows the gallery's picture has."""
    shown = {"items": [asdict(item) for item in items], "rows": rows, "spoken": label}
    return build_piece("choices", choice_value(chosen), elem_id=elem_id, **shown, **settings)


def choice_value(chosen: str | None, extra: dict | None = None) -> dict:
    """Which one is chosen, and one more to choose from that the gallery does not hold: an uploaded video."""
    return {"chosen": chosen, "extra": extra}


def extra_choice(key: str, title: str, note: str, picture: str) -> dict:
    """The uploaded video among the choices; `picture` is its strip as a data URI."""
    return {"key": key, "title": title, "note": note, "picture": picture, "rows": []}


def kept_extra(value: object) -> dict | None:
    """The uploaded video among the choices, to be offered on."""
    return value.get("extra") if isinstance(value, dict) else None


def chosen_key(value: object) -> str:
    """What was chosen, from whatever arrived: the page sends a dict, a script may send the name alone."""
    key = value.get("chosen") if isinstance(value, dict) else value
    return key if isinstance(key, str) else ""


def gallery_style(picture: str | None, rows: int) -> str:
    """The gallery's picture, once for all its thumbnails, and how a strip of frames plays."""
    width, past_last = 100 * THUMB_FRAMES, 100 * THUMB_FRAMES / (THUMB_FRAMES - 1)
    style = f".thumb {{ --frames: {THUMB_FRAMES}; --played: {past_last:.4f}%; background-size: {width}% 100%; }}\n"
    if picture:
        style += f'.of-gallery {{ background-image: url("{picture}"); background-size: {width}% {100 * rows}%; }}\n'
    return style
