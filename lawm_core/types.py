"""Dataclasses, protocols and exceptions that are shared between packages.

This module computes nothing, and only type checkers import torch for it. The shape suffixes are explained in
`lawm_core/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # exceptions and dataclasses are also used where torch is not imported
    from torch import Tensor


class VideoError(ValueError):
    """A video cannot be used. The message says what is wrong, what was given and what to do."""


class DownloadError(ValueError):
    """A file could not be downloaded. The message says what is wrong and what to do."""


class CheckpointError(ValueError):
    """A model or library folder cannot be used. The message says what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip at a model's frame rate and picture size.

    frame_TCHW: float32 in [0, 1], square frames. frames_per_second: rate at which frames were sampled; above the rate
    of the file, frames repeat. start_seconds: position of the first frame in the file. name: usually the file name.
    file_seconds: duration of the file, or 0 if unknown.
    """

    frame_TCHW: Tensor
    frames_per_second: float
    start_seconds: float = 0.0
    name: str = ""
    file_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """States that a world model predicts from a start state, and the motion of each relative to the start.

    start_BND: the last given state. state_BUND: the predicted states. flow_BU2HW: backward flow from each predicted
    frame to the start, in frame widths. visible_BU1HW: probability that each point of a predicted frame is visible at
    the start.
    """

    start_BND: Tensor
    state_BUND: Tensor
    flow_BU2HW: Tensor
    visible_BU1HW: Tensor


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One clip's latent actions applied to another clip's first frames.

    frame_TCHW: the target under the source's actions; its first `context_frames` frames are the target's own.
    control_TCHW: the target under the action of a scene without motion. action_UA: the source's latent actions. scores:
    see `transfer.transfer_actions`.
    """

    frame_TCHW: Tensor
    control_TCHW: Tensor
    action_UA: Tensor
    family: str
    capacity: float
    context_frames: int
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The result of a search for a plan.

    action_KR: the plan, which is the mean of the last iteration's elites. cost: predicted cost of the plan. cost_I:
    lowest cost up to each iteration. mean_cost_I: mean cost of the elites of each iteration. elite_EKR, elite_cost_E:
    the elites of the last iteration and their costs, best first.
    """

    action_KR: Tensor
    cost: float
    cost_I: tuple[float, ...]
    mean_cost_I: tuple[float, ...]
    elite_EKR: Tensor
    elite_cost_E: Tensor


class Dynamics(Protocol):
    """Predicts the final states of plans from a fixed start."""

    def unroll(self, plan_SKR: Tensor) -> Tensor:
        """Return the final states of S plans of K steps, final_SND."""
        ...


class PlanningCost(Protocol):
    """Cost of a plan's final state."""

    def cost(self, final_SND: Tensor) -> Tensor:
        """Return the cost of each of S final states, cost_S. Lower is better."""
        ...
