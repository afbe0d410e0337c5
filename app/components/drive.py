"""Driving: what is seen, and keys, buttons and sticks for a robot's known actions."""

from __future__ import annotations

import gradio as gr
import torch

import lawm_core as lawm
from app.components import build_piece
from app.driving import MOST_STEPS, Drive
from app.pictures import data_uri, draw_sheet, unpack_picture

PIXELS = 320
# What keys do to which of a robot's numbers: (key, sign on the button, title, {name: direction}).
DEEDS = {
    "arm": (
        ("ArrowUp", "↑", "reach out", {"dx": 1}),
        ("ArrowDown", "↓", "draw back", {"dx": -1}),
        ("ArrowLeft", "←", "to its left", {"dy": 1}),
        ("ArrowRight", "→", "to its right", {"dy": -1}),
        ("w", "W", "up", {"dz": 1}),
        ("s", "S", "down", {"dz": -1}),
        ("o", "O", "open", {"gripper": 1}),
        ("c", "C", "close", {"gripper": -1}),
    ),
    "rover": (
        ("ArrowUp", "↑", "forwards", {"dx": 1}),
        ("ArrowDown", "↓", "back", {"dx": -1}),
        ("ArrowLeft", "←", "turn left", {"dyaw": 1}),
        ("ArrowRight", "→", "turn right", {"dyaw": -1}),
        ("a", "A", "slip left", {"dy": 1}),
        ("d", "D", "slip right", {"dy": -1}),
    ),
}
STICKS = {"arm": ("dy", "dx", "gripper", "dz"), "rover": ("dyaw", "dx", "dy")}  # axes of a gamepad, in its order
HINT = "Hold a key or a button to drive; Backspace takes a step back. A gamepad's sticks work too."


def build_drive(robots: dict[str, lawm.ControllerConfig], elem_id: str) -> gr.HTML:
    """The screens and the pad, with an invitation to begin."""
    invitation = "Nothing is driven yet. Choose a robot and press Begin."
    told = {name: robot_keys(name, config) for name, config in robots.items()}
    return build_piece("drive", None, elem_id=elem_id, robots=told, invitation=invitation)


def robot_keys(name: str, config: lawm.ControllerConfig) -> dict:
    """A robot's numbers and what moves them; a robot that nobody made keys for gets a button for each direction."""
    place = {number: i for i, number in enumerate(config.names)}
    deeds = DEEDS.get(name) or tuple(
        ("", "+" if sign > 0 else "−", f"{number} {'more' if sign > 0 else 'less'}", {number: sign})
        for number in config.names
        for sign in (1, -1)
    )
    return {
        "limits": list(config.limits),
        "hint": HINT,
        "sticks": [place[number] for number in STICKS.get(name, ()) if number in place],
        "deeds": [
            {"key": key, "sign": sign, "title": title, "moves": [[place[n], d] for n, d in moves.items()]}
            for key, sign, title, moves in deeds
            if set(moves) <= set(place)
        ],
    }


def drive_value(drive: Drive | None, number: str = "") -> dict | None:
    """Where the drive is, as pictures."""
    if drive is None:
        return None
    return {
        "drive": number,
        "robot": drive.robot,
        "steps": len(drive.told),
        "most": MOST_STEPS,
        "model": picture(unpack_picture(drive.frames[-1])),
        "truth": picture(unpack_picture(drive.truth[-1])) if drive.truth else None,
    }


def picture(frame_CHW: torch.Tensor) -> str:
    """One frame, in [0, 1], for the browser."""
    return data_uri(draw_sheet(frame_CHW[None], PIXELS, columns=1))
