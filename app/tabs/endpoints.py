"""The API: what scripts can call, with named inputs that have defaults, named results, real files and raised errors.

The page itself is private to browsers. `python -m app --mcp` offers the same functions as tools.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from inspect import signature

import gradio as gr
import torch

import lawm_core as lawm
from app.atlas import Atlas
from app.piece import FEWEST_FRAMES, FRAMES, MOST_FRAMES, Piece
from app.studio import Studio
from app.tabs.capacity import STEPS
from app.tabs.selection import FILE_TYPES, MODEL_QUEUE, result_queue

MOST_ACTIONS = 512  # in one call of `project`; more would not fit into a request
LARGEST = 1e4  # of an action's numbers; inferred ones are of the order of 1


def build_endpoints(studio: Studio) -> None:
    """A hidden button for each endpoint, with components of its own: what a page shows is nothing to a script."""
    results = result_queue(studio)

    def transfer(
        source: str | None = None,
        source_video: str | None = None,
        source_start: float = 0,
        frames: int = FRAMES,
        target: str | None = None,
        target_video: str | None = None,
        target_start: float = 0,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> tuple[str, str, str, dict]:
        """Apply what happens in the source to the target's first frame. Each clip is a gallery file's name or a video.
        Returns a video of source, target, transfer and control side by side, the latent actions as npz, the recipe that
        makes both again, and scores.
        """
        with said_to_callers():
            view = studio.transfer(
                named_piece(studio, "source", source, source_video, source_start, frames),
                named_piece(studio, "target", target, target_video, target_start),
                family=family,
                capacity=capacity,
            )
            files = studio.export(view)
            return str(files.video), str(files.latents), str(files.recipe), dict(view.result.scores)

    def infer_actions(
        source: str | None = None,
        source_video: str | None = None,
        source_start: float = 0,
        frames: int = FRAMES,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> list:
        """The latent actions of a clip: a list of numbers for each pair of neighbouring frames."""
        with said_to_callers():
            piece = named_piece(studio, "source", source, source_video, source_start, frames)
            return studio.infer_actions(piece, family=family, capacity=capacity).tolist()

    def apply_action(
        action: list,
        target: str | None = None,
        target_video: str | None = None,
        target_start: float = 0,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> str:
        """A video of the target's first frame under one action (a list of numbers) or several (a list of lists)."""
        with said_to_callers():
            action_UA = read_actions(action, 64)
            script = lawm.ActionScript(
                steps=tuple(lawm.ScriptStep(terms=(lawm.Term(action=str(u)),)) for u in range(len(action_UA)))
            )
            actions = {str(u): tuple(row) for u, row in enumerate(action_UA.tolist())}
            piece = named_piece(studio, "target", target, target_video, target_start)
            view = studio.play(script, actions, piece, family=family or studio.model.families[0], capacity=capacity)
            return str(studio.export(view).video)

    def capacity_sweep(
        source: str | None = None,
        source_video: str | None = None,
        source_start: float = 0,
        frames: int = FRAMES,
        target: str | None = None,
        target_video: str | None = None,
        target_start: float = 0,
        family: str | None = None,
    ) -> list:
        """Scores of the same transfer at five capacities."""
        with said_to_callers():
            one = named_piece(studio, "source", source, source_video, source_start, frames)
            other = named_piece(studio, "target", target, target_video, target_start)
            name = family or studio.model.families[0]
            views = studio.sweep(one, other, [(name, capacity) for capacity in STEPS])
            return [{"capacity": v.result.capacity, **v.result.scores} for v in views]

    def project(action: list, family: str | None = None, capacity: float = 1.0) -> list:
        """Where actions (a list of lists of numbers) lie on the map, and their nearest points."""
        with said_to_callers():
            name = family or studio.model.families[0]
            return placed(studio.atlas, read_actions(action, MOST_ACTIONS), name, capacity)

    def replay(recipe: dict, source_video: str | None = None, target_video: str | None = None) -> str:
        """The video of a recipe. Clips that are not in the gallery are sent along."""
        with said_to_callers():
            return str(studio.replay(recipe, source_video, target_video))

    parts = Parts(studio)
    source, target, dial = parts.clip("source"), parts.clip("target"), parts.dial()
    file = lambda label: gr.File(label=label, visible=False)
    answer = lambda label: gr.JSON(label=label, visible=False)
    offer(transfer, [*source, *target, *dial], [*map(file, ("video", "latents", "recipe")), answer("scores")], results)
    offer(infer_actions, [*parts.clip("source"), *parts.dial()], [answer("actions")], MODEL_QUEUE)
    offer(apply_action, [answer("action"), *parts.clip("target"), *parts.dial()], [file("video")], results)
    offer(capacity_sweep, [*parts.clip("source"), *parts.clip("target"), parts.dial()[0]], [answer("scores")], results)
    offer(project, [answer("action"), *parts.dial()], [answer("places")], MODEL_QUEUE)
    videos = [parts.clip(role)[1] for role in ("source", "target")]
    offer(replay, [answer("recipe"), *videos], [file("video")], results)


def offer(handler: Callable, inputs: Sequence, outputs: Sequence, queue: dict) -> None:
    """One endpoint under the handler's own name."""
    gr.Button(visible=False).click(handler, inputs, outputs, api_name=handler.__name__, **queue)


def check_endpoints(page: gr.Blocks) -> gr.Blocks:
    """The page, whose endpoints refuse wrong inputs by name; Gradio would say only that something was raised.

    It replaces `Blocks.validate_inputs`, which Gradio 6.31 calls before it reads an event's values.
    """
    count_inputs = page.validate_inputs

    def validate_inputs(block_fn: object, values: list) -> None:
        count_inputs(block_fn, values)
        if block_fn.api_visibility == "public":
            for i, (name, component) in enumerate(zip(signature(block_fn.fn).parameters, block_fn.inputs, strict=True)):
                values[i] = checked_input(name, component, values[i])

    page.validate_inputs = validate_inputs
    return page


def checked_input(name: str, component: gr.components.Component, value: object) -> object:
    """An endpoint's input; nothing means the default. Raises gr.Error that names the input and what is needed."""

    def check(fits: bool, needed: str) -> None:
        if not fits:
            raise gr.Error(f"{name} must be {needed}, got {repr(value)[:80]}.", print_exception=False)

    if isinstance(component, gr.Number):
        value = component.value if value is None else value
        low, high, whole = component.minimum, component.maximum, component.precision == 0
        bounds = f"of at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        needed = f"{'a whole number' if whole else 'a number'} {bounds}"
        check(isinstance(value, int | float) and not isinstance(value, bool), needed)
        check(low <= value <= (math.inf if high is None else high) and (not whole or value == int(value)), needed)
    elif isinstance(component, gr.Dropdown):
        value = component.value if value is None else value
        families = [key for _, key in component.choices]
        check(value in families, f"one of {', '.join(families)}")
    elif isinstance(component, gr.File):
        path = value.get("path") if isinstance(value, dict) else None
        local = isinstance(path, str) and "://" not in path
        check(value is None or local, "a file on your disk, sent as handle_file('clip.mp4')")
    elif isinstance(component, gr.Textbox):
        check(value is None or isinstance(value, str), "the name of a clip in the gallery")
    return value


class Parts:
    """Hidden components whose labels name an endpoint's inputs."""

    def __init__(self, studio: Studio) -> None:
        self.families = list(studio.model.families)

    def clip(self, role: str) -> list:
        """A gallery file's name or a video, from a second on; of the source, so many frames."""
        made = [
            gr.Textbox(label=f"{role}: a gallery file's name", visible=False),
            gr.File(label=f"{role}: a video instead", file_types=FILE_TYPES, visible=False),
            gr.Number(0, label=f"{role}: start at second", minimum=0, visible=False),
        ]
        if role == "source":
            limits = {"minimum": FEWEST_FRAMES, "maximum": MOST_FRAMES, "precision": 0}
            made.append(gr.Number(FRAMES, label="frames", visible=False, **limits))
        return made

    def dial(self) -> list:
        """Family and capacity."""
        family = gr.Dropdown(self.families, value=self.families[0], label="family", visible=False)
        return [family, gr.Number(1.0, label="capacity", minimum=0, maximum=1, visible=False)]


def named_piece(
    studio: Studio, role: str, name: str | None, video: str | None, start: float | None, frames: float | None = None
) -> Piece:
    """The piece that a caller means. Raises ValueError where neither a name nor a video came, or both did."""
    if bool(name) == bool(video):
        came = "both came" if name else "neither came"
        raise ValueError(f"{role} and {role}_video: {came}; needed: a gallery file's name or a video.")
    return Piece.of(video or studio.gallery.path(name), start, frames)


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
    number = lambda n: isinstance(n, int | float) and not isinstance(n, bool)
    if not width or not all(isinstance(r, list) and len(r) == width and all(map(number, r)) for r in rows):
        raise ValueError("Each action must be a list of numbers, all of one length.")
    if not all(-LARGEST <= n <= LARGEST for row in rows for n in row):
        raise ValueError(f"Each number of an action must be from {-LARGEST:g} to {LARGEST:g}.")
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
