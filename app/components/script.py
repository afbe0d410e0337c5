"""The editor of action scripts: a row a step; undo and redo live in the page, actions are added by the server."""

from __future__ import annotations

import gradio as gr
import torch

import lawm_core as lawm
from app.atlas import PROTOTYPES, Atlas
from app.components import build_piece
from app.components.action_map import address
from app.components.chosen import spoken

MOST_ACTIONS = 64  # in a script


def build_script(atlas: Atlas | None, elem_id: str) -> gr.HTML:
    """The editor, with an empty script and the map's prototypes on offer."""
    offered = prototypes(atlas) if atlas else []
    sprite, across = (address(atlas.library.sprite), atlas.library.index.thumbs_across) if atlas else ("", 1)
    return build_piece("script", script_value(), elem_id=elem_id, prototypes=offered, sprite=sprite, across=across)


def prototypes(atlas: Atlas) -> list[dict]:
    """The points that stand for all, large clusters first."""
    return [spoken(atlas, point) for point in atlas.library.prototypes(PROTOTYPES).tolist()]


def script_value(
    steps: list[dict] | None = None,
    actions: dict[str, list[float]] | None = None,
    family: str = "",
    capacity: float = 0.0,
) -> dict:
    """A script as the page holds it: steps, the numbers of every action it names, and the setting they belong to."""
    return {"steps": steps or [], "actions": actions or {}, "family": family, "capacity": capacity}


def read_script_value(value: object) -> tuple[lawm.ActionScript, dict[str, tuple[float, ...]]]:
    """The script and its actions, from whatever arrived. Raises ValueError that says what does not fit."""
    if not isinstance(value, dict):
        raise ValueError("No script came; add a step.")
    script = lawm.read_script({"steps": value.get("steps", [])})
    actions = value.get("actions", {})
    if not isinstance(actions, dict) or len(actions) > MOST_ACTIONS:
        raise ValueError(f"A script may name at most {MOST_ACTIONS} actions.")
    read = {}
    for name, numbers in actions.items():
        if not isinstance(numbers, list) or not all(isinstance(n, int | float) for n in numbers):
            raise ValueError(f"The action {name!r} is not a list of numbers.")
        read[name] = tuple(float(n) for n in numbers)
    return script, read


def with_actions(value: object, added: dict[str, torch.Tensor], family: str, capacity: float) -> dict:
    """The script with a step more for each action.

    Raises ValueError where the script's actions were inferred at another setting: numbers mean something else there.
    """
    value = value if isinstance(value, dict) else script_value()
    steps, actions = list(value.get("steps", [])), dict(value.get("actions", {}))
    if not steps:
        actions = {}
    setting, own = (family, capacity), (value.get("family"), value.get("capacity"))
    if actions and setting != own:
        raise ValueError(
            f"The script's actions were inferred at {own[0]} {own[1]:.2f}; the dial stands at {family} {capacity:.2f}. "
            "Set it back, or clear the script."
        )
    for name, action_A in added.items():
        actions[name] = action_A.tolist()
        steps.append({"terms": [{"action": name, "weight": 1.0}], "repeat": 1})
    out = script_value(steps, actions, family, capacity)
    read_script_value(out)
    return out
