"""The second tab: a library of actions as a map; a point's action acts on the target at a click."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
import torch

from app.atlas import Atlas
from app.components.action_map import build_map, columns, layer, map_value, path_value
from app.components.chosen import build_chosen, mean_value, point_value
from app.components.lanes import build_lanes, lanes_value
from app.components.message import message_value
from app.jobs import Check, Jobs, job
from app.studio import Studio
from app.tabs.selection import (
    MODEL_QUEUE,
    PRIVATE,
    Selection,
    build_cancel,
    chosen_piece,
    chosen_pieces,
    refusal,
    said,
    whenever,
    wire_cancel,
)

SAMPLES = 200
ANSWERS = 6  # what a choice fills
NO_MAP = "This copy has no library for its model. Build one: `python -m lawm_core library FOLDER --out assets/library`."
LEAD = (
    "Each point is the latent action between two frames of a clip; nearby points are similar actions. **Hover** to see "
    "its frames, **click** to apply it to your target, **select an area** to apply the mean of many."
)


@dataclass(frozen=True, kw_only=True)
class ChosenAction:
    """A visitor's action: its name, its numbers and the setting they belong to."""

    name: str
    action_A: torch.Tensor
    family: str
    capacity: float


@dataclass(frozen=True, kw_only=True)
class MapParts:
    """The tab's components; `chosen` holds a ChosenAction or None."""

    map: gr.HTML
    about: gr.HTML
    lanes: gr.HTML
    add: gr.Button
    refit: gr.Button
    stop: gr.Button
    chosen: gr.State

    @property
    def answer(self) -> list:
        """What a choice fills, the message aside."""
        return [self.map, self.about, self.lanes, self.chosen, self.add]


def build_map_tab(studio: Studio) -> MapParts | None:
    """The map on the left, what a chosen action does on the right."""
    if studio.atlas is None:
        gr.Markdown(NO_MAP, elem_id="no-map")
        return None
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            plot = build_map(studio.atlas, "action-map")
            with gr.Row(elem_classes="downloads"):
                refit = gr.Button("Recompute the map at this capacity", size="sm", elem_id="refit")
                stop = build_cancel("refit")
        with gr.Column(scale=5, min_width=320):
            about = build_chosen(studio.atlas, "selected-action")
            lanes = build_lanes(None, "preview", "No action chosen yet. Click a point of the map.")
            with gr.Row(elem_classes="downloads"):
                add = gr.Button("Add to the script", size="sm", elem_id="add-action", interactive=False)
    chosen = gr.State(None)
    return MapParts(map=plot, about=about, lanes=lanes, add=add, refit=refit, stop=stop, chosen=chosen)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_map_tab(parts: MapParts, tabs: gr.HTML, selection: Selection, studio: Studio) -> None:
    """A click, a lasso, a neighbour, another target or another setting: each shows what the action does."""
    atlas = studio.atlas
    choices = MapChoices(studio)
    running = {"outputs": [selection.message, *parts.answer], "show_progress_on": parts.lanes, **MODEL_QUEUE, **PRIVATE}
    inputs, again = [parts.map, *selection.on_target], choices.again

    def again_if_open(tab: str, *values: object) -> tuple:
        """Nothing is computed for a map that nobody sees; it catches up when it is opened."""
        return again(*values) if tab == "action-map" else (gr.skip(),) * ANSWERS

    parts.map.select(choices.choose, inputs, **running)
    parts.map.input(choices.gather, inputs, **running)
    parts.about.select(choices.choose_near, inputs, **running)
    moved = [
        *selection.target.changed,
        selection.target.video.change,
        selection.capacity.release,
        selection.family.input,
        tabs.apply,
    ]
    whenever(moved, again_if_open, [tabs, *inputs], **running)

    paths = {"outputs": [selection.message, parts.map], "show_progress": "hidden", **MODEL_QUEUE, **PRIVATE}
    draw_paths = name_paths(studio)

    def draw_if_open(tab: str, *values: object) -> tuple:
        """The same for the open clips' paths."""
        return draw_paths(*values) if tab == "action-map" else (gr.skip(), gr.skip())

    whenever(
        [*moved, *selection.source.changed, selection.source.video.change],
        draw_if_open,
        [tabs, *selection.request],
        **paths,
    )
    parts.map.expand(name_samples(atlas), [selection.family, selection.capacity], **paths)

    parts.refit.click(
        name_refit(atlas, selection.jobs),
        [selection.family, selection.capacity],
        [selection.message, parts.map],
        show_progress_on=parts.map,
        **PRIVATE,
    )
    wire_cancel(parts.stop, "refit", selection.jobs)


# ---- handlers -------------------------------------------------------------------------------------------------------


class MapChoices:
    """What happens when one point is chosen, or many, or a neighbour, or the same choice is wanted once more."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.atlas = studio, studio.atlas

    def choose(self, value: object, target: object, video: str | None, start: float | None, *dial: object) -> tuple:
        """The point that was clicked."""
        return guarded(lambda: self._show_point(value, as_map(value)["selected"], (target, video, start), dial))

    def choose_near(
        self, value: object, target: object, video: str | None, start: float | None, family: str, capacity: float,
        event: gr.EventData,
    ) -> tuple:  # fmt: skip
        """A neighbour of the chosen point."""
        return guarded(lambda: self._show_point(value, event.point, (target, video, start), (family, capacity)))

    def gather(self, value: object, target: object, video: str | None, start: float | None, *dial: object) -> tuple:
        """The points in the lasso."""
        return guarded(lambda: self._show_mean(value, (target, video, start), dial))

    def again(self, value: object, *rest: object) -> tuple:
        """What is chosen, on the target and at the setting of now; nothing where nothing is chosen."""
        if as_map(value)["chosen"]:
            return self.gather(value, *rest)
        if as_map(value)["selected"] is not None:
            return self.choose(value, *rest)
        return (gr.skip(),) * ANSWERS

    def _show_point(self, value: object, point: object, side: tuple, dial: tuple) -> tuple:
        point = self.atlas.point(point)
        action_A = self.atlas.actions(*dial)[point]
        near = [p for p in self.atlas.neighbours(action_A, *dial) if p != point]
        about = point_value(self.atlas, point, near, said(*dial))
        shown_map = {**as_map(value), "selected": point, "chosen": [], "neighbours": near}
        return self._answer(shown_map, about, self.atlas.name(point), action_A, point, side, dial)

    def _show_mean(self, value: object, side: tuple, dial: tuple) -> tuple:
        points = checked_many(self.atlas, value)
        action_A = self.atlas.actions(*dial)[points].mean(dim=0)
        name = f"mean of {len(points)} ({self.atlas.name(points[0])}, …)"
        about = mean_value(name, len(points), said(*dial))
        return self._answer(gr.skip(), about, name, action_A, points[0], side, dial)

    def _answer(
        self, shown_map: dict, about: dict, name: str, action_A: torch.Tensor, point: int, side: tuple, dial: tuple
    ) -> tuple:
        (target, video, start), (family, capacity) = side, dial
        other = self.atlas.other(point)
        shown = self.studio.preview(
            action_A,
            self.atlas.actions(family, capacity)[other],
            chosen_piece(self.studio, "target", target, video, start),
            family=family,
            capacity=capacity,
            other_name=self.atlas.name(other),
        )
        chosen = ChosenAction(name=name, action_A=action_A, family=family, capacity=capacity)
        return message_value(), shown_map, about, lanes_value(shown), chosen, gr.update(interactive=True)


def guarded(act: Callable[[], tuple], outputs: int = ANSWERS) -> tuple:
    """The answer, or the reason why there is none and everything else as it was."""
    try:
        return act()
    except Exception as error:
        return (refusal(error), *[gr.skip()] * (outputs - 1))


def as_map(value: object) -> dict:
    """The map's value, from whatever arrived."""
    return {**map_value(), **value} if isinstance(value, dict) else map_value()


def checked_many(atlas: Atlas, value: object) -> list[int]:
    """The chosen points. Raises ValueError where there are none."""
    points = as_map(value)["chosen"]
    if not isinstance(points, list) or not 0 < len(points) <= len(atlas):
        raise ValueError("No points are in the lasso; draw it around some.")
    return [atlas.point(point) for point in points]


def name_paths(studio: Studio) -> Callable:
    """The handler that draws the open clips' ways over the map."""

    def draw_paths(*request: object) -> tuple:
        """Both clips' actions, placed between their nearest points."""
        *clips, family, capacity = request

        def act() -> tuple:
            paths = []
            for role, piece in zip(("source", "target"), chosen_pieces(studio, clips), strict=True):
                action_UA = studio.infer_actions(piece, family=family, capacity=capacity)
                paths.append(path_value(role, *studio.atlas.place(action_UA, family, capacity)))
            return gr.skip(), layer(paths=paths)

        return guarded(act, outputs=2)

    return draw_paths


def name_samples(atlas: Atlas) -> Callable:
    """The handler that lays sampled actions over the map."""

    def draw_samples(family: str, capacity: float) -> tuple:
        """Actions made from nothing, placed between their nearest points."""

        def act() -> tuple:
            umap_X2, pca_X2 = atlas.place(atlas.sample(family, capacity, SAMPLES), family, capacity)
            return message_value(), layer(sampled={"umap": columns(umap_X2), "pca": columns(pca_X2)})

        return guarded(act, outputs=2)

    return draw_samples


def name_refit(atlas: Atlas, jobs: Jobs) -> Callable:
    """The handler that lays the map out anew."""

    @job("refit")
    def refit(
        request: gr.Request,
        family: str,
        capacity: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio finds it
    ) -> tuple:
        """UMAP on the actions at this setting."""
        progress(0.1, desc="Inferring the library's actions")

        def work(check: Check) -> dict:
            atlas.actions(family, capacity)
            check()
            progress(0.4, desc="Computing the map")
            return columns(atlas.refit(family, capacity))

        def act() -> tuple:
            places = jobs.run("refit", request, work)
            note = f"Computed from their actions at {family} {capacity:.2f}."
            return message_value(), layer(places=places, note=note)

        return guarded(act, outputs=2)

    return refit
