"""The card that describes the selected action: its frames, its motion summary and its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from app.action_map import ActionMap
from app.components import build_component
from app.components.action_map import static_url


def build_action_card(action_map: ActionMap, elem_id: str) -> gr.HTML:
    """Build an empty card."""
    library = action_map.library
    columns = library.index.sprite_columns
    return build_component("action_card", {}, elem_id=elem_id, sprite=static_url(library.sprite), columns=columns)


def point_value(action_map: ActionMap, point: int, neighbours: Sequence[int], setting: str) -> dict:
    """Return the card of a point of the map as JSON values. setting: family and capacity as text."""
    near = [describe_point(action_map, other) for other in neighbours]
    return {**describe_point(action_map, point), "setting": setting, "neighbours": near}


def mean_value(name: str, count: int, setting: str) -> dict:
    """Return the card of the mean action of `count` points as JSON values.

    name: title of the card. setting: family and capacity as text.
    """
    return {"name": name, "motion": f"Mean action of {count} transitions.", "setting": setting}


def describe_point(action_map: ActionMap, point: int) -> dict:
    """Return a point's index, name, motion summary and thumbnail as JSON values."""
    return {
        "point": point,
        "name": action_map.name(point),
        "motion": f"Image: {action_map.motion_summary(point)}",
        "thumb": action_map.thumbnail(point),
    }
