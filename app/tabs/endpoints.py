"""The API for other programs and MCP tools. Inputs have names and defaults, results have names, and errors are raised.

All other handlers of the page are private: Gradio does not list them in its API.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import gradio as gr
import torch

import lawm_core as lawm
from app.action_map import ActionMap
from app.clip_selection import FRAMES, MAX_FRAMES, MIN_FRAMES, ClipSelection
from app.studio import Studio
from app.tabs.capacity import SWEEP
from app.tabs.selection import FILE_TYPES, MODEL_QUEUE, TARGET_TYPES, result_queue

MAX_STEPS = 64  # actions in a call of `apply_action`
MAX_ACTIONS = 512  # actions in a call of `project`; more would not fit into a request
MAX_VALUE = 1e4  # largest absolute value of an element of an action; those of inferred actions are about 1


def build_endpoints(studio: Studio) -> None:
    """Build the endpoints. Each has a hidden button and its own hidden components."""
    endpoints, results = Endpoints(studio), result_queue(studio)
    families = list(studio.model.family_names)
    source, target = (lambda: clip_inputs("source")), (lambda: clip_inputs("target"))
    setting = lambda: setting_inputs(families)
    file = lambda label: gr.File(label=label, visible=False)
    json = lambda label: gr.JSON(label=label, visible=False)
    transfer_outputs = [file("video"), file("latents"), file("replay_spec"), json("scores")]
    add_endpoint(endpoints.transfer, [*source(), *target(), *setting()], transfer_outputs, results)
    add_endpoint(endpoints.infer_actions, [*source(), *setting()], [json("actions")], MODEL_QUEUE)
    add_endpoint(endpoints.apply_action, [json("action"), *target(), *setting()], [file("video")], results)
    add_endpoint(endpoints.capacity_sweep, [*source(), *target(), setting()[0]], [json("scores")], results)
    add_endpoint(endpoints.project, [json("action"), *setting()], [json("positions")], MODEL_QUEUE)
    add_endpoint(endpoints.replay, [json("spec"), source()[1], target()[1]], [file("video")], results)


def add_endpoint(handler: Callable, inputs: Sequence, outputs: Sequence, queue: dict) -> None:
    """Add an endpoint with the handler's name. queue: settings of the event that choose its queue."""
    gr.Button(visible=False).click(handler, inputs, outputs, api_name=handler.__name__, **queue)


def clip_inputs(role: str) -> list:
    """Return hidden components for a clip: a gallery file or a video, the start and, for a source, the frames."""
    kind, types = ("video", FILE_TYPES) if role == "source" else ("video or picture", TARGET_TYPES)
    inputs = [
        gr.Textbox(label=f"{role}: name of a gallery file", visible=False),
        gr.File(label=f"{role}: {kind}, instead of a name", file_types=types, visible=False),
        gr.Number(0, label=f"{role}: start in seconds", minimum=0, visible=False),
    ]
    if role == "source":
        limits = {"minimum": MIN_FRAMES, "maximum": MAX_FRAMES, "precision": 0}
        inputs.append(gr.Number(FRAMES, label="maximum number of frames", visible=False, **limits))
    return inputs


def setting_inputs(families: Sequence[str]) -> list:
    """Return hidden components for family and capacity."""
    family = gr.Dropdown(list(families), value=families[0], label="family", visible=False)
    return [family, gr.Number(1.0, label="capacity", minimum=0, maximum=1, visible=False)]


class Endpoints:
    """The handlers of the endpoints.

    Gradio takes names and defaults of the inputs from their signatures, and the description from their docstrings.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def transfer(
        self,
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
        """Apply the motion of the source to the target's first frame. Each clip is a gallery file or a video.

        Returns a video (source, target, transfer and control side by side), the latent actions (npz), a replay spec
        (JSON) for `replay`, and scores.
        """
        with RaiseForCaller():
            view = self.studio.transfer(
                self._clip("source", source, source_video, source_start, frames),
                self._clip("target", target, target_video, target_start),
                family=family,
                capacity=capacity,
            )
            files = self.studio.export(view)
            return str(files.video), str(files.latents), str(files.replay_spec), dict(view.result.scores)

    def infer_actions(
        self,
        source: str | None = None,
        source_video: str | None = None,
        source_start: float = 0,
        frames: int = FRAMES,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> list:
        """Infer the latent actions of a clip. Returns a list of numbers for each pair of consecutive frames."""
        with RaiseForCaller():
            clip = self._clip("source", source, source_video, source_start, frames)
            return self.studio.infer_actions(clip, family=family, capacity=capacity).tolist()

    def apply_action(
        self,
        action: list,
        target: str | None = None,
        target_video: str | None = None,
        target_start: float = 0,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> str:
        """Apply one action (a list of numbers) or several (a list of lists) to the target's first frame.

        Returns a video.
        """
        with RaiseForCaller():
            actions = {str(u): tuple(row) for u, row in enumerate(parse_actions(action, MAX_STEPS).tolist())}
            clip = self._clip("target", target, target_video, target_start)
            script = lawm.ActionScript.of(actions)
            return str(
                self.studio.export(self.studio.play(script, actions, clip, family=family, capacity=capacity)).video
            )

    def capacity_sweep(
        self,
        source: str | None = None,
        source_video: str | None = None,
        source_start: float = 0,
        frames: int = FRAMES,
        target: str | None = None,
        target_video: str | None = None,
        target_start: float = 0,
        family: str | None = None,
    ) -> list:
        """Run the same transfer at five capacities. Returns the scores at each capacity."""
        with RaiseForCaller():
            source_clip = self._clip("source", source, source_video, source_start, frames)
            target_clip = self._clip("target", target, target_video, target_start)
            name = family or self.studio.model.family_names[0]
            views = self.studio.sweep(source_clip, target_clip, [(name, capacity) for capacity in SWEEP])
            return [{"capacity": v.result.capacity, **v.result.scores} for v in views]

    def project(self, action: list, family: str | None = None, capacity: float = 1.0) -> list:
        """Project actions (a list of lists of numbers) onto the action map.

        Returns for each action its positions in both layouts (UMAP and PCA) and the indices of the nearest points.
        """
        with RaiseForCaller():
            action_XA = parse_actions(action, MAX_ACTIONS)
            name = family or self.studio.model.family_names[0]
            return project_actions(self.studio.action_map, action_XA, name, capacity)

    def replay(self, spec: dict, source_video: str | None = None, target_video: str | None = None) -> str:
        """Compute the video of a replay spec again. Pass clips that are not in the gallery as videos."""
        with RaiseForCaller():
            return str(self.studio.replay(spec, source_video, target_video))

    def _clip(
        self, role: str, name: str | None, video: str | None, start: float | None, frames: float | None = None
    ) -> ClipSelection:
        """Return the clip that a caller selects. Raises ValueError unless either a name or a video is given."""
        if bool(name) == bool(video):
            given = "both" if name else "neither"
            raise ValueError(f"Either {role} (a gallery file) or {role}_video (a video) is required, got {given}.")
        return ClipSelection.of(video or self.studio.gallery.path(name), start, frames)


class RaiseForCaller:
    """Context manager that turns a ValueError into gr.Error, whose message the caller gets. Other errors are logged."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, *_: object) -> None:
        if isinstance(error, ValueError):
            raise gr.Error(str(error), print_exception=False) from None


def check_input(name: str, component: gr.components.Component, value: object) -> object:
    """Return the value of an endpoint's input, or its default if the value is None.

    If the value is invalid, raises gr.Error with the name of the input and the values that it takes.
    """

    def check(is_valid: bool, required: str) -> None:
        if not is_valid:
            raise gr.Error(f"{name} must be {required}, got {repr(value)[:80]}.", print_exception=False)

    if isinstance(component, gr.Number):
        value = component.value if value is None else value
        low, high, whole = component.minimum, component.maximum, component.precision == 0
        bounds = f"of at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        required = f"{'a whole number' if whole else 'a number'} {bounds}"
        check(isinstance(value, int | float) and not isinstance(value, bool), required)
        check(low <= value <= (math.inf if high is None else high) and (not whole or value == int(value)), required)
    elif isinstance(component, gr.Dropdown):
        value = component.value if value is None else value
        families = [key for _, key in component.choices]
        check(value in families, f"one of {', '.join(families)}")
    elif isinstance(component, gr.File):
        path = value.get("path") if isinstance(value, dict) else None
        is_local = isinstance(path, str) and "://" not in path
        check(value is None or is_local, "a file on your disk, passed as handle_file('clip.mp4')")
    elif isinstance(component, gr.Textbox):
        check(value is None or isinstance(value, str), "the name of a clip in the gallery")
    return value


def parse_actions(value: object, most: int) -> torch.Tensor:
    """Return one action or a list of actions as action_XA.

    most: maximum number of actions. Raises ValueError unless each is a list of numbers and all have the same length.
    """
    rows = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    if not isinstance(rows, list) or not 0 < len(rows) <= most:
        given = f"{len(rows)} actions" if isinstance(rows, list) else repr(rows)[:40]
        raise ValueError(f"action must be a list of 1 to {most} actions, each a list of numbers, got {given}.")
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    is_number = lambda n: isinstance(n, int | float) and not isinstance(n, bool)
    if not width or not all(isinstance(r, list) and len(r) == width and all(map(is_number, r)) for r in rows):
        raise ValueError("Each action must be a list of numbers, and all actions must have the same length.")
    if not all(-MAX_VALUE <= n <= MAX_VALUE for row in rows for n in row):
        raise ValueError(f"The numbers of an action must be in [{-MAX_VALUE:g}, {MAX_VALUE:g}].")
    return torch.tensor(rows, dtype=torch.float32)


def project_actions(action_map: ActionMap | None, action_XA: torch.Tensor, family: str, capacity: float) -> list[dict]:
    """Return the positions and the nearest points of each action, as JSON values.

    Raises ValueError if there is no library, or if the actions do not have the width of its actions.
    """
    if action_map is None:
        raise ValueError("Actions cannot be projected without an action library. Build one: `lawm library`.")
    width = action_map.library.action_PA.shape[1]
    if action_XA.shape[1] != width:
        raise ValueError(f"An action must have {width} numbers, got {action_XA.shape[1]}.")
    umap_X2, pca_X2 = action_map.project(action_XA, family, capacity)
    return [
        {"umap": umap_2.tolist(), "pca": pca_2.tolist(), "nearest": action_map.neighbours(action_A, family, capacity)}
        for action_A, umap_2, pca_2 in zip(action_XA, umap_X2, pca_X2, strict=True)
    ]
