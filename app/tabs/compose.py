"""The tab `Compose`: an editor for scripts of actions, and the target under the actions of the script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

import lawm_core as lawm
from app.components.message import message_value
from app.components.panels import build_panels, panels_value
from app.components.script import build_script, prototypes, read_script_value, script_value, with_actions
from app.studio import Studio
from app.tabs.action_map import MapParts, SelectedAction
from app.tabs.selection import (
    MODEL_QUEUE,
    PRIVATE,
    Selection,
    catch_errors,
    has_error,
    on_events,
    result_queue,
    select_clip,
)

LEAD = (
    "A script is a list of actions for your target, one row per step. Add a **prototype** (a typical action of the "
    "map, by its number key), the selected action of the **map**, or the whole **source**. Then reverse a step, make "
    "it stronger or weaker, repeat it, or blend it into the next."
)
MAX_SCRIPT_BYTES = 2**20
NOT_A_SCRIPT = "This file is not a saved script. Choose one made with Save script."
ADDED = "() => { document.dispatchEvent(new CustomEvent('added')); }"  # for the notices of page.js


@dataclass(frozen=True, kw_only=True)
class ComposeParts:
    """Components of the tab."""

    script: gr.HTML
    panels: gr.HTML
    add_source: gr.Button
    load: gr.UploadButton
    downloads: tuple[gr.DownloadButton, ...]

    @property
    def outputs(self) -> list:
        """Outputs of the handlers that play a script, except the first, which is the message."""
        return [self.panels, *self.downloads]


def build_compose_tab(studio: Studio) -> ComposeParts:
    """Build the editor, and the panels of the result beside it."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=6, min_width=340):
            script = build_script(studio.action_map, "script")
            with gr.Row(elem_classes="downloads", elem_id="script-tools"):
                add_source = gr.Button("Add the whole source", size="sm", elem_id="add-source")
                load = gr.UploadButton("Load script", file_types=[".json"], size="sm", elem_id="load-script")
        with gr.Column(scale=5, min_width=320):
            panels = build_panels(None, "script-panels", "The script is empty. Add a step to see the result.")
            with gr.Row(elem_classes="downloads"):
                waiting = {"size": "sm", "interactive": False}
                downloads = (
                    gr.DownloadButton("Download video", elem_id="download-script-video", **waiting),
                    gr.DownloadButton("Save script", elem_id="save-script", **waiting),
                )
    return ComposeParts(script=script, panels=panels, add_source=add_source, load=load, downloads=downloads)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_compose_tab(
    parts: ComposeParts, map_parts: MapParts | None, selection: Selection, studio: Studio, others: Sequence = ()
) -> None:
    """Wire the events of the tab, so that the script is played after every change of the script or the target.

    others: events after which another tab has changed the script.
    """
    handlers = ComposeHandlers(studio)
    play = {
        "outputs": [selection.message, *parts.outputs],
        "show_progress_on": parts.panels,
        **result_queue(studio),
        **PRIVATE,
    }
    inputs = [parts.script, *selection.target.inputs]
    on_events([parts.script.edit, *selection.target.changed], handlers.play, inputs, **play)

    add = {"outputs": [selection.message, parts.script], "show_progress": "hidden", **PRIVATE}
    source = [parts.script, *selection.source.inputs, *selection.setting]
    added = [
        *others,
        parts.script.select(handlers.add_prototype, [parts.script, *selection.setting], **add),
        parts.add_source.click(handlers.add_source, source, **add, **MODEL_QUEUE),
        parts.load.upload(handlers.load_script, parts.load, **add),
    ]
    if map_parts is not None:
        selected = map_parts.add.click(handlers.add_selected, [parts.script, map_parts.selected], **add)
        selected.then(None, js=ADDED, **PRIVATE)
        added.append(selected)
    for event in added:
        event.then(handlers.play_if_added, [selection.message, *inputs], **play)


# ---- handlers -------------------------------------------------------------------------------------------------------


class ComposeHandlers:
    """Handlers of the tab. After an error, only the message changes. The parameter `value` is that of the editor."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.prototypes = prototypes(studio.action_map) if studio.action_map else []

    def play(self, value: object, target: object, video: str | None, start: float | None) -> tuple:
        """Play the script on the target, at the setting at which its actions were inferred."""

        def act() -> tuple:
            script, actions = read_script_value(value)
            if not script.frames:
                return message_value(), None, *[gr.update(interactive=False)] * 2
            family, capacity = value.get("family") or None, value.get("capacity", 1.0)
            clip = select_clip(self.studio, "target", target, video, start)
            view = self.studio.play(script, actions, clip, family=family, capacity=capacity)
            files = self.studio.export(view)
            downloads = (gr.update(value=path, interactive=True) for path in (files.video, files.replay_spec))
            return message_value(), panels_value(view.panels), *downloads

        return catch_errors(act, 4)

    def play_if_added(self, message: object, *values: object) -> tuple:
        """Play the script after something was added to it. If adding failed, keep the message that says so."""
        return (gr.skip(),) * 4 if has_error(message) else self.play(*values)

    def add_prototype(self, value: object, family: str, capacity: float, event: gr.EventData) -> tuple:
        """Add the action of a prototype, inferred at the current setting."""

        def act() -> tuple:
            index = event.prototype
            if not isinstance(index, int) or not 0 <= index < len(self.prototypes):
                raise ValueError(f"prototype must be in [0, {len(self.prototypes) - 1}], got {repr(index)[:40]}.")
            point = self.prototypes[index]["point"]
            action_A = self.studio.action_map.actions(family, capacity)[point]
            added = {self.studio.action_map.name(point): action_A}
            return message_value(), with_actions(value, added, family, capacity)

        return catch_errors(act, 2)

    def add_selected(self, value: object, selected: SelectedAction | None) -> tuple:
        """Add the selected action of the map."""

        def act() -> tuple:
            if selected is None:
                raise ValueError("No action is selected. Click a point of the map.")
            added = {selected.name: selected.action_A}
            return message_value(), with_actions(value, added, selected.family, selected.capacity)

        return catch_errors(act, 2)

    def add_source(
        self, value: object, source: object, video: str | None, start: float | None, frames: float | None,
        family: str, capacity: float,
    ) -> tuple:  # fmt: skip
        """Add all actions of the source, one step each."""

        def act() -> tuple:
            clip = select_clip(self.studio, "source", source, video, start, frames)
            action_UA = self.studio.infer_actions(clip, family=family, capacity=capacity)
            stem = clip.path.stem[:40]
            added = {f"{stem}, frames {u + 1} to {u + 2}": action_A for u, action_A in enumerate(action_UA)}
            return message_value(), with_actions(value, added, family, capacity)

        return catch_errors(act, 2)

    def load_script(self, path: str | None) -> tuple:
        """Load a saved script; its target is ignored."""
        return catch_errors(lambda: (message_value(), self._read_script(path)), 2)

    def _read_script(self, path: str | None) -> dict:
        """Return the script in a replay spec as a value of the editor. Raises ValueError if the file is not valid."""
        if path is None:
            raise ValueError("The upload is empty. Choose a script made with Save script.")
        if Path(path).stat().st_size > MAX_SCRIPT_BYTES:
            raise ValueError(f"{NOT_A_SCRIPT} It must have at most {MAX_SCRIPT_BYTES >> 10} KiB.")
        try:
            spec = lawm.ReplaySpec.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))
        except ValueError as error:
            raise ValueError(f"{NOT_A_SCRIPT} ({error})") from None
        if spec.script is None:
            raise ValueError("This file is the replay spec of a transfer. Choose one made with Save script.")
        if spec.fingerprint != self.studio.fingerprint:
            raise ValueError(
                f"The script belongs to another model ({spec.model}, {spec.fingerprint}) and cannot be used here."
            )
        steps = [
            {"terms": [{"action": t.action, "weight": t.weight} for t in step.terms], "repeat": step.repeat}
            for step in spec.script.steps
        ]
        actions = {name: list(numbers) for name, numbers in spec.actions.items()}
        return script_value(steps, actions, spec.family, spec.capacity)


def open_script(script: dict | None, missing: str) -> tuple:
    """Return message, script and tab that open a script in this tab. missing: message if there is no script."""

    def act() -> tuple:
        if not script:
            raise ValueError(missing)
        return message_value(), script, "compose"

    return catch_errors(act, 3)
