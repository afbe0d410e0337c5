"""The first tab: two clips in, the source's actions on the target's first frame out."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.components.choices import Choice, build_choices, choice_value, chosen_key, extra_choice, kept_extra
from app.components.facts import build_facts, facts_value
from app.components.lanes import build_lanes, lanes_value
from app.components.message import build_message, message_value
from app.gallery import Gallery, GalleryPair
from app.pictures import data_uri
from app.studio import Export, Studio
from app.views import View

UPLOAD = "upload"  # the key of an uploaded video among the choices
FILE_TYPES = [".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif"]
PRIVATE = {"api_visibility": "private"}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Side:
    """The components that choose one clip. `video` holds the last upload that could be read."""

    choices: gr.HTML
    upload: gr.UploadButton
    video: gr.File
    start: gr.Number

    @property
    def inputs(self) -> list:
        """What a transfer needs to know of this side."""
        return [self.choices, self.video, self.start]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Every component of the tab that something is wired to."""

    pairs: gr.HTML
    message: gr.HTML
    lanes: gr.HTML
    capacity: gr.Slider
    family: gr.Dropdown
    run: gr.Button
    facts: gr.HTML
    download: gr.DownloadButton
    latents: gr.DownloadButton
    recipe: gr.DownloadButton
    source: Side
    target: Side

    @property
    def request(self) -> list:
        """What goes into a transfer."""
        return [*self.source.inputs, *self.target.inputs, self.family, self.capacity]

    @property
    def answer(self) -> list:
        """What a transfer fills."""
        return [self.lanes, self.facts, self.message, self.pairs, self.download, self.latents, self.recipe]

    @property
    def running(self) -> dict:
        """How every transfer is run: one at a time, the newest wish last, its progress over the facts."""
        queue = {"concurrency_id": "model", "concurrency_limit": 1, "trigger_mode": "always_last"}
        return {"inputs": self.request, "outputs": self.answer, "show_progress_on": self.facts, **queue}


def build_transfer_tab(studio: Studio, first: View | None) -> None:
    """The tab, with the result of the first pair already on it."""
    parts = build_parts(studio, first)
    run_transfer = name_transfer(studio)
    wire_transfer(parts, run_transfer)
    wire_pairs(parts, studio.gallery.pairs, run_transfer)
    wire_uploads(parts, name_upload(studio), run_transfer)


# ---- components -----------------------------------------------------------------------------------------------------


def build_parts(studio: Studio, first: View | None) -> Parts:
    """Everything there is to see, from top to bottom."""
    opening = studio.gallery.pairs[0] if first else None
    pairs = build_pairs(studio.gallery, opening)
    message, lanes = build_message("message"), build_lanes(first and first.shown, "lanes")
    families = list(studio.model.families)
    with gr.Row(elem_classes="dials"):
        capacity = gr.Slider(
            0,
            1,
            value=1.0,
            step=0.05,
            label="Capacity",
            elem_id="capacity",
            scale=3,
            min_width=280,
            info="How much a latent action may carry: 0 least, 1 most.",
        )
        family = gr.Dropdown(
            families,
            value=families[0],
            label="Family",
            elem_id="family",
            scale=1,
            min_width=220,
            info="How capacity is limited.",
            interactive=len(families) > 1,
        )
        run = gr.Button("Transfer", variant="primary", elem_id="run-transfer", scale=1, min_width=160)
    facts = build_facts(first, "facts")
    download, latents, recipe = build_downloads(studio.export(first) if first else None)
    with gr.Row(elem_classes="sides"):
        source = build_side(studio, "source", "The clip that the actions are read from.", opening and opening.source)
        target = build_side(studio, "target", "The clip whose first frame they act on.", opening and opening.target)
    return Parts(
        pairs=pairs,
        message=message,
        lanes=lanes,
        capacity=capacity,
        family=family,
        run=run,
        facts=facts,
        download=download,
        latents=latents,
        recipe=recipe,
        source=source,
        target=target,
    )


def build_pairs(gallery: Gallery, opening: GalleryPair | None) -> gr.HTML:
    """The pairs that show the idea at a click."""
    rows = {clip.file: row for row, clip in enumerate(gallery.clips)}
    items = [
        Choice(key=str(i), title=pair.title, note=pair.about, rows=(rows[pair.source], rows[pair.target]))
        for i, pair in enumerate(gallery.pairs)
    ]
    chosen = "0" if opening else None
    return build_choices(items, chosen, len(rows), "Start from a pair", "pairs", visible=bool(items))


def build_downloads(files: Export | None) -> tuple[gr.DownloadButton, ...]:
    """What can be taken home."""
    ready = {"size": "sm", "interactive": files is not None}
    with gr.Row(elem_classes="downloads"):
        return (
            gr.DownloadButton("Download video", files and files.video, elem_id="download", **ready),
            gr.DownloadButton("Download latents (.npz)", files and files.latents, elem_id="download-latents", **ready),
            gr.DownloadButton("Download recipe (.json)", files and files.recipe, elem_id="download-recipe", **ready),
        )


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
            start = gr.Number(0, label="Start at second", minimum=0, step=0.5, elem_id=f"{name}-start", min_width=120)
    # Only a place to remember the upload in; what is in it is decoded in a guarded process and never served.
    video = gr.File(visible=False, file_types=FILE_TYPES, label=f"{title} video, when not from the gallery")
    return Side(choices=choices, upload=upload, video=video, start=start)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def wire_transfer(parts: Parts, run_transfer: Callable) -> None:
    """The button, and every change that is finished: a newer one replaces those that still wait."""
    parts.run.click(run_transfer, api_name="transfer", **parts.running)
    sides = (parts.source, parts.target)
    finished = [parts.capacity.release, parts.family.input, *(side.choices.select for side in sides)]
    finished += [moment for side in sides for moment in (side.start.submit, side.start.blur)]
    gr.on(finished, run_transfer, **PRIVATE, **parts.running)


def wire_pairs(parts: Parts, pairs: Sequence[GalleryPair], run_transfer: Callable) -> None:
    """A pair fills both sides and runs."""

    def open_pair(value: object, source_value: object, target_value: object) -> tuple:
        """Puts both clips of the chosen pair into their places; uploads stay on offer."""
        key = chosen_key(value)
        if not (key.isdecimal() and int(key) < len(pairs)):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        source, target = pairs[int(key)].source, pairs[int(key)].target
        return choice_value(source, kept_extra(source_value)), 0, choice_value(target, kept_extra(target_value)), 0

    source, target = parts.source, parts.target
    inputs = [parts.pairs, source.choices, target.choices]
    places = [source.choices, source.start, target.choices, target.start]
    opened = parts.pairs.select(open_pair, inputs, places, queue=False, show_progress="hidden", **PRIVATE)
    opened.then(run_transfer, **PRIVATE, **parts.running)


def wire_uploads(parts: Parts, open_upload: Callable, run_transfer: Callable) -> None:
    """A person's own video takes its place and runs."""

    def go_on(refusal: object, *values: object) -> Iterator[tuple]:
        """Runs a transfer after an upload, unless the upload was refused: the refusal must stay readable."""
        if isinstance(refusal, dict) and refusal.get("text"):
            yield (gr.skip(),) * len(parts.answer)
        else:
            yield from run_transfer(*values)

    queue = {"concurrency_id": "uploads", "concurrency_limit": 2, "show_progress": "minimal"}
    going_on = {**parts.running, "inputs": [parts.message, *parts.request]}
    for side in (parts.source, parts.target):
        arrival = [side.choices, side.video, side.start, parts.message]
        opened = side.upload.upload(open_upload, side.upload, arrival, show_progress_on=side.upload, **queue, **PRIVATE)
        opened.then(go_on, **PRIVATE, **going_on)


# ---- handlers -------------------------------------------------------------------------------------------------------


def name_transfer(studio: Studio) -> Callable[..., Iterator[tuple]]:
    """The handler that runs a transfer and fills the tab with it."""

    def transfer(
        source: object,
        source_video: str | None,
        source_start: float | None,
        target: object,
        target_video: str | None,
        target_start: float | None,
        family: str | None,
        capacity: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio finds it
    ) -> Iterator[tuple]:
        """A gallery file's name, or `upload` and a video; a start second for each; family; capacity from 0 to 1."""
        try:
            view = studio.transfer(
                chosen_path(studio, source, source_video, "source"),
                chosen_path(studio, target, target_video, "target"),
                source_start=source_start,
                target_start=target_start,
                family=family,
                capacity=capacity,
                progress=lambda fraction, what: progress(fraction, desc=what),
            )
        except Exception as error:
            yield (gr.skip(), gr.skip(), message_value(tell(error)), *[gr.skip()] * 4)
            return
        index = studio.gallery.pair_index(chosen_key(source), chosen_key(target))
        pair = choice_value(None if index is None else str(index))
        page = lanes_value(view.shown), facts_value(view), message_value(), pair
        waiting = gr.update(interactive=False)
        yield (*page, waiting, waiting, waiting)  # the lanes first: writing files takes a moment more
        files = studio.export(view)
        ready = (gr.update(value=path, interactive=True) for path in (files.video, files.latents, files.recipe))
        yield (*page, *ready)

    return transfer


def name_upload(studio: Studio) -> Callable[[str | None], tuple]:
    """The handler that takes a person's own video."""

    def open_upload(path: str | None) -> tuple:
        """Shows the video among the choices and chooses it; one that cannot be read changes nothing but the message."""
        try:
            if path is None:
                raise ValueError("No file came; choose a video to upload.")
            clip, picture = studio.open_clip(path), studio.draw_thumbnail(path)
        except Exception as error:
            return gr.skip(), gr.skip(), gr.skip(), message_value(tell(error))
        length = f"{clip.file_seconds:.1f} s. " if clip.file_seconds else ""
        note = f"{clip.name}, {length}The centre square of the picture is used."
        extra = extra_choice(UPLOAD, clip.name, note, data_uri(picture))
        return choice_value(UPLOAD, extra), path, 0, message_value()

    return open_upload


def chosen_path(studio: Studio, value: object, video: str | None, role: str) -> str | Path:
    """The file that a side's choice means. Raises ValueError when nothing is chosen."""
    key = chosen_key(value)
    if key == UPLOAD and video:
        return video
    if not key or key == UPLOAD:
        raise ValueError(f"No {role} is chosen; take a clip from the gallery or upload a video.")
    return studio.gallery.path(key)


def tell(error: Exception) -> str:
    """The sentence for people, also shown as a toast; what only developers understand goes to the log."""
    text = str(error) if isinstance(error, ValueError) else "Something went wrong on our side; the last result is kept."
    if not isinstance(error, ValueError):
        log.error("A request failed", exc_info=error)
    gr.Warning(html.escape(text), title="Not possible", duration=8)  # a toast is HTML, and file names come from people
    return text
