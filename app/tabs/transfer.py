"""The first tab: the source's actions on the target's first frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

from app.components.choices import Choice, build_choices, choice_value, chosen_key, kept_extra
from app.components.facts import build_facts, facts_value
from app.components.lanes import build_lanes, lanes_value
from app.components.message import message_value
from app.gallery import Gallery, GalleryPair
from app.jobs import Check, Jobs, job
from app.studio import Export, Studio
from app.tabs.selection import (
    PRIVATE,
    Selection,
    chosen_piece,
    name_upload,
    refusal,
    refused,
    result_queue,
    whenever,
    wire_cancel,
)
from app.views import View

ANSWERED = "() => document.dispatchEvent(new CustomEvent('answered'))"  # for page.js, whether the answer is a new one


@dataclass(frozen=True, kw_only=True)
class TransferParts:
    """The tab's components."""

    pairs: gr.HTML
    lanes: gr.HTML
    facts: gr.HTML
    downloads: tuple[gr.DownloadButton, ...]

    @property
    def answer(self) -> list:
        """What a transfer fills, the message aside."""
        return [self.lanes, self.facts, self.pairs, *self.downloads]


def build_transfer_tab(studio: Studio, first: View | None) -> TransferParts:
    """Everything there is to see, from top to bottom, with the result of the first pair already on it."""
    opening = studio.gallery.pairs[0] if first else None
    return TransferParts(
        pairs=build_pairs(studio.gallery, opening),
        lanes=build_lanes(first and first.shown, "lanes"),
        facts=build_facts(first, studio.warnings(first) if first else (), "facts"),
        downloads=build_downloads(studio.export(first) if first else None),
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


# ---- wiring ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TransferRun:
    """How a transfer is run: a person sees the frames first, and the files are written while the next may run."""

    transfer: Callable[..., tuple]
    write_files: Callable[[object], tuple]
    parts: TransferParts
    running: dict

    def on(self, events: Sequence) -> None:
        """Whenever one of these happens."""
        self._go_on(whenever(events, self.transfer, **PRIVATE, **self.running))

    def after(self, event, told: gr.components.Component, allows: Callable[[object], bool]):
        """Once this has happened, if what it `told` allows it."""

        @job("transfer")
        def go_on(request: gr.Request, said: object, *values: object) -> tuple:
            return self.transfer(request, *values) if allows(said) else (gr.skip(),) * len(self.running["outputs"])

        running = {**self.running, "inputs": [told, *self.running["inputs"]]}
        return self._go_on(event.then(go_on, **PRIVATE, **running))

    def _go_on(self, event):
        event.then(None, js=ANSWERED, **PRIVATE)
        queue = {"concurrency_id": "files", "show_progress": "hidden"}
        return event.then(self.write_files, self.parts.lanes, list(self.parts.downloads), **queue, **PRIVATE)


def wire_transfer_tab(parts: TransferParts, selection: Selection, studio: Studio) -> TransferRun:
    """The button, and every change that is finished: a newer one replaces those that still wait."""
    transfer, write_files = name_transfer(studio, selection.jobs)
    outputs = [selection.message, *parts.answer]
    queue = result_queue(studio)
    running = {"inputs": selection.request, "outputs": outputs, "show_progress_on": parts.lanes, **queue}
    run = TransferRun(transfer=transfer, write_files=write_files, parts=parts, running=running)
    run.on([selection.run.click])
    run.on([selection.capacity.release, selection.family.input, *selection.source.changed, *selection.target.changed])
    wire_cancel(selection.stop, "transfer", selection.jobs)
    wire_pairs(parts, selection, studio.gallery.pairs, run)
    wire_uploads(selection, name_upload(studio), run)
    return run


def wire_pairs(parts: TransferParts, selection: Selection, pairs: Sequence[GalleryPair], run: TransferRun) -> None:
    """A pair fills both sides and runs."""

    def open_pair(value: object, source_value: object, target_value: object) -> tuple:
        """Puts both clips of the chosen pair into their places; uploads stay on offer."""
        key = chosen_key(value)
        if not (key.isdecimal() and int(key) < len(pairs)):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        source, target = pairs[int(key)].source, pairs[int(key)].target
        return choice_value(source, kept_extra(source_value)), 0, choice_value(target, kept_extra(target_value)), 0

    source, target = selection.source, selection.target
    inputs = [parts.pairs, source.choices, target.choices]
    places = [source.choices, source.start, target.choices, target.start]
    opened = parts.pairs.select(open_pair, inputs, places, queue=False, show_progress="hidden", **PRIVATE)
    run.after(opened, parts.pairs, allows=lambda said: True)


def wire_uploads(selection: Selection, open_upload: Callable, run: TransferRun) -> None:
    """A person's own video takes its place and runs, unless it was refused: the refusal must stay readable."""
    queue = {"concurrency_id": "uploads", "concurrency_limit": 2, "show_progress": "minimal"}
    for side in (selection.source, selection.target):
        arrival = [side.choices, side.video, side.start, selection.message]
        opened = side.upload.upload(open_upload, side.upload, arrival, show_progress_on=side.upload, **queue, **PRIVATE)
        run.after(opened, selection.message, allows=lambda said: not refused(said))


# ---- handlers -------------------------------------------------------------------------------------------------------


def name_transfer(studio: Studio, jobs: Jobs) -> tuple[Callable[..., tuple], Callable[[object], tuple]]:
    """The handler that runs a transfer and fills the tab with it, and the one that writes its files."""

    @job("transfer")
    def show_transfer(
        request: gr.Request,
        source: object,
        source_video: str | None,
        source_start: float | None,
        frames: float | None,
        target: object,
        target_video: str | None,
        target_start: float | None,
        family: str | None,
        capacity: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio finds it
    ) -> tuple:
        """A gallery file's name, or `upload` and a video; a start second for each; how many of the source's frames;
        family; capacity from 0 to 1.
        """

        def work(check: Check) -> View:
            def report(fraction: float, what: str) -> None:
                check()
                progress(fraction, desc=what)

            return studio.transfer(
                chosen_piece(studio, "source", source, source_video, source_start, frames),
                chosen_piece(studio, "target", target, target_video, target_start),
                family=family,
                capacity=capacity,
                progress=report,
            )

        try:
            view = jobs.run("transfer", request, work)
        except Exception as error:
            return refusal(error), *[gr.skip()] * 6
        index = studio.gallery.pair_index(chosen_key(source), chosen_key(target))
        pair = choice_value(None if index is None else str(index))
        page = message_value(), lanes_value(view.shown), facts_value(view, studio.warnings(view)), pair
        return *page, *[gr.update(interactive=False)] * 3

    def write_files(lanes: object) -> tuple:
        """The files of the result that is on the page; nothing where it is gone already."""
        view = studio.view(lanes.get("key")) if isinstance(lanes, dict) else None
        if view is None:
            return (gr.skip(),) * 3
        files = studio.export(view)
        return tuple(gr.update(value=path, interactive=True) for path in (files.video, files.latents, files.recipe))

    return show_transfer, write_files
