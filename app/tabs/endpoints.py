"""What scripts can call besides `transfer`: the same use cases, with numbers instead of pictures.

Clips are given as on the page: a gallery file's name, or `upload` and a video. Nothing here is on screen.
"""

from __future__ import annotations

import gradio as gr
import torch

import lawm_core as lawm
from app.atlas import Atlas
from app.studio import Studio
from app.tabs.capacity import STEPS
from app.tabs.selection import MODEL_QUEUE, Selection, chosen_piece, result_queue

MOST_ACTIONS = 1024  # in one call of `project`


def build_endpoints(selection: Selection, studio: Studio) -> None:
    """One hidden button and its answer for each endpoint; errors reach the caller as they are."""
    numbers, answer = gr.JSON(visible=False), gr.JSON(visible=False)
    film = gr.File(visible=False)
    source, target = selection.source.inputs, selection.target.inputs
    dial = [selection.family, selection.capacity]

    results = result_queue(studio)

    def endpoint(handler, inputs: list, output, name: str, queue: dict = MODEL_QUEUE) -> None:
        gr.Button(visible=False).click(handler, inputs, output, api_name=name, **queue)

    def infer_actions(
        clip: object, video: str | None, start: float | None, frames: float | None, family: str, capacity: float
    ) -> list:
        """The latent actions of a clip: a list of numbers for each transition."""
        with said_to_callers():
            piece = chosen_piece(studio, "source", clip, video, start, frames)
            return studio.infer_actions(piece, family=family, capacity=capacity).tolist()

    def apply_action(
        action: object, clip: object, video: str | None, start: float | None, family: str, capacity: float
    ) -> str:
        """A video of the target's first frame under one action (a list of numbers) or several (a list of lists)."""
        with said_to_callers():
            action_UA = read_actions(action, 64)
            script = lawm.ActionScript(
                steps=tuple(lawm.ScriptStep(terms=(lawm.Term(action=str(u)),)) for u in range(len(action_UA)))
            )
            actions = {str(u): tuple(row) for u, row in enumerate(action_UA.tolist())}
            piece = chosen_piece(studio, "target", clip, video, start)
            view = studio.play(script, actions, piece, family=family, capacity=capacity)
            return str(studio.export(view).video)

    def capacity_sweep(
        source: object,
        source_video: str | None,
        source_start: float | None,
        frames: float | None,
        target: object,
        target_video: str | None,
        target_start: float | None,
        family: str,
    ) -> list:
        """Scores of the same transfer at five capacities."""
        with said_to_callers():
            one = chosen_piece(studio, "source", source, source_video, source_start, frames)
            other = chosen_piece(studio, "target", target, target_video, target_start)
            views = studio.sweep(one, other, [(family, capacity) for capacity in STEPS])
            return [{"capacity": v.result.capacity, **v.result.scores} for v in views]

    def project(action: object, family: str, capacity: float) -> list:
        """Where actions (a list of lists of numbers) lie on the map, and their nearest points."""
        with said_to_callers():
            return placed(studio.atlas, read_actions(action, MOST_ACTIONS), family, capacity)

    def replay(recipe: object) -> str:
        """The film of a recipe whose clips are in the gallery."""
        with said_to_callers():
            return str(studio.replay(recipe))

    endpoint(infer_actions, [*source, *dial], answer, "infer_actions")
    endpoint(apply_action, [numbers, *target, *dial], film, "apply_action", results)
    endpoint(capacity_sweep, [*source, *target, selection.family], answer, "capacity_sweep", results)
    endpoint(project, [numbers, *dial], answer, "project")
    endpoint(replay, [numbers], film, "replay", results)


class said_to_callers:
    """Refusals as errors that Gradio passes on; the rest stays in the log."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, *_: object) -> None:
        if isinstance(error, ValueError):
            raise gr.Error(str(error), print_exception=False) from None


def read_actions(value: object, most: int) -> torch.Tensor:
    """action_UA from plain numbers. Raises ValueError that says what came."""
    rows = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    if not isinstance(rows, list) or not 0 < len(rows) <= most:
        raise ValueError(f"A list of 1 to {most} actions is needed, each a list of numbers.")
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    if not width or not all(
        isinstance(r, list) and len(r) == width and all(isinstance(n, int | float) for n in r) for r in rows
    ):
        raise ValueError("Each action must be a list of numbers, all of one length.")
    return torch.tensor(rows, dtype=torch.float32)


def placed(atlas: Atlas | None, action_UA: torch.Tensor, family: str, capacity: float) -> list[dict]:
    """Places and neighbours of actions. Raises ValueError where there is no map, or actions of another width."""
    if atlas is None:
        raise ValueError("This copy has no library, so there is no map to project on.")
    width = atlas.library.action_PA.shape[1]
    if action_UA.shape[1] != width:
        raise ValueError(f"Actions of {action_UA.shape[1]} numbers came; {width} are needed.")
    umap_X2, pca_X2 = atlas.place(action_UA, family, capacity)
    return [
        {"umap": u.tolist(), "pca": p.tolist(), "nearest": atlas.neighbours(a, family, capacity)}
        for a, u, p in zip(action_UA, umap_X2, pca_X2, strict=True)
    ]
