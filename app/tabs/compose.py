"""The third tab: what should happen, step by step, and the target under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

import lawm_core as lawm
from app.components.lanes import build_lanes, lanes_value
from app.components.message import message_value
from app.components.script import build_script, prototypes, read_script_value, script_value, with_actions
from app.studio import Studio
from app.tabs.action_map import ChosenAction, MapParts, guarded
from app.tabs.selection import MODEL_QUEUE, PRIVATE, Selection, chosen_piece, refused, result_queue, whenever

LEAD = (
    "A script says what should happen to your target, one row a step. Add a **prototype** with its number, the action "
    "you chose on the **map**, or all that the **source** does; then turn it round, scale it, repeat it, blend it."
)
MOST_SCRIPT_BYTES = 2**20
ADDED = "() => { document.dispatchEvent(new CustomEvent('added')); }"  # page.js says so: the script is on another tab


@dataclass(frozen=True, kw_only=True)
class ComposeParts:
    """The tab's components."""

    script: gr.HTML
    lanes: gr.HTML
    from_source: gr.Button
    load: gr.UploadButton
    downloads: tuple[gr.DownloadButton, ...]

    @property
    def answer(self) -> list:
        """What playing a script fills, the message aside."""
        return [self.lanes, *self.downloads]


def build_compose_tab(studio: Studio) -> ComposeParts:
    """The editor on the left, the target under the script on the right."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            script = build_script(studio.atlas, "script")
            with gr.Row(elem_classes="downloads", elem_id="script-tools"):
                from_source = gr.Button("Add all that the source does", size="sm", elem_id="add-source")
                load = gr.UploadButton("Load a script (.json)", file_types=[".json"], size="sm", elem_id="load-script")
        with gr.Column(scale=5, min_width=320):
            lanes = build_lanes(None, "script-lanes", "The script is empty. Add a step to see what it does.")
            with gr.Row(elem_classes="downloads"):
                waiting = {"size": "sm", "interactive": False}
                downloads = (
                    gr.DownloadButton("Download video", elem_id="download-script-video", **waiting),
                    gr.DownloadButton("Save script (.json)", elem_id="save-script", **waiting),
                )
    return ComposeParts(script=script, lanes=lanes, from_source=from_source, load=load, downloads=downloads)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_compose_tab(
    parts: ComposeParts, on_map: MapParts | None, selection: Selection, studio: Studio, elsewhere: Sequence = ()
) -> None:
    """Every change of the script, the target or the setting plays it; so do events elsewhere that write one."""
    play = name_play(studio)
    playing = {
        "inputs": [parts.script, *selection.target.inputs],
        "outputs": [selection.message, *parts.answer],
        "show_progress_on": parts.lanes,
        **result_queue(studio),
        **PRIVATE,
    }

    def go_on(message: object, *values: object) -> tuple:
        """Plays a script that grew, unless it was refused."""
        return (gr.skip(),) * 4 if refused(message) else play(*values)

    whenever([parts.script.edit, *selection.target.changed], play, **playing)

    adding = {"outputs": [selection.message, parts.script], "show_progress": "hidden", **PRIVATE}
    dial = [selection.family, selection.capacity]
    additions = [
        *elsewhere,
        parts.script.select(name_add_prototype(studio), [parts.script, *dial], **adding),
        parts.from_source.click(
            name_add_source(studio), [parts.script, *selection.source.inputs, *dial], **adding, **MODEL_QUEUE
        ),
        parts.load.upload(name_load(studio), parts.load, **adding),
    ]
    if on_map is not None:
        added = on_map.add.click(name_add_chosen(), [parts.script, on_map.chosen], **adding)
        added.then(None, js=ADDED, **PRIVATE)
        additions.append(added)
    for added in additions:
        added.then(go_on, **{**playing, "inputs": [selection.message, *playing["inputs"]]})


# ---- handlers -------------------------------------------------------------------------------------------------------


def name_play(studio: Studio) -> Callable:
    """The handler that plays a script."""

    def play(value: object, target: object, video: str | None, start: float | None) -> tuple:
        """The target's first frame under the script, at the setting its actions were inferred at."""

        def act() -> tuple:
            script, actions = read_script_value(value)
            if not script.frames:
                return message_value(), None, *[gr.update(interactive=False)] * 2
            family, capacity = value.get("family") or studio.model.families[0], value.get("capacity", 1.0)
            piece = chosen_piece(studio, "target", target, video, start)
            view = studio.play(script, actions, piece, family=family, capacity=capacity)
            files = studio.export(view)
            ready = (gr.update(value=path, interactive=True) for path in (files.video, files.recipe))
            return message_value(), lanes_value(view.shown), *ready

        return guarded(act, outputs=4)

    return play


def name_add_prototype(studio: Studio) -> Callable:
    """The handler of the number keys."""
    offered = prototypes(studio.atlas) if studio.atlas else []

    def add_prototype(value: object, family: str, capacity: float, event: gr.EventData) -> tuple:
        """One more step: a prototype at the dial's setting."""

        def act() -> tuple:
            index = event.prototype
            if not isinstance(index, int) or not 0 <= index < len(offered):
                raise ValueError(f"There are {len(offered)} prototypes; {index!r} is none of them.")
            point = offered[index]["point"]
            action_A = studio.atlas.actions(family, capacity)[point]
            return message_value(), with_actions(value, {studio.atlas.name(point): action_A}, family, capacity)

        return guarded(act, outputs=2)

    return add_prototype


def name_add_chosen() -> Callable:
    """The handler that takes the map's choice over."""

    def add_chosen(value: object, chosen: ChosenAction | None) -> tuple:
        """One more step: the chosen action."""

        def act() -> tuple:
            if chosen is None:
                raise ValueError("No action is chosen; click one on the map.")
            return message_value(), with_actions(value, {chosen.name: chosen.action_A}, chosen.family, chosen.capacity)

        return guarded(act, outputs=2)

    return add_chosen


def name_add_source(studio: Studio) -> Callable:
    """The handler that writes down what the source does."""

    def add_source(
        value: object,
        source: object,
        video: str | None,
        start: float | None,
        frames: float | None,
        family: str,
        capacity: float,
    ) -> tuple:
        """One more step for each of the source's actions."""

        def act() -> tuple:
            piece = chosen_piece(studio, "source", source, video, start, frames)
            action_UA = studio.infer_actions(piece, family=family, capacity=capacity)
            stem = piece.path.stem[:40]
            added = {f"{stem}, {u} to {u + 1}": action_A for u, action_A in enumerate(action_UA)}
            return message_value(), with_actions(value, added, family, capacity)

        return guarded(act, outputs=2)

    return add_source


def name_load(studio: Studio) -> Callable:
    """The handler that opens a saved script."""

    def load(path: str | None) -> tuple:
        """The script of a recipe that was saved here, whatever its target was."""

        def act() -> tuple:
            if path is None or Path(path).stat().st_size > MOST_SCRIPT_BYTES:
                raise ValueError(f"A script's file of at most {MOST_SCRIPT_BYTES // 1024} KiB is needed.")
            recipe = lawm.Recipe.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))
            if recipe.script is None:
                raise ValueError("This recipe is of a transfer and holds no script.")
            if recipe.fingerprint != studio.mark:
                raise ValueError(f"This script was made with {recipe.model} {recipe.fingerprint}, not with this model.")
            steps = [
                {"terms": [{"action": t.action, "weight": t.weight} for t in s.terms], "repeat": s.repeat}
                for s in recipe.script.steps
            ]
            actions = {name: list(numbers) for name, numbers in recipe.actions.items()}
            return message_value(), script_value(steps, actions, recipe.family, recipe.capacity)

        return guarded(act, outputs=2)

    return load
