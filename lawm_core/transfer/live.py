"""Live transfer: the motion of a stream of frames, applied to a picture as it happens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lawm_core.model import BoundFamily
from lawm_core.planning.rollout_state import RolloutState


@dataclass(frozen=True, kw_only=True)
class LiveFrame:
    """One frame of a live transfer.

    frame_CHW: the predicted frame in [0, 1], at the picture size. action_A: the latent action that led to it; None for
    the first frame, which is the picture itself. carried_fraction: fraction of the frame's pixels that are carried over
    from its reference frame.
    """

    frame_CHW: Tensor
    action_A: Tensor | None = None
    carried_fraction: float = 1.0


class LiveTransfer:
    """Applies the motion between the frames of a stream to a picture, one frame at a time.

    picture_CHW: the first frame of the result, in [0, 1], at the model's picture size. All frames depend on earlier
    frames of the stream only, so each can be shown as soon as it is there.
    """

    def __init__(self, bound: BoundFamily, picture_CHW: Tensor) -> None:
        self.bound, self.picture_CHW = bound, picture_CHW
        self.restart()

    @torch.inference_mode()
    def restart(self) -> LiveFrame:
        """Return to the picture. The next frame of the stream only starts the motion."""
        self._reference_1CHW = self._shown_1CHW = self.picture_CHW[None]
        self._now: RolloutState = self.bound.start_rollout(self.bound.model.encode(self._reference_1CHW[None]))
        self._before_11ND: Tensor | None = None
        self._action_1A: Tensor | None = None
        return LiveFrame(frame_CHW=self.picture_CHW)

    def rebind(self, bound: BoundFamily) -> None:
        """Continue with another family or capacity of the same model.

        The prediction continues from the current frame, which becomes the reference frame.
        """
        if (bound.name, bound.capacity) == (self.bound.name, self.bound.capacity):
            return
        self.bound, self._action_1A = bound, None
        with torch.inference_mode():
            self._now = bound.start_rollout(self._now.state_BND[:, None])
        self._reference_1CHW = self._shown_1CHW

    @torch.inference_mode()
    def push(self, frame_CHW: Tensor, strength: float = 1.0, smoothing: float = 0.0) -> LiveFrame:
        """Take the next frame of the stream, in [0, 1], at the model's frame size or picture size. Return the result.

        strength: factor of the action. smoothing: weight of the earlier actions in a moving average, in [0, 1).
        """
        state_11ND = self.bound.model.encode(frame_CHW[None, None])
        before_11ND, self._before_11ND = self._before_11ND, state_11ND
        if before_11ND is None:
            return self._draw(None)
        action_1A = self.bound.infer_actions(torch.cat((before_11ND, state_11ND), dim=1))[:, 0]
        if self._action_1A is not None:
            action_1A = torch.lerp(action_1A, self._action_1A, smoothing)
        self._action_1A = action_1A
        applied_1A = self.bound.project(strength * action_1A[:, None])[:, 0]
        self._now = self._now.step(applied_1A)
        result = self._draw(applied_1A[0])
        if self._now.has_lost_reference:
            self._reference_1CHW, self._now = self._shown_1CHW, self._now.reset_reference()
        return result

    def _draw(self, action_A: Tensor | None) -> LiveFrame:
        """Return the current frame."""
        frame_11CHW, carried_11 = self.bound.model.render_parts(self._now.current, self._reference_1CHW)
        self._shown_1CHW = frame_11CHW[0]
        return LiveFrame(frame_CHW=frame_11CHW[0, 0], action_A=action_A, carried_fraction=carried_11.item())
