"""The chosen action: its frames, what it means, and its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.atlas import Atlas
from app.components import build_piece
from app.components.action_map import address


def build_chosen(atlas: Atlas, elem_id: str) -> gr.HTML:
    """An empty place for it."""
    index = atlas.library.index
    return build_piece("chosen", {}, elem_id=elem_id, sprite=address(atlas.library.sprite), across=index.thumbs_across)


def point_value(atlas: Atlas, point: int, near: Sequence[int], setting: str) -> dict:
    """A point of the map."""
    return {**spoken(atlas, point), "setting": setting, "near": [spoken(atlas, other) for other in near]}


def mean_value(name: str, members: int, setting: str) -> dict:
    """The mean of several points."""
    return {"name": name, "words": f"What {members} transitions have in common.", "setting": setting}


def spoken(atlas: Atlas, point: int) -> dict:
    """A point's name, words and first frame in the sprite."""
    return {"point": point, "name": atlas.name(point), "words": atlas.words(point), "thumb": atlas.thumb(point)}
