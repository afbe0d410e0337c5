"""A plan: the goal, where the best candidates lead, how the search went, the steps it found, and how far it led."""

from __future__ import annotations

import math

import gradio as gr

import lawm_core as lawm
from app.components import build_piece
from app.components.drive import picture
from app.driving import Distance, Goal, Round


def build_plan(elem_id: str) -> gr.HTML:
    """The place of a plan, with an invitation. Its `reached` says how close the drive came to the goal."""
    invitation = "No goal yet. Choose one, press Use this goal, then Plan."
    return build_piece("plan", None, elem_id=elem_id, invitation=invitation, reached="")


def distance_text(now: Distance, start: Distance | None = None) -> str:
    """How far the robot is from the goal, or how far it still is and was at the start."""
    if start is None:
        return "" if now.metres is None else f"{length_text(now)} from here"
    if now.metres is None or start.metres is None:
        return (
            f"Difference from the goal picture: {now.picture:.3f} ({start.picture:.3f} at the start). Lower is closer."
        )
    return f"The robot came to {length_text(now)} from the goal ({length_text(start)} at the start)."


def length_text(distance: Distance) -> str:
    """A distance in metres, and degrees where the robot can turn."""
    turn = "" if distance.radians is None else f" and {math.degrees(distance.radians):.0f}°"
    return f"{distance.metres:.2f} m{turn}"


def plan_value(
    goal: Goal, distance: str = "", config: lawm.ControllerConfig | None = None, search: Round | None = None
) -> dict:
    """What the page shows of a goal and of a search so far. distance: how far away the goal is, in words."""
    steps, plan, ends = [], search and search.plan, search.ends if search else []
    if plan is not None and config is not None:
        units = [f"{value} {unit}".strip() for value, unit in zip(config.names, config.units, strict=True)]
        steps = [[f"{number:+.3f}" for number in told_K] for told_K in plan.action_HK.tolist()]
    return {
        "goal": picture(goal.frame_CHW),
        "said": ", ".join(filter(None, (goal.about, distance))) if plan is None else search_text(search),
        "best": [round(c, 4) for c in plan.cost_I] if plan else [],
        "mean": [round(c, 4) for c in plan.mean_cost_I] if plan else [],
        "end": picture(ends[0]) if len(ends) else None,
        "ends": [picture(end) for end in ends],
        "names": units if steps else [],
        "steps": steps,
    }


def search_text(search: Round) -> str:
    """How many rounds there were, and what the plan is expected to cost."""
    rounds = len(search.plan.cost_I)
    done = "" if search.seconds_left else "Search finished: "
    return f"{done}{rounds} {'round' if rounds == 1 else 'rounds'}, predicted cost {search.plan.cost:.3f}"
