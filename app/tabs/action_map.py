"""The tab `Action map`: a library's actions as a map; clicking a point applies its action to the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
import torch

from app.action_map import ActionMap
from app.components.action_card import build_action_card, mean_value, point_value
from app.components.action_map import build_map, columns, layer_update, map_value, path_value
from app.components.message import message_value
from app.components.panels import build_panels, panels_value
from app.jobs import Check, Jobs, job
from app.studio import Studio
from app.tabs.selection import (
    MODEL_QUEUE,
    PRIVATE,
    Selection,
    build_cancel,
    catch_errors,
    on_events,
    select_clip,
    select_clips,
    setting_text,
    wire_cancel,
)

GENERATED = 200  # number of generated actions on the map
OUTPUTS = 6  # number of outputs of the handlers of a selection
NO_MAP = "There is no action library for this model. Build one: `lawm library VIDEOS --out assets/library`."
LEAD = (
    "Each point is the latent action between two frames of a clip. Nearby points are similar actions. **Hover** over a "
    "point to see its frames. **Click** it to apply its action to your target. **Select an area** (menu *Mouse*) to "
    "apply the mean of its actions."
)
RECOMPUTE = "Recompute map for capacity"
RECOMPUTE_LABEL = f"(capacity) => `{RECOMPUTE} ${{Number(capacity).toFixed(2)}}`"


@dataclass(frozen=True, kw_only=True)
class SelectedAction:
    """A selected action and the setting at which it was inferred."""

    name: str
    action_A: torch.Tensor
    family: str
    capacity: float


@dataclass(frozen=True, kw_only=True)
class MapParts:
    """Components of the tab. selected: its value is a SelectedAction, or None if no action is selected."""

    map: gr.HTML
    card: gr.HTML
    panels: gr.HTML
    add: gr.Button
    recompute: gr.Button
    cancel: gr.Button
    selected: gr.State

    @property
    def outputs(self) -> list:
        """Outputs of the handlers of a selection, except the first, which is the message."""
        return [self.map, self.card, self.panels, self.selected, self.add]


def build_map_tab(studio: Studio) -> MapParts | None:
    """Build the map and, beside it, a preview of the selected action.

    Without a library, build a hint and return None.
    """
    if studio.action_map is None:
        gr.Markdown(NO_MAP, elem_id="no-map")
        return None
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            plot = build_map(studio.action_map, "action-map")
            with gr.Row(elem_classes="downloads"):
                recompute = gr.Button(f"{RECOMPUTE} 1.00", size="sm", elem_id="recompute-map")
                cancel = build_cancel("recompute")
        with gr.Column(scale=5, min_width=320):
            card = build_action_card(studio.action_map, "selected-action")
            panels = build_panels(None, "preview", "No action selected. Click a point of the map.")
            with gr.Row(elem_classes="downloads"):
                add = gr.Button("Add to script", size="sm", elem_id="add-action", interactive=False)
    return MapParts(
        map=plot, card=card, panels=panels, add=add, recompute=recompute, cancel=cancel, selected=gr.State(None)
    )


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_map_tab(parts: MapParts, tabs: gr.HTML, selection: Selection, studio: Studio) -> None:
    """Wire the events of the tab.

    After every change of selection, target or setting, the selected action is previewed, and after every change of a
    clip or the setting, the paths of source and target are drawn again.
    """
    handlers = MapHandlers(studio)
    preview = {
        "outputs": [selection.message, *parts.outputs],
        "show_progress_on": parts.panels,
        **MODEL_QUEUE,
        **PRIVATE,
    }
    inputs = [parts.map, *selection.target_request]
    parts.map.select(handlers.select_point, inputs, **preview)
    parts.map.input(handlers.select_area, inputs, **preview)
    parts.card.select(handlers.select_neighbour, inputs, **preview)
    changed = [
        *selection.target.changed,
        selection.target.video.change,
        selection.capacity.release,
        selection.family.input,
        tabs.apply,
    ]
    on_events(changed, handlers.update_preview, [tabs, *inputs], **preview)

    layers = {"outputs": [selection.message, parts.map], "show_progress": "hidden", **MODEL_QUEUE, **PRIVATE}
    on_events(
        [*changed, *selection.source.changed, selection.source.video.change],
        handlers.draw_paths,
        [tabs, *selection.request],
        **layers,
    )
    parts.map.expand(handlers.draw_generated, selection.setting, **layers)
    selection.capacity.change(
        None, selection.capacity, parts.recompute, js=RECOMPUTE_LABEL, queue=False, show_progress="hidden", **PRIVATE
    )
    parts.recompute.click(
        recompute_handler(studio.action_map, selection.jobs),
        selection.setting,
        [selection.message, parts.map],
        show_progress_on=parts.map,
        **PRIVATE,
    )
    wire_cancel(parts.cancel, "recompute", selection.jobs)


# ---- handlers -------------------------------------------------------------------------------------------------------


class MapHandlers:
    """Handlers of selections and of the map's layers. After an error, only the message changes.

    The parameter `value` is the value of the map, and `request` are the values of the inputs of the target (or of both
    clips), the family and the capacity.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio, self.action_map = studio, studio.action_map

    def select_point(self, value: object, *request: object) -> tuple:
        """Preview the point that was clicked."""
        return catch_errors(lambda: self._preview_point(value, parse_map(value)["selected"], request), OUTPUTS)

    def select_neighbour(
        self, value: object, target: object, video: str | None, start: float | None, family: str, capacity: float,
        event: gr.EventData,
    ) -> tuple:  # fmt: skip
        """Preview a neighbour of the selected point."""
        request = (target, video, start, family, capacity)
        return catch_errors(lambda: self._preview_point(value, event.point, request), OUTPUTS)

    def select_area(self, value: object, *request: object) -> tuple:
        """Preview the mean action of the points in the selected area."""
        return catch_errors(lambda: self._preview_mean(value, request), OUTPUTS)

    def update_preview(self, tab: str, value: object, *request: object) -> tuple:
        """Preview the selection with the current target and setting, if the tab is open and something is selected."""
        if tab == "action-map" and parse_map(value)["area"]:
            return self.select_area(value, *request)
        if tab == "action-map" and parse_map(value)["selected"] is not None:
            return self.select_point(value, *request)
        return (gr.skip(),) * OUTPUTS

    def _preview_point(self, value: object, point: object, request: tuple) -> tuple:
        *_, family, capacity = request
        point = self.action_map.check_point(point)
        action_A = self.action_map.actions(family, capacity)[point]
        neighbours = [p for p in self.action_map.neighbours(action_A, family, capacity) if p != point]
        card = point_value(self.action_map, point, neighbours, setting_text(family, capacity))
        map_update = {**parse_map(value), "selected": point, "area": [], "neighbours": neighbours}
        return self._preview(map_update, card, self.action_map.name(point), action_A, point, request)

    def _preview_mean(self, value: object, request: tuple) -> tuple:
        *_, family, capacity = request
        points = check_area(self.action_map, value)
        action_A = self.action_map.actions(family, capacity)[points].mean(dim=0)
        name = f"mean of {len(points)} actions, first: {self.action_map.name(points[0])}"
        card = mean_value(name, len(points), setting_text(family, capacity))
        return self._preview(gr.skip(), card, name, action_A, points[0], request)

    def _preview(
        self, map_update: dict, card: dict, name: str, action_A: torch.Tensor, point: int, request: tuple
    ) -> tuple:
        """Return the outputs of a selection. point: a selected point, which decides the action to compare with."""
        *target, family, capacity = request
        other = self.action_map.comparison_point(point)
        panels = self.studio.preview(
            action_A,
            self.action_map.actions(family, capacity)[other],
            select_clip(self.studio, "target", *target),
            family=family,
            capacity=capacity,
            other_name=self.action_map.name(other),
        )
        selected = SelectedAction(name=name, action_A=action_A, family=family, capacity=capacity)
        return message_value(), map_update, card, panels_value(panels), selected, gr.update(interactive=True)

    def draw_paths(self, tab: str, *request: object) -> tuple:
        """Draw the paths of source and target over the map, if the tab is open."""
        *clips, family, capacity = request

        def draw() -> tuple:
            paths = []
            for role, clip in zip(("source", "target"), select_clips(self.studio, clips), strict=True):
                action_UA = self.studio.infer_actions(clip, family=family, capacity=capacity)
                paths.append(path_value(role, *self.action_map.project(action_UA, family, capacity)))
            return gr.skip(), layer_update(paths=paths)

        return catch_errors(draw, 2) if tab == "action-map" else (gr.skip(), gr.skip())

    def draw_generated(self, family: str, capacity: float) -> tuple:
        """Draw generated actions over the map."""

        def draw() -> tuple:
            action_XA = self.action_map.sample_actions(family, capacity, GENERATED)
            umap_X2, pca_X2 = self.action_map.project(action_XA, family, capacity)
            return message_value(), layer_update(generated={"umap": columns(umap_X2), "pca": columns(pca_X2)})

        return catch_errors(draw, 2)


def recompute_handler(action_map: ActionMap, jobs: Jobs) -> Callable:
    """Return the handler that computes new positions for the points of the map."""

    @job("recompute")
    def recompute_map(
        request: gr.Request,
        family: str,
        capacity: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds it as a default
    ) -> tuple:
        """Compute the map from the actions at this setting."""
        progress(0.1, desc="Inferring the library's actions")

        def work(check: Check) -> dict:
            action_map.actions(family, capacity)
            check()
            progress(0.4, desc="Computing the map")
            return columns(action_map.recompute(family, capacity))

        def update() -> tuple:
            positions = jobs.run("recompute", request, work)
            note = f"{len(action_map)} transitions, arranged by their actions ({setting_text(family, capacity)})."
            return message_value(), layer_update(positions=positions, note=note)

        return catch_errors(update, 2)

    return recompute_map


def parse_map(value: object) -> dict:
    """Return a value of the map with all its fields. Missing fields, and all fields of an invalid value, are empty."""
    return {**map_value(), **value} if isinstance(value, dict) else map_value()


def check_area(action_map: ActionMap, value: object) -> list[int]:
    """Return the points of the selected area. Raises ValueError if there are none, or if one is invalid."""
    points = parse_map(value)["area"]
    if not isinstance(points, list) or not 0 < len(points) <= len(action_map):
        raise ValueError("The selected area has no points. Draw it around some points.")
    return [action_map.check_point(point) for point in points]
