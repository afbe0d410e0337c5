"""Touch: a target that is moved by hand. Finds the latent actions of drags and plays them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import lawm_core as lawm
from app.cache import ByteCache
from app.clip_selection import ClipSelection
from app.studio import Studio
from app.views import View

if TYPE_CHECKING:  # at run time, this module does not import Gradio
    from app.jobs import Check

STATE_CACHE_BYTES = 4 << 20  # for the encoded first frames of targets
MIN_STEPS, MAX_STEPS, STEPS = 2, 16, 8


@dataclass(frozen=True, kw_only=True)
class Dragged:
    """The result of a drag.

    view: the target under the drag's actions, as the result of a script with one step per action. actions: by name, in
    the order of the steps. reached_J2: how far each handle has moved, see `lawm.DragStep`.
    """

    view: View
    actions: dict[str, tuple[float, ...]]
    reached_J2: Tensor


def parse_handles(value: object) -> list[lawm.Handle]:
    """Return the handles in JSON values from the page. Raises ValueError for anything else."""
    rows = value if isinstance(value, list) else []
    if not 1 <= len(rows) <= lawm.MAX_HANDLES:
        raise ValueError(f"Drag a part of the picture first; 1 to {lawm.MAX_HANDLES} drags are allowed.")
    names = set(lawm.Handle.__dataclass_fields__)
    if not all(isinstance(row, dict) and set(row) <= names and {"x", "y"} <= set(row) for row in rows):
        raise ValueError(f"A drag must have x and y, and may have {', '.join(sorted(names - {'x', 'y'}))}.")
    return [lawm.Handle(**row) for row in rows]


class Toucher:
    """Drags the first frame of targets."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._states: ByteCache[Tensor] = ByteCache(STATE_CACHE_BYTES)

    def preview(
        self, target: ClipSelection, handles: Sequence[lawm.Handle], family: str | None, capacity: float
    ) -> tuple[Tensor, Tensor]:
        """Return the frame at the end of a drag, made in as few steps as possible, and reached_J2.

        The frame is frame_CHW in [0, 1] at the picture size.
        """
        clip = self.studio.open_clip(target)
        with self.studio.model_lock, torch.inference_mode():
            *_, last = self._steps(target, clip, handles, 1, family, capacity)
            frame_1UCHW = self.studio.model.render(last.now.current, clip.frame_TCHW[:1])
        return frame_1UCHW[0, -1], last.reached_J2

    def drag(
        self,
        target: ClipSelection,
        handles: Sequence[lawm.Handle],
        steps: int,
        family: str | None,
        capacity: float,
        check: Check = lambda: None,
    ) -> Dragged:
        """Drag the target's first frame, and play the actions that were found. check: see `Jobs.run`.

        They are played from the start once more, so that the result is exactly that of its replay spec.
        """
        clip, found = self.studio.open_clip(target), []
        with self.studio.model_lock, torch.inference_mode():
            for step in self._steps(target, clip, handles, steps, family, capacity):
                check()
                found.append(step)
        actions = {f"drag, step {i + 1}": tuple(step.action_A.tolist()) for i, step in enumerate(found)}
        view = self.studio.play(lawm.ActionScript.of(actions), actions, target, family=family, capacity=capacity)
        return Dragged(view=view, actions=actions, reached_J2=found[-1].reached_J2)

    def _steps(
        self,
        target: ClipSelection,
        clip: lawm.Clip,
        handles: Sequence[lawm.Handle],
        steps: int,
        family: str | None,
        capacity: float,
    ) -> Iterator[lawm.DragStep]:
        """Return the iterator over the steps of a drag. clip: the opened target.

        The caller must hold the model's lock.
        """
        bound, state_11ND = self.studio.model.at(family, capacity), self._states.get(target)
        if state_11ND is None:
            state_11ND = self.studio.model.encode(clip.frame_TCHW[None, :1])
            self._states.put(target, state_11ND, state_11ND.nbytes)
        return lawm.drag(bound, bound.start_rollout(state_11ND), handles, steps)
