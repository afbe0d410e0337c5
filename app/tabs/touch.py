"""The tab `Touch`: the target's first frame, dragged by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

import gradio as gr
import torch

import lawm_core as lawm
from app.clip_selection import ClipSelection
from app.components.message import message_value
from app.components.panels import build_panels, panels_value
from app.components.script import recorded_script
from app.components.touch import build_touch, moved_value, target_value
from app.jobs import Check, Jobs, job
from app.studio import Studio
from app.tabs.compose import open_script
from app.tabs.selection import (
    MODEL_QUEUE,
    PRIVATE,
    Selection,
    build_cancel,
    catch_errors,
    error_message,
    on_events,
    select_clip,
    wire_cancel,
)
from app.touch import MAX_STEPS, MIN_STEPS, STEPS, Dragged, Toucher, parse_handles
from app.views import PanelSet

LEAD = (
    "Drag any part of your target. The drag becomes **latent actions**, and the world model shows what they do: what "
    "lies behind appears, and what you hold stays. Requested and reached motion are listed below the picture."
)


@dataclass(frozen=True, kw_only=True)
class TouchParts:
    """Components of the tab. script: its value is the last drags, as a value of the script editor."""

    picture: gr.HTML
    panels: gr.HTML
    cancel: gr.Button
    to_script: gr.Button
    download: gr.DownloadButton
    script: gr.State


def build_touch_tab() -> TouchParts:
    """Build the picture, and the panels of the result beside it."""
    gr.Markdown(LEAD, elem_classes="lead")
    off = {"size": "sm", "interactive": False}
    with gr.Row(elem_classes="map-row"):
        with gr.Column(scale=5, min_width=320):
            picture = build_touch("touch")
        with gr.Column(scale=6, min_width=340):
            panels = build_panels(None, "touch-panels", "Drag the picture to see the result.")
            with gr.Row(elem_classes="downloads"):
                cancel = build_cancel("touch")
                download = gr.DownloadButton("Download video", elem_id="download-touch", **off)
                to_script = gr.Button("Open drags in Compose", elem_id="touch-to-script", **off)
    return TouchParts(
        picture=picture, panels=panels, cancel=cancel, to_script=to_script, download=download,
        script=gr.State(None, time_to_live=3600),
    )  # fmt: skip


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_touch_tab(parts: TouchParts, script: gr.HTML, tabs: gr.HTML, selection: Selection, studio: Studio):
    """Wire the events of the tab. Return the event after which the script of `Compose` has the drags' actions."""
    handlers = TouchHandlers(studio, selection.jobs)
    target = selection.target_request
    request = [parts.picture, *target]
    shown = {"show_progress": "hidden", "queue": False, **PRIVATE}
    changed = [tabs.focus, *selection.target.changed]
    on_events(changed, handlers.show_target, [tabs, *target], [selection.message, parts.picture], **shown)
    preview = {"show_progress": "hidden", "concurrency_id": "touch", "concurrency_limit": 2, **PRIVATE}
    parts.picture.input(
        handlers.preview_drags, request, [selection.message, parts.picture], trigger_mode="multiple", **preview
    )
    outputs = [selection.message, parts.picture, parts.panels, parts.download, parts.to_script, parts.script]
    dragged = parts.picture.release(
        handlers.drag, request, outputs, show_progress_on=parts.panels, **MODEL_QUEUE, **PRIVATE
    )
    files = {"concurrency_id": "files", "show_progress": "hidden", **PRIVATE}
    dragged.then(handlers.write_video, parts.panels, parts.download, **files)
    wire_cancel(parts.cancel, "touch", selection.jobs)
    opened = [selection.message, script, tabs]
    return parts.to_script.click(handlers.open_drags, parts.script, opened, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


class TouchHandlers:
    """Handlers of the tab. `target` stands for the values of the target's inputs, the family and the capacity."""

    def __init__(self, studio: Studio, jobs: Jobs) -> None:
        self.studio, self.toucher, self.jobs = studio, Toucher(studio), jobs

    def show_target(self, tab: str, *target: object) -> tuple:
        """Show the target's first frame, if the tab is open."""
        *clip, _, _ = target

        def act() -> tuple:
            if tab != "touch":
                return gr.skip(), gr.skip()
            selection = select_clip(self.studio, "target", *clip)
            opened = self.studio.open_clip(selection)
            key = sha256(repr(selection).encode()).hexdigest()[:16]  # the page must not see paths
            return message_value(), gr.update(target=target_value(key, opened.frame_TCHW[0]))

        return catch_errors(act, 2)

    def preview_drags(self, value: object, *target: object) -> tuple:
        """Show the frame at the end of the drags."""
        drags = read_drags(value)
        number = drags.get("number")

        def act() -> tuple:
            clip, handles, family, capacity = self._request(drags, target)
            frame_CHW, reached_J2 = self.toucher.preview(clip, handles, family, capacity)
            return message_value(), gr.update(moved=moved_value(number, reached_J2, frame_CHW))

        message, moved = catch_errors(act, 2)
        return message, moved if "moved" in moved else gr.update(moved=moved_value(number))

    @job("touch")
    def drag(self, request: gr.Request, value: object, *target: object) -> tuple:
        """Play the drags. Without any, remove the result."""
        drags, off = read_drags(value), gr.update(interactive=False)
        number = drags.get("number")
        answered = gr.update(moved=moved_value(number))
        if not drags.get("handles"):
            return message_value(), answered, None, off, off, None

        def work(check: Check) -> Dragged:
            steps = check_steps(drags.get("steps", STEPS))
            clip, handles, family, capacity = self._request(drags, target)
            return self.toucher.drag(clip, handles, steps, family, capacity, check)

        try:
            dragged = self.jobs.run("touch", request, work)
        except Exception as error:
            return error_message(error), answered, *[gr.skip()] * 4
        last_CHW = dragged.view.result.frame_TCHW[-1]
        moved = gr.update(moved=moved_value(number, dragged.reached_J2, last_CHW))
        panels = panels_value(title_panels(dragged))
        return message_value(), moved, panels, off, gr.update(interactive=True), drag_script(dragged)

    def write_video(self, panels: object) -> dict:
        """Write the video of the result on the page and enable its download, if the result is still in the cache."""
        view = self.studio.cached_view(panels.get("key")) if isinstance(panels, dict) else None
        return gr.update(value=self.studio.export(view).video, interactive=True) if view else gr.skip()

    def open_drags(self, script: dict | None) -> tuple:
        """Open the actions of the last drags as a script in the tab `Compose`."""
        return open_script(script, "There are no drags yet. Drag the picture first.")

    def _request(self, drags: dict, target: tuple) -> tuple[ClipSelection, list[lawm.Handle], str, float]:
        """Return the target, the handles, the family and the capacity of a request."""
        *clip, family, capacity = target
        return select_clip(self.studio, "target", *clip), parse_handles(drags.get("handles")), family, capacity


def read_drags(value: object) -> dict:
    """Return the drags in the component's value; none for any other value."""
    return value if isinstance(value, dict) else {}


def check_steps(value: object) -> int:
    """Return a number of steps. Raises ValueError if it is not one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value % 1 or not MIN_STEPS <= value <= MAX_STEPS:
        raise ValueError(f"Frames must be a whole number from {MIN_STEPS} to {MAX_STEPS}, got {repr(value)[:40]}.")
    return int(value)


def title_panels(dragged: Dragged) -> PanelSet:
    """Return the panels of a drag, with the title and note of a drag instead of those of a script."""
    panels = dragged.view.panels
    retitled = (
        replace(p, title="Dragged", note="target + your drags") if p.name == "script" else p for p in panels.panels
    )
    return replace(panels, panels=tuple(retitled))


def drag_script(dragged: Dragged) -> dict:
    """Return the actions of a drag as a value of the script editor."""
    actions, result = map(torch.tensor, dragged.actions.values()), dragged.view.result
    return recorded_script("drag", actions, result.family, result.capacity)
