"""What all tabs share: two clips, a family and a capacity, and the place where refusals are said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

import lawm_core as lawm
from app.components.choices import Choice, build_choices, choice_value, chosen_key, extra_choice
from app.components.message import message_value, notice_value
from app.gallery import GalleryPair
from app.jobs import CancelledJobError, Jobs
from app.pictures import data_uri
from app.piece import FEWEST_FRAMES, FRAMES, MOST_FRAMES, Piece
from app.studio import Studio

UPLOAD = "upload"  # the key of an uploaded video among the choices
FILE_TYPES = list(lawm.VIDEO_SUFFIXES)
PRIVATE = {"api_visibility": "private"}
# How everything that needs the model is run: one at a time, the newest wish last.
MODEL_QUEUE = {"concurrency_id": "model", "concurrency_limit": 1, "trigger_mode": "always_last"}
NOTHING = "() => {}"
ELSEWHERE = "elsewhere"  # of one page, still one at a time: a result must not come after that of a later wish
ELSEWHERE_QUEUE = {**MODEL_QUEUE, "concurrency_id": ELSEWHERE, "concurrency_limit": 4}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The components that choose one clip. `video` holds the last upload that could be read."""

    choices: gr.HTML
    upload: gr.UploadButton
    video: gr.File
    start: gr.Number
    frames: gr.Number | None  # the target is as long as the source

    @property
    def inputs(self) -> list:
        """What a result needs to know of this side, as `chosen_piece` takes it."""
        return [self.choices, self.video, self.start, *([self.frames] if self.frames else [])]

    @property
    def changed(self) -> list:
        """Every event after which another piece of video is meant, uploads aside."""
        numbers = [self.start, *([self.frames] if self.frames else [])]
        return [self.choices.select, *(moment for n in numbers for moment in (n.submit, n.blur))]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The one selection that every tab shows. jobs: the long requests, which can be cancelled."""

    jobs: Jobs
    message: gr.HTML
    family: gr.Dropdown
    capacity: gr.Slider
    run: gr.Button
    stop: gr.Button
    source: Side
    target: Side

    @property
    def request(self) -> list:
        """Both clips and the dial."""
        return [*self.source.inputs, *self.target.inputs, self.family, self.capacity]

    @property
    def on_target(self) -> list:
        """The target and the dial."""
        return [*self.target.inputs, self.family, self.capacity]


def build_dials(studio: Studio) -> tuple[gr.Slider, gr.Dropdown, gr.Button, gr.Button]:
    """The capacity slider, the family, and the buttons that run a transfer and cancel it."""
    families = list(studio.model.families)
    with gr.Row(elem_classes="dials"):
        capacity = gr.Slider(
            0, 1, value=1.0, step=0.05, label="Capacity", elem_id="capacity", scale=4,
            min_width=300,
        )  # fmt: skip
        family = gr.Dropdown(
            families, value=families[0], label="Family", elem_id="family", scale=1, min_width=200,
            interactive=len(families) > 1,
        )  # fmt: skip
        run = gr.Button("Transfer", variant="primary", elem_id="run-transfer", scale=0, min_width=150)
        stop = build_cancel("transfer")
    return capacity, family, run, stop


def build_sides(studio: Studio, opening: GalleryPair | None) -> tuple[Side, Side]:
    """Both clips' places."""
    with gr.Row(elem_classes="sides"):
        source = build_side(studio, "source", "The clip that the actions are read from.", opening and opening.source)
        target = build_side(studio, "target", "The clip whose first frame they act on.", opening and opening.target)
    return source, target


def build_side(studio: Studio, name: str, about: str, chosen: str | None) -> Side:
    """One clip's place: gallery, upload and start."""
    clips, title = studio.gallery.clips, name.capitalize()
    with gr.Column(elem_id=f"{name}-video", elem_classes="side", min_width=300):
        gr.Markdown(f"### {title}\n{about}", elem_classes="side-title")
        choices = build_choices(
            [Choice(key=c.file, title=c.title, note=c.about, rows=(row,)) for row, c in enumerate(clips)],
            chosen,
            len(clips),
            f"{title} clips",
            f"{name}-choices",
        )
        with gr.Row(elem_classes="side-own"):
            upload = gr.UploadButton(
                "Upload a video", file_types=FILE_TYPES, size="sm", elem_id=f"{name}-upload", min_width=120
            )
            start = gr.Number(0, label="Start at second", minimum=0, step=0.5, elem_id=f"{name}-start", min_width=110)
            frames = None
            if name == "source":
                rate = studio.model.frames_per_second
                frames = gr.Number(
                    FRAMES, label=f"Frames ({rate:g} a second)", minimum=FEWEST_FRAMES, maximum=MOST_FRAMES,
                    precision=0, step=1, elem_id="source-frames", min_width=110,
                )  # fmt: skip
    # Only a place to remember the upload in; what is in it is decoded in a guarded process and never served.
    video = gr.File(visible=False, file_types=FILE_TYPES, label=f"{title} video, when not from the gallery")
    return Side(choices=choices, upload=upload, video=video, start=start, frames=frames)


def result_queue(studio: Studio) -> dict:
    """How whole results are run: as all that needs the model, or beside it where they are computed elsewhere.

    Who waits for a GPU there, up to a minute, then keeps nobody from driving or from the map.
    """
    return MODEL_QUEUE if studio.elsewhere is None else ELSEWHERE_QUEUE


def whenever(events: Sequence, handler: Callable | None, inputs: Sequence | None, outputs: Sequence, **how: object):
    """Run a handler after each of these events, and return what can be followed by `.then`.

    Several listeners of one event that run as `always_last` start each other again without end: Gradio repeats the
    event, not the handler. So what listens is only a step in the browser, and the handler follows it.
    """
    heard = gr.on(events, None, js=NOTHING, queue=False, show_progress="hidden", **PRIVATE)
    return heard.then(handler, inputs, outputs, **how)


def build_cancel(kind: str) -> gr.Button:
    """The Cancel button of a kind of job. page.js shows it while such a job runs."""
    return gr.Button("Cancel", size="sm", elem_id=f"cancel-{kind}", elem_classes="cancel", scale=0, min_width=90)


def wire_cancel(button: gr.Button, kind: str, jobs: Jobs) -> None:
    """Make the button cancel the page's job of this kind."""

    async def cancel(request: gr.Request) -> None:  # async, so that it runs where the queue does
        """Cancel the page's job, whether it runs or waits."""
        jobs.cancel(kind, request)

    button.click(cancel, None, None, queue=False, show_progress="hidden", **PRIVATE)


# ---- what handlers share --------------------------------------------------------------------------------------------


def name_upload(studio: Studio) -> Callable[[str | None], tuple]:
    """The handler that takes a person's own video."""

    def open_upload(path: str | None) -> tuple:
        """Shows the video among the choices and chooses it; one that cannot be read changes nothing but the message."""
        try:
            if path is None:
                raise ValueError("No file came; choose a video to upload.")
            clip, picture = studio.open_clip(Piece.of(path)), studio.draw_thumbnail(path)
        except Exception as error:
            return gr.skip(), gr.skip(), gr.skip(), refusal(error)
        length = f"{clip.file_seconds:.1f} s. " if clip.file_seconds else ""
        note = f"{clip.name}, {length}The centre square of the picture is used."
        extra = extra_choice(UPLOAD, clip.name, note, data_uri(picture))
        return choice_value(UPLOAD, extra), path, 0, message_value()

    return open_upload


def chosen_piece(
    studio: Studio, role: str, value: object, video: str | None, start: float | None, frames: float | None = None
) -> Piece:
    """The piece of video that a side means. Raises ValueError when nothing is chosen."""
    key = chosen_key(value)
    if key == UPLOAD and video:
        return Piece.of(video, start, frames)
    if not key or key == UPLOAD:
        raise ValueError(f"No {role} is chosen; take a clip from the gallery or upload a video.")
    return Piece.of(studio.gallery.path(key), start, frames)


def chosen_pieces(studio: Studio, request: Sequence) -> tuple[Piece, Piece]:
    """Source and target, from the inputs of both sides one after the other."""
    return chosen_piece(studio, "source", *request[:4]), chosen_piece(studio, "target", *request[4:7])


def said(family: str, capacity: float) -> str:
    """A setting of the dial in words."""
    return f"{family}, capacity {capacity:.2f}"


def refused(message: object) -> bool:
    """Whether the last request was refused: the reason must stay readable, so nothing goes on after it."""
    return isinstance(message, dict) and bool(message.get("text"))


def refusal(error: Exception) -> dict:
    """What the page says of a request that was refused or failed; of a cancelled one, only a notice."""
    if isinstance(error, CancelledJobError):
        return notice_value(str(error))
    return message_value(tell(error))


def tell(error: Exception) -> str:
    """The sentence for people; what only developers understand goes to the log."""
    text = str(error) if isinstance(error, ValueError) else "Something went wrong on our side; the last result is kept."
    if not isinstance(error, ValueError):
        log.error("A request failed", exc_info=error)
    return text
