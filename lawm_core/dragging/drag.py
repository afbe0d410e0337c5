"""Search for the latent actions under which a frame moves as its handles say.

Each step starts from the motion field of the handles. Inverse dynamics infers the action of a transition with this
field, and the bottleneck limits it, as for a transition between two real frames. The world model then predicts how far
the handles really move. What is missing is added to the field, once within the step and again in each later step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.dragging.handle import MAX_HANDLES, Handle, handle_positions, handle_weights, motion_field
from lawm_core.model import BoundFamily
from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map
from lawm_core.models.flow import warp
from lawm_core.planning.rollout_state import RolloutState

MAX_STEP_MOTION = 0.12  # in frame widths; faster motion is rare in the training data
CORRECTIONS = 1  # times per step that the field is corrected by the prediction
TRACKING_ITERATIONS = 20


@dataclass(frozen=True, kw_only=True)
class DragStep:
    """One step of a drag.

    now: the rollout after this step. action_A: latent action of this step. reached_J2: how far the content at each
    handle has moved since the start, to the right and down in frame widths, according to the world model.
    """

    now: RolloutState
    action_A: Tensor
    reached_J2: Tensor


def count_steps(handles: Sequence[Handle], steps: int = 1) -> int:
    """Return the number of steps of a drag: `steps`, or more if handles would move by more than MAX_STEP_MOTION."""
    return max(steps, *(int(-(-handle.largest_motion // MAX_STEP_MOTION)) for handle in handles))


@torch.no_grad()
def drag(
    bound: BoundFamily,
    start: RolloutState,
    handles: Sequence[Handle],
    steps: int = 1,
    corrections: int = CORRECTIONS,
) -> Iterator[DragStep]:
    """Move a frame as handles say, and yield each of the `count_steps(handles, steps)` steps.

    start: a rollout of one clip without a controller, whose current frame is its reference frame. Handles refer to this
    frame. Raises ValueError without handles or for more than MAX_HANDLES.
    """
    if not 1 <= len(handles) <= MAX_HANDLES:
        raise ValueError(f"a drag needs 1 to {MAX_HANDLES} handles, got {len(handles)}.")
    now, total, size = start, count_steps(handles, steps), bound.family.world_model.map_size
    for step in range(total):
        progress = (step + 1) / total
        at_J2, weight_JHW = handle_positions(handles, progress), handle_weights(handles, size, progress)
        whole_12HW = motion_field(handles, size, 0.0, progress)
        flow_12HW = motion_field(handles, size, step / total, progress)
        action_1A = infer_from_flow(bound, now.state_BND, flow_12HW)
        after = now.apply(action_1A)
        for _ in range(corrections):
            missing_J2 = sample_at((whole_12HW - after.carry.flow_X2HW)[0], at_J2)
            flow_12HW = flow_12HW + torch.einsum("jhw,jc->chw", weight_JHW, missing_J2)
            action_1A = infer_from_flow(bound, now.state_BND, flow_12HW)
            after = now.apply(action_1A)
        now = after
        yield DragStep(now=now, action_A=action_1A[0], reached_J2=track(now.carry.flow_X2HW[0], handles))


def infer_from_flow(bound: BoundFamily, state_1ND: Tensor, flow_12HW: Tensor) -> Tensor:
    """Return the latent action of a transition from a state with a given backward flow, action_1A.

    The state after the transition is the warped feature map of the state before it.
    """
    subpatches = bound.model.config.encoder.subpatches
    after_1CHW = warp(feature_map_from_tokens(state_1ND, subpatches), flow_12HW)
    state_12ND = torch.stack((state_1ND, tokens_from_feature_map(after_1CHW, subpatches)), dim=1)
    return bound.infer_actions(state_12ND, flow_12HW[:, None])[:, 0]


def sample_at(map_CHW: Tensor, at_J2: Tensor) -> Tensor:
    """Return the values of a map at positions in frame widths, value_JC. Outside the frame, its border is repeated."""
    grid_1J12 = (2 * at_J2 - 1)[None, :, None]
    return F.grid_sample(map_CHW[None].float(), grid_1J12, padding_mode="border", align_corners=False)[0, :, :, 0].T


def track(flow_2HW: Tensor, handles: Sequence[Handle]) -> Tensor:
    """Return how far the content at each handle has moved, reached_J2. flow_2HW: backward flow to the start.

    What is at position x was at x + flow(x). So the content of position p is now at the solution of x = p - flow(x),
    which is found by damped fixed-point iteration.
    """
    start_J2 = handle_positions(handles, 0.0)
    at_J2 = start_J2
    for _ in range(TRACKING_ITERATIONS):
        at_J2 = torch.lerp(at_J2, start_J2 - sample_at(flow_2HW, at_J2), 0.5)
    return at_J2 - start_J2
