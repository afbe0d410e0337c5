"""What all tabs share: source and target, the setting, messages, and how requests are queued.

A setting is a bottleneck family and a capacity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

import lawm_core as lawm
from app.clip_selection import FRAMES, MAX_FRAMES, MIN_FRAMES, ClipSelection
from app.components.choices import Choice, build_choices, choice_value, chosen_key, upload_choice
from app.components.message import message_value, notice_value
from app.gallery import GalleryPair
from app.jobs import CancelledJobError, Jobs
from app.pictures import data_uri
from app.studio import Studio

UPLOAD = "upload"  # key of the uploaded video among the choices
FILE_TYPES = list(lawm.VIDEO_SUFFIXES)
UPLOADS = {"source": "Upload a video", "target": "Upload a video or picture"}
TARGET_TYPES = [*FILE_TYPES, *lawm.PICTURE_SUFFIXES]  # a picture is a target without a continuation
PRIVATE = {"api_visibility": "private"}
# For requests that use the model: one runs at a time, and of each page's waiting requests only the last one is kept.
MODEL_QUEUE = {"concurrency_id": "model", "concurrency_limit": 1, "trigger_mode": "always_last"}
# For results that are computed remotely: several run at once, but only one for each page (see `layout.build_page`), so
# that the result of its last request is also the last to arrive.
REMOTE = "remote"
REMOTE_QUEUE = {**MODEL_QUEUE, "concurrency_id": REMOTE, "concurrency_limit": 4}
NO_SCRIPT = "() => {}"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The components that choose the source or the target. video: the last upload that could be read."""

    choices: gr.HTML
    upload: gr.UploadButton
    video: gr.File
    start: gr.Number
    frames: gr.Number | None  # None for the target, which takes the length of the source

    @property
    def inputs(self) -> list:
        """Inputs of a handler, in the order of the parameters of `select_clip`."""
        return [self.choices, self.video, self.start, *([self.frames] if self.frames else [])]

    @property
    def changed(self) -> list:
        """Events after which the selection has changed, except uploads."""
        numbers = [self.start, *([self.frames] if self.frames else [])]
        return [self.choices.select, *(event for number in numbers for event in (number.submit, number.blur))]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The selection that all tabs share: both clips and the setting.

    jobs: runs requests that can be cancelled. message: the message area of the page.
    """

    jobs: Jobs
    message: gr.HTML
    family: gr.Dropdown
    capacity: gr.Slider
    run: gr.Button
    cancel: gr.Button
    source: Side
    target: Side

    @property
    def setting(self) -> list:
        """Inputs of the setting: family and capacity."""
        return [self.family, self.capacity]

    @property
    def request(self) -> list:
        """Inputs of both clips and the setting."""
        return [*self.source.inputs, *self.target.inputs, *self.setting]

    @property
    def target_request(self) -> list:
        """Inputs of the target and the setting."""
        return [*self.target.inputs, *self.setting]


# ---- building -------------------------------------------------------------------------------------------------------


def build_settings(studio: Studio) -> tuple[gr.Slider, gr.Dropdown, gr.Button, gr.Button]:
    """Build capacity, bottleneck, and the buttons that run and cancel a transfer."""
    families = list(studio.model.family_names)
    with gr.Row(elem_classes="settings"):
        capacity = gr.Slider(
            0, 1, value=1.0, step=0.05, label="Capacity", elem_id="capacity", scale=4, min_width=300,
        )  # fmt: skip
        family = gr.Dropdown(
            families, value=families[0], label="Bottleneck", elem_id="family", scale=1, min_width=220,
            interactive=len(families) > 1,
        )  # fmt: skip
        run = gr.Button("Transfer", variant="primary", elem_id="run-transfer", scale=0, min_width=150)
        cancel = build_cancel("transfer")
    return capacity, family, run, cancel


def build_sides(studio: Studio, pair: GalleryPair | None) -> tuple[Side, Side]:
    """Build the choices of source and target, with the clips of a pair chosen."""
    with gr.Row(elem_classes="sides"):
        source = build_side(studio, "source", "The clip that provides the motion.", pair and pair.source)
        target = build_side(studio, "target", "The clip that provides the first frame.", pair and pair.target)
    return source, target


def build_side(studio: Studio, role: str, help_text: str, chosen: str | None) -> Side:
    """Build the gallery, the upload button and the numbers that select one clip. role: "source" or "target"."""
    videos, title, types = studio.gallery.videos, role.capitalize(), TARGET_TYPES if role == "target" else FILE_TYPES
    with gr.Column(elem_id=f"{role}-video", elem_classes="side", min_width=300):
        gr.Markdown(f"### {title}\n{help_text}", elem_classes="side-title")
        choices = build_choices(
            [Choice(key=v.file, title=v.title, note=v.about, rows=(row,)) for row, v in enumerate(videos)],
            chosen,
            len(videos),
            f"{title} clips",
            f"{role}-choices",
        )
        with gr.Row(elem_classes="side-own"):
            upload = gr.UploadButton(
                UPLOADS[role], file_types=types, size="sm", elem_id=f"{role}-upload", min_width=120
            )
            start = gr.Number(0, label="Start (seconds)", minimum=0, step=0.5, elem_id=f"{role}-start", min_width=110)
            frames = None
            if role == "source":
                rate = studio.model.frames_per_second
                frames = gr.Number(
                    FRAMES, label=f"Frames ({rate:g} per second)", minimum=MIN_FRAMES, maximum=MAX_FRAMES,
                    precision=0, step=1, elem_id="source-frames", min_width=110,
                )  # fmt: skip
    # Keeps the path of the upload, whose content is decoded in the sandbox and never served.
    video = gr.File(visible=False, file_types=types, label=f"uploaded {role}")
    return Side(choices=choices, upload=upload, video=video, start=start, frames=frames)


def build_cancel(kind: str) -> gr.Button:
    """Build the Cancel button of a kind of job. page.js shows it while such a job runs."""
    return gr.Button("Cancel", size="sm", elem_id=f"cancel-{kind}", elem_classes="cancel", scale=0, min_width=90)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def result_queue(studio: Studio) -> dict:
    """Return the settings of the queue for whole results: the model's, or a separate one if they are computed remotely.

    With a separate queue, users who wait up to a minute for a remote GPU do not delay requests that are computed here.
    """
    return MODEL_QUEUE if studio.remote_compute is None else REMOTE_QUEUE


def on_events(
    events: Sequence, handler: Callable | None, inputs: Sequence | None, outputs: Sequence, **settings: object
):
    """Run a handler after any of these events. Return the handler's own event, to which `.then` adds more steps.

    The events first run an empty step in the browser, and only that step calls the handler. If several events with
    `always_last` called the handler directly, Gradio would trigger the events again after each call, and they would
    trigger each other without end.
    """
    heard = gr.on(events, None, js=NO_SCRIPT, queue=False, show_progress="hidden", **PRIVATE)
    return heard.then(handler, inputs, outputs, **settings)


def wire_cancel(button: gr.Button, kind: str, jobs: Jobs) -> None:
    """Make the button cancel the page's job of this kind."""

    async def cancel(request: gr.Request) -> None:  # async, so that it runs in the event loop, as the queue does
        """Cancel the page's job, whether it is running or waiting."""
        jobs.cancel(kind, request)

    button.click(cancel, None, None, queue=False, show_progress="hidden", **PRIVATE)


# ---- handlers -------------------------------------------------------------------------------------------------------


def upload_handler(studio: Studio) -> Callable[[str | None], tuple]:
    """Return the handler that opens an uploaded video."""

    def open_upload(path: str | None) -> tuple:
        """Add a video to the choices and choose it; if it cannot be read, only show a message."""
        try:
            if path is None:
                raise ValueError("The upload is empty. Choose a video.")
            clip, picture = studio.open_clip(ClipSelection.of(path)), studio.draw_thumbnail(path)
        except Exception as error:
            return gr.skip(), gr.skip(), gr.skip(), error_message(error)
        duration = f", {clip.file_seconds:.1f} s" if clip.file_seconds else ""
        note = f"{clip.name}{duration}. Cropped to the centre square."
        choice = upload_choice(UPLOAD, clip.name, note, data_uri(picture))
        return choice_value(UPLOAD, choice), path, 0, message_value()

    return open_upload


def select_clip(
    studio: Studio, role: str, value: object, video: str | None, start: float | None, frames: float | None = None
) -> ClipSelection:
    """Return the selected clip of one side. Raises ValueError if nothing is chosen.

    role: "source" or "target". value: of the choices. video: path of the upload.
    """
    key = chosen_key(value)
    if key == UPLOAD and video:
        return ClipSelection.of(video, start, frames)
    if not key or key == UPLOAD:
        raise ValueError(f"No {role} is chosen. Choose a clip from the gallery or upload a video.")
    return ClipSelection.of(studio.gallery.path(key), start, frames)


def select_clips(studio: Studio, inputs: Sequence) -> tuple[ClipSelection, ClipSelection]:
    """Return source and target from the values of the inputs of both sides."""
    return select_clip(studio, "source", *inputs[:4]), select_clip(studio, "target", *inputs[4:7])


def setting_text(family: str, capacity: float) -> str:
    """Return a setting as text."""
    return f"{family}, capacity {capacity:.2f}"


def has_error(message: object) -> bool:
    """Return whether the message area shows an error. Then nothing more should run, as it would replace the error."""
    return isinstance(message, dict) and bool(message.get("text"))


def catch_errors(act: Callable[[], tuple], outputs: int) -> tuple:
    """Return the outputs of `act`, or after an error its message and no change of the other outputs.

    outputs: number of outputs, the first of which is the message.
    """
    try:
        return act()
    except Exception as error:
        return (error_message(error), *[gr.skip()] * (outputs - 1))


def error_message(error: Exception) -> dict:
    """Return the message of a request that failed; a notice if it was cancelled."""
    if isinstance(error, CancelledJobError):
        return notice_value(str(error))
    if isinstance(error, lawm.VideoError):  # begins with a file name, which must not be capitalised
        return message_value(str(error))
    if isinstance(error, ValueError):
        text = str(error)
        return message_value(text[:1].upper() + text[1:])
    log.error("A request failed", exc_info=error)
    return message_value("Internal error. The last result is kept. Please try again.")
