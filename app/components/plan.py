"""A plan: the goal, where the best candidates lead, how the search went, and the steps it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
import torch

import lawm_core as lawm
from app.components import build_piece
from app.components.drive import picture


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A picture to be reached, at the model's size."""

    frame_CHW: torch.Tensor
    about: str


def build_plan(elem_id: str) -> gr.HTML:
    """The place of a plan, with an invitation."""
    return build_piece("plan", None, elem_id=elem_id, invitation="No goal yet. Choose one, then press Plan.")


def plan_value(
    goal: Goal,
    config: lawm.ControllerConfig | None = None,
    plan: lawm.Plan | None = None,
    ends: Sequence[torch.Tensor] = (),
    iterations: int = 1,
) -> dict:
    """What the page shows of a search so far. ends: where the plan leads, then the best candidates, the best first."""
    steps = []
    if plan is not None and config is not None:
        units = [f"{value} {unit}".strip() for value, unit in zip(config.names, config.units, strict=True)]
        steps = [[f"{number:+.3f}" for number in told_K] for told_K in plan.action_HK.tolist()]
    return {
        "goal": picture(goal.frame_CHW),
        "said": goal.about if plan is None else f"{len(plan.cost_I)} of {iterations} iterations, cost {plan.cost:.3f}",
        "best": [round(c, 4) for c in plan.cost_I] if plan else [],
        "mean": [round(c, 4) for c in plan.mean_cost_I] if plan else [],
        "of": iterations,
        "end": picture(ends[0]) if len(ends) else None,
        "ends": [picture(end) for end in ends],
        "names": units if steps else [],
        "steps": steps,
    }
