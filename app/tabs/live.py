"""The tab `Live`: a camera, the source clip or the pointer moves the target as it happens."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.components.live import build_live, clip_value, live_value
from app.components.message import message_value
from app.components.script import recorded_script
from app.live import LiveDesk
from app.pictures import SHEET_COLUMNS
from app.studio import Studio
from app.tabs.compose import open_script
from app.tabs.selection import PRIVATE, Selection, catch_errors, select_clip
from app.views import TILE_PIXELS, draw_panel

LEAD = (
    "Move your target **live**: the actions between the last two frames of a stream are applied to it at once. At most "
    "two visitors are live at a time; others wait in a queue."
)
KINDS = {"Pointer": "pointer", "Camera": "camera", "Source clip": "clip"}


@dataclass(frozen=True, kw_only=True)
class LiveParts:
    """Components of the tab."""

    kind: gr.Radio
    start: gr.Button
    screen: gr.HTML
    to_script: gr.Button
    script: gr.State


def build_live_tab(studio: Studio) -> LiveParts:
    """Build the choice of the motion, and the screens."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="compare"):
        kind = gr.Radio(list(KINDS), value="Pointer", label="Motion from", elem_id="live-kind", scale=4)
        start = gr.Button("Start", elem_id="start-live", scale=1, min_width=120, size="sm", variant="primary")
    screen = build_live("live", studio.model.family_names[0])
    with gr.Row(elem_classes="downloads"):
        to_script = gr.Button("Open recording in Compose", elem_id="live-to-script", size="sm", interactive=False)
    return LiveParts(
        kind=kind, start=start, screen=screen, to_script=to_script, script=gr.State(None, time_to_live=3600)
    )


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_live_tab(
    parts: LiveParts, script: gr.HTML, tabs: gr.HTML, selection: Selection, studio: Studio, desk: LiveDesk
):
    """Wire the events of the tab. Return the event after which the script of `Compose` has the recorded actions."""
    handlers = LiveHandlers(studio, desk)
    parts.start.click(
        handlers.start_live,
        [parts.kind, *selection.source.inputs, *selection.target_request],
        [selection.message, parts.screen],
        show_progress="hidden",
        **PRIVATE,
    )
    for event in (selection.capacity.change, selection.family.input):
        event(handlers.set_setting, selection.setting, parts.screen, queue=False, show_progress="hidden", **PRIVATE)
    recorded = [selection.message, parts.script, parts.to_script]
    parts.screen.stop_recording(handlers.stop_recording, None, recorded, show_progress="hidden", **PRIVATE)
    opened = [selection.message, script, tabs]
    return parts.to_script.click(handlers.open_recording, parts.script, opened, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


class LiveHandlers:
    """Handlers of the tab. After an error, only the message changes."""

    def __init__(self, studio: Studio, desk: LiveDesk) -> None:
        self.studio, self.desk = studio, desk

    def start_live(self, kind: str, *inputs: object) -> tuple:
        """Open a session. inputs: values of the inputs of the source, the target, the family and the capacity."""
        source, (*target, family, capacity) = inputs[:4], inputs[4:]

        def act() -> tuple:
            if kind not in KINDS:
                raise ValueError(f"Motion from must be one of {', '.join(KINDS)}, got {repr(kind)[:40]}.")
            clip = self._clip(source) if KINDS[kind] == "clip" else None
            session = self.desk.open(select_clip(self.studio, "target", *target), family, capacity)
            value = live_value(session, KINDS[kind], self.studio.model.frame_size, clip)
            return message_value(), gr.update(value=value, setting={"family": family, "capacity": capacity})

        return catch_errors(act, 2)

    def _clip(self, source: tuple) -> dict:
        """Return the source clip for the browser."""
        clip = self.studio.open_clip(select_clip(self.studio, "source", *source))
        panel = draw_panel("source", clip.frame_TCHW)
        return clip_value(panel, clip.name, clip.frames_per_second, SHEET_COLUMNS, TILE_PIXELS)

    def set_setting(self, family: str, capacity: float) -> dict:
        """Pass a changed setting on to the page, which sends it to its session."""
        return gr.update(setting={"family": family, "capacity": capacity})

    def stop_recording(self, event: gr.EventData) -> tuple:
        """Take the recorded actions of a session."""

        def act() -> tuple:
            session = self.desk.find(getattr(event, "token", None))
            if not session.recorded:
                raise ValueError("The recording is empty. Move the picture while it is recording.")
            settings = session.settings
            script = recorded_script("live", session.recorded, settings.family, settings.capacity)
            return message_value(), script, gr.update(interactive=True)

        return catch_errors(act, 3)

    def open_recording(self, script: dict | None) -> tuple:
        """Open the recorded actions as a script in the tab `Compose`."""
        return open_script(script, "There is no recording yet. Press Record while the picture is live.")
