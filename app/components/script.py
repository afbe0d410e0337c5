"""The editor of action scripts, with one row per step. The browser does undo and redo; the server adds actions."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr
import torch

import lawm_core as lawm
from app.action_map import PROTOTYPES, ActionMap
from app.components import build_component
from app.components.action_card import describe_point
from app.components.action_map import static_url

MAX_ACTIONS = 64  # different actions of a script


def build_script(action_map: ActionMap | None, elem_id: str) -> gr.HTML:
    """Build the editor with an empty script and the map's prototypes."""
    library = action_map and action_map.library
    return build_component(
        "script",
        script_value(),
        elem_id=elem_id,
        prototypes=prototypes(action_map) if action_map else [],
        sprite=static_url(library.sprite) if library else "",
        columns=library.index.sprite_columns if library else 1,
    )


def prototypes(action_map: ActionMap) -> list[dict]:
    """Return the points that represent the map's clusters, largest cluster first."""
    return [describe_point(action_map, point) for point in action_map.library.prototypes(PROTOTYPES).tolist()]


def script_value(
    steps: list[dict] | None = None,
    actions: dict[str, list[float]] | None = None,
    family: str = "",
    capacity: float = 0.0,
) -> dict:
    """Return a value of the editor: steps, actions by name, and the setting at which the actions were inferred."""
    return {"steps": steps or [], "actions": actions or {}, "family": family, "capacity": capacity}


def script_step(action: str) -> dict:
    """Return a step that applies the action of this name once."""
    return {"terms": [{"action": action, "weight": 1.0}], "repeat": 1}


def read_script_value(value: object) -> tuple[lawm.ActionScript, dict[str, tuple[float, ...]]]:
    """Return the script and its actions by name from a value of the editor. Raises ValueError if it is invalid."""
    if not isinstance(value, dict):
        raise ValueError("The script is empty. Add a step.")
    script = lawm.read_script({"steps": value.get("steps", [])})
    actions = value.get("actions", {})
    if not isinstance(actions, dict) or len(actions) > MAX_ACTIONS:
        raise ValueError(f"A script must have at most {MAX_ACTIONS} different actions.")
    parsed = {}
    for name, numbers in actions.items():
        if not isinstance(numbers, list) or not all(isinstance(n, int | float) for n in numbers):
            raise ValueError(f"The action {name!r} must be a list of numbers.")
        parsed[name] = tuple(float(n) for n in numbers)
    return script, parsed


def with_actions(value: object, added: dict[str, torch.Tensor], family: str, capacity: float) -> dict:
    """Return a value of the editor with one more step for each added action.

    added: actions by name, inferred at this family and capacity. Raises ValueError if the script has actions inferred
    at another setting, because a world model interprets actions according to its setting.
    """
    value = value if isinstance(value, dict) else script_value()
    steps, actions = list(value.get("steps", [])), dict(value.get("actions", {}))
    if not steps:
        actions = {}
    own_family, own_capacity = value.get("family"), value.get("capacity")
    if actions and (family, capacity) != (own_family, own_capacity):
        raise ValueError(
            f"The script's actions are for {own_family}, capacity {own_capacity}, but the page is set to {family}, "
            f"capacity {capacity}. Change the setting back, or clear the script."
        )
    for name, action_A in added.items():
        actions[name] = action_A.tolist()
        steps.append(script_step(name))
    extended = script_value(steps, actions, family, capacity)
    read_script_value(extended)
    return extended


def recorded_script(kind: str, actions: Iterable[torch.Tensor], family: str, capacity: float) -> dict:
    """Return a new value of the editor with one step for each action; the first is named `kind`, step 1."""
    named = {f"{kind}, step {number}": action_A for number, action_A in enumerate(actions, start=1)}
    return with_actions(None, named, family, capacity)
