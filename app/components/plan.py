"""The component for a plan: goal, predicted end frames, progress of the search, actions, and the distance reached."""

from __future__ import annotations

import math

import gradio as gr

import lawm_core as lawm
from app.components import build_component
from app.components.drive import frame_uri
from app.driving import Distance, Goal, SearchRound

INVITATION = "No goal yet. Choose one, press Use this goal, then Plan."


def build_plan(elem_id: str) -> gr.HTML:
    """Build the component without a plan. Its property `reached` is a text about the distance after a plan was run."""
    return build_component("plan", None, elem_id=elem_id, invitation=INVITATION, reached="")


def distance_text(now: Distance, start: Distance | None = None) -> str:
    """Describe the distance `now` from the goal. With `start`, describe both the remaining and the initial distance."""
    if start is None:
        return "" if now.metres is None else f"{pose_text(now)} away"
    if now.metres is None or start.metres is None:
        return f"Difference from the goal: {now.state:.3f} ({start.state:.3f} at the start). Lower is closer."
    return f"Distance from the goal: {pose_text(now)} ({pose_text(start)} at the start)."


def pose_text(distance: Distance) -> str:
    """Describe a distance in metres, and in degrees if the robot can turn."""
    turn = "" if distance.radians is None else f" and {math.degrees(distance.radians):.0f}°"
    return f"{distance.metres:.2f} m{turn}"


def plan_value(
    goal: Goal, distance: str = "", config: lawm.ControllerConfig | None = None, search: SearchRound | None = None
) -> dict:
    """Return a goal and the state of a search as JSON values.

    distance: text that says how far the goal is. config: the robot's, with the names and units of its actions; required
    with `search`. search: the last iteration of the search, None before the first.
    """
    plan, frames = search and search.plan, search.end_frames if search else []
    steps = [[f"{value:+.3f}" for value in action_R] for action_R in plan.action_KR.tolist()] if plan else []
    units = zip(config.names, config.units, strict=True) if config else ()
    return {
        "goal": frame_uri(goal.frame_CHW),
        "text": search_text(search) if search else ", ".join(filter(None, (goal.description, distance))),
        "best": [round(cost, 4) for cost in plan.cost_I] if plan else [],
        "mean": [round(cost, 4) for cost in plan.mean_cost_I] if plan else [],
        "ends": [frame_uri(frame_CHW) for frame_CHW in frames],
        "names": [f"{name} {unit}".strip() for name, unit in units] if plan else [],
        "steps": steps,
    }


def search_text(search: SearchRound) -> str:
    """Describe the progress of a search and the predicted cost of its plan."""
    rounds = len(search.plan.cost_I)
    progress = f"Round {rounds} of {search.rounds}" if search.seconds_left else f"Search finished, {rounds} rounds"
    return f"{progress}. Predicted difference from the goal: {search.plan.cost:.3f} (lower is closer)."
