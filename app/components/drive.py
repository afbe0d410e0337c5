"""The component for driving: the current frames, and keys, buttons and gamepad axes for a robot's actions."""

from __future__ import annotations

import gradio as gr
import torch

import lawm_core as lawm
from app.components import build_component
from app.driving import MAX_STEPS, Drive
from app.pictures import data_uri, draw_sheet, unpack_picture

PIXELS = 320
# Controls of a robot: (key, sign on the button, title, {action dimension: direction}).
CONTROLS = {
    "arm": (
        ("ArrowUp", "↑", "reach forward", {"dx": 1}),
        ("ArrowDown", "↓", "pull back", {"dx": -1}),
        ("ArrowLeft", "←", "left", {"dy": 1}),
        ("ArrowRight", "→", "right", {"dy": -1}),
        ("w", "W", "up", {"dz": 1}),
        ("s", "S", "down", {"dz": -1}),
        ("o", "O", "open gripper", {"gripper": 1}),
        ("c", "C", "close gripper", {"gripper": -1}),
    ),
    "rover": (
        ("ArrowUp", "↑", "forward", {"dx": 1}),
        ("ArrowDown", "↓", "backward", {"dx": -1}),
        ("ArrowLeft", "←", "turn left", {"dyaw": 1}),
        ("ArrowRight", "→", "turn right", {"dyaw": -1}),
        ("a", "A", "strafe left", {"dy": 1}),
        ("d", "D", "strafe right", {"dy": -1}),
    ),
}
GAMEPAD_AXES = {"arm": ("dy", "dx", "gripper", "dz"), "rover": ("dyaw", "dx", "dy")}  # action dimension of each axis
INVITATION = "No drive yet. Choose a robot and press Start."
HINT = "Hold a key or a button to drive. Backspace undoes a step. Gamepad sticks work too."


def build_drive(robots: dict[str, lawm.ControllerConfig], elem_id: str) -> gr.HTML:
    """Build the screens and the controls, with an invitation to start."""
    controls = {name: robot_controls(name, config) for name, config in robots.items()}
    return build_component("drive", None, elem_id=elem_id, robots=controls, invitation=INVITATION, hint=HINT)


def robot_controls(name: str, config: lawm.ControllerConfig) -> dict:
    """Return the limits and the controls of a robot as JSON values.

    A robot that is not in CONTROLS has two buttons for each dimension of its actions.
    """
    index = {dimension: i for i, dimension in enumerate(config.names)}
    controls = CONTROLS.get(name) or tuple(
        (
            "",
            "+" if direction > 0 else "−",
            f"{'more' if direction > 0 else 'less'} {dimension}",
            {dimension: direction},
        )
        for dimension in config.names
        for direction in (1, -1)
    )
    return {
        "limits": list(config.limits),
        "axes": [index[dimension] for dimension in GAMEPAD_AXES.get(name, ()) if dimension in index],
        "controls": [
            {"key": key, "sign": sign, "title": title, "moves": [[index[d], value] for d, value in moves.items()]}
            for key, sign, title, moves in controls
            if set(moves) <= set(index)
        ],
    }


def drive_value(drive: Drive, number: str) -> dict:
    """Return the current state of a drive as JSON values. number: identifies the drive on the page."""
    return {
        "drive": number,
        "robot": drive.robot,
        "steps": len(drive.robot_actions),
        "max_steps": MAX_STEPS,
        "model": frame_uri(unpack_picture(drive.frames[-1])),
        "simulator": frame_uri(unpack_picture(drive.simulator_frames[-1])) if drive.simulator_frames else None,
    }


def frame_uri(frame_CHW: torch.Tensor) -> str:
    """Return a frame in [0, 1] as a data URI."""
    return data_uri(draw_sheet(frame_CHW[None], PIXELS, columns=1))
