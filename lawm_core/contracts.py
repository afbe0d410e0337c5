"""What travels between the rooms of this package, and what rooms promise each other.

Everything here is a frozen dataclass, a protocol or an error: no computation, and torch for type checkers only. The
letters are explained in `lawm_core/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # annotations alone: errors and dataclasses are wanted where torch is not
    from torch import Tensor


class VideoError(ValueError):
    """A video cannot be used; the message says what came and what is needed."""


class DownloadError(ValueError):
    """A file could not be had from elsewhere; the message says what came and what is needed."""


class CheckpointError(ValueError):
    """A model folder cannot be used; the message says what came and what is needed."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A piece of video at a model's rate and size.

    frame_TCHW: float32 in [0, 1], T >= 2, square frames.
    frames_per_second: the rate the frames were sampled at, which may exceed what the file holds (frames then repeat).
    start_seconds: where in the file the first frame lies.
    name: for people, usually the file's name.
    file_seconds: length of the whole file where known, else 0.
    """

    frame_TCHW: Tensor
    frames_per_second: float
    start_seconds: float = 0.0
    name: str = ""
    file_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """States that a world model predicts from a start, and how each of them is tied to the start.

    start_BND: the last given state. state_BUND: the predicted ones. flow_BU2HW: backward flow from each predicted frame
    to the start, in frame widths; visible_BU1HW: 0 to 1, what of each frame is visible at the start. Both are None for
    models that predict states alone.
    """

    start_BND: Tensor
    state_BUND: Tensor
    flow_BU2HW: Tensor | None = None
    visible_BU1HW: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One video's latent actions acting on another video's first frames.

    frame_TCHW: the target under the source's actions; its first `context_frames` frames are the target's own.
    control_TCHW: the target under the actions of a clip in which nothing happens.
    action_UA: the source's latent actions, U = T - 1.
    scores: named figures, each explained where it is computed (`evaluation/transfer.py`).
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
    """What a planner found, and on what way.

    action_HK: what the last iteration's elites agree on, their mean, H steps; cost: what the model foresees for it.
    cost_I, mean_cost_I: the least cost met so far and the mean of the elites', iteration by iteration.
    elite_EHK, elite_cost_E: the last iteration's best plans, the best first.
    """

    action_HK: Tensor
    cost: float
    cost_I: tuple[float, ...]
    mean_cost_I: tuple[float, ...]
    elite_EHK: Tensor
    elite_cost_E: Tensor


class Dynamics(Protocol):
    """A world from its present on."""

    def unroll(self, plan_SHK: Tensor) -> Tensor:
        """Where S plans of H steps lead: end_SND."""
        ...


class Objective(Protocol):
    """What is wanted of the end of a plan."""

    def cost(self, end_SND: Tensor) -> Tensor:
        """cost_S; less is better."""
        ...


class Encoder(Protocol):
    """Frames to states; a frame's state depends on that frame and earlier ones only."""

    def __call__(self, frame_BTCHW: Tensor) -> Tensor:
        """(B, T, C, H, W) in [0, 1] to (B, T, N, D), standardised to about zero mean and unit variance."""
        ...
