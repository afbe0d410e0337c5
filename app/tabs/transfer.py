"""The tab `Transfer`: the target's first frame under the actions of the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gradio as gr

from app.components.choices import Choice, build_choices, choice_value, chosen_key, current_upload
from app.components.facts import build_facts, facts_value
from app.components.message import message_value
from app.components.panels import build_panels, panels_value
from app.gallery import Gallery, GalleryPair
from app.jobs import Check, Jobs, job
from app.studio import Export, Studio
from app.tabs.selection import (
    PRIVATE,
    Selection,
    error_message,
    has_error,
    on_events,
    result_queue,
    select_clip,
    upload_handler,
    wire_cancel,
)
from app.views import View

FINISHED = "() => document.dispatchEvent(new CustomEvent('finished'))"  # for the notices of page.js


@dataclass(frozen=True, kw_only=True)
class TransferParts:
    """Components of the tab."""

    pairs: gr.HTML
    panels: gr.HTML
    facts: gr.HTML
    downloads: tuple[gr.DownloadButton, ...]

    @property
    def outputs(self) -> list:
        """Outputs of the handler that runs a transfer, except the first, which is the message."""
        return [self.panels, self.facts, self.pairs, *self.downloads]


def build_transfer_tab(studio: Studio, first: View | None) -> TransferParts:
    """Build the tab, with the result of the first pair."""
    return TransferParts(
        pairs=build_pairs(studio.gallery, "0" if first else None),
        panels=build_panels(first and first.panels, "panels"),
        facts=build_facts(first, studio.warnings(first) if first else (), "facts"),
        downloads=build_downloads(studio.export(first) if first else None),
    )


def build_pairs(gallery: Gallery, chosen: str | None) -> gr.HTML:
    """Build the choice of example pairs. chosen: key of the pair that is chosen at first."""
    rows = {video.file: row for row, video in enumerate(gallery.videos)}
    items = [
        Choice(key=str(i), title=pair.title, note=pair.about, rows=(rows[pair.source], rows[pair.target]))
        for i, pair in enumerate(gallery.pairs)
    ]
    return build_choices(items, chosen, len(rows), "Example pairs", "pairs", visible=bool(items))


def build_downloads(files: Export | None) -> tuple[gr.DownloadButton, ...]:
    """Build the download buttons, which are disabled without files."""
    ready = {"size": "sm", "interactive": files is not None}
    with gr.Row(elem_classes="downloads"):
        return (
            gr.DownloadButton("Download video", files and files.video, elem_id="download-video", **ready),
            gr.DownloadButton("Download actions (.npz)", files and files.latents, elem_id="download-actions", **ready),
            gr.DownloadButton(
                "Download settings to replay (.json)", files and files.replay_spec, elem_id="download-replay", **ready
            ),
        )


# ---- wiring ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TransferRun:
    """Wires events to the handlers that run a transfer and then write its files.

    The frames are shown before the files are written, and the next transfer can run meanwhile. settings: arguments of
    the event that runs a transfer.
    """

    transfer: Callable[..., tuple]
    write_files: Callable[[object], tuple]
    parts: TransferParts
    settings: dict

    def on(self, events: Sequence) -> None:
        """Run a transfer after any of these events."""
        self._finish(on_events(events, self.transfer, **PRIVATE, **self.settings))

    def after(self, event, component: gr.components.Component, condition: Callable[[object], bool]) -> None:
        """Run a transfer after an event if the value of a component fulfils a condition."""

        @job("transfer")
        def run_if(request: gr.Request, value: object, *values: object) -> tuple:
            if condition(value):
                return self.transfer(request, *values)
            return (gr.skip(),) * len(self.settings["outputs"])

        settings = {**self.settings, "inputs": [component, *self.settings["inputs"]]}
        self._finish(event.then(run_if, **PRIVATE, **settings))

    def _finish(self, event) -> None:
        """Notify the page and write the files after the event that runs a transfer."""
        event.then(None, js=FINISHED, **PRIVATE)
        queue = {"concurrency_id": "files", "show_progress": "hidden"}
        event.then(self.write_files, self.parts.panels, list(self.parts.downloads), **queue, **PRIVATE)


def wire_transfer_tab(parts: TransferParts, selection: Selection, studio: Studio) -> TransferRun:
    """Wire the events of the tab, so that a transfer runs after every change of the clips or the setting.

    A new request replaces the page's requests that are still waiting.
    """
    settings = {
        "inputs": selection.request,
        "outputs": [selection.message, *parts.outputs],
        "show_progress_on": parts.panels,
        **result_queue(studio),
    }
    run = TransferRun(
        transfer=transfer_handler(studio, selection.jobs),
        write_files=files_handler(studio),
        parts=parts,
        settings=settings,
    )
    run.on([selection.run.click])
    run.on([selection.capacity.release, selection.family.input, *selection.source.changed, *selection.target.changed])
    wire_cancel(selection.cancel, "transfer", selection.jobs)
    wire_pairs(parts, selection, studio.gallery.pairs, run)
    wire_uploads(selection, upload_handler(studio), run)
    return run


def wire_pairs(parts: TransferParts, selection: Selection, pairs: Sequence[GalleryPair], run: TransferRun) -> None:
    """When a pair is selected, choose both of its clips and run a transfer."""

    def open_pair(value: object, source_value: object, target_value: object) -> tuple:
        """Choose both clips of a pair; uploaded videos remain among the choices."""
        key = chosen_key(value)
        if not (key.isdecimal() and int(key) < len(pairs)):
            return (gr.skip(),) * 4
        pair = pairs[int(key)]
        source_choice = choice_value(pair.source, current_upload(source_value))
        target_choice = choice_value(pair.target, current_upload(target_value))
        return source_choice, 0, target_choice, 0

    source, target = selection.source, selection.target
    inputs = [parts.pairs, source.choices, target.choices]
    outputs = [source.choices, source.start, target.choices, target.start]
    opened = parts.pairs.select(open_pair, inputs, outputs, queue=False, show_progress="hidden", **PRIVATE)
    run.after(opened, parts.pairs, lambda value: True)


def wire_uploads(selection: Selection, open_upload: Callable, run: TransferRun) -> None:
    """When a video is uploaded, open it and, unless that fails, run a transfer."""
    queue = {"concurrency_id": "uploads", "concurrency_limit": 2, "show_progress": "minimal"}
    for side in (selection.source, selection.target):
        outputs = [side.choices, side.video, side.start, selection.message]
        opened = side.upload.upload(open_upload, side.upload, outputs, show_progress_on=side.upload, **queue, **PRIVATE)
        run.after(opened, selection.message, lambda message: not has_error(message))


# ---- handlers -------------------------------------------------------------------------------------------------------


def transfer_handler(studio: Studio, jobs: Jobs) -> Callable[..., tuple]:
    """Return the handler that runs a transfer and fills the tab."""

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
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds it as a default
    ) -> tuple:
        """Run a transfer. source, target: values of the choices (see `chosen_key`). frames: number of frames."""

        def work(check: Check) -> View:
            def report(fraction: float, description: str) -> None:
                check()
                progress(fraction, desc=description)

            return studio.transfer(
                select_clip(studio, "source", source, source_video, source_start, frames),
                select_clip(studio, "target", target, target_video, target_start),
                family=family,
                capacity=capacity,
                progress=report,
            )

        try:
            view = jobs.run("transfer", request, work)
        except Exception as error:
            return error_message(error), *[gr.skip()] * 6
        index = studio.gallery.pair_index(chosen_key(source), chosen_key(target))
        pair = choice_value(None if index is None else str(index))
        page = message_value(), panels_value(view.panels), facts_value(view, studio.warnings(view)), pair
        return *page, *[gr.update(interactive=False)] * 3

    return show_transfer


def files_handler(studio: Studio) -> Callable[[object], tuple]:
    """Return the handler that writes the files of the result on the page."""

    def write_files(panels: object) -> tuple:
        """Write the files and enable their downloads, if the result is still in the cache."""
        view = studio.cached_view(panels.get("key")) if isinstance(panels, dict) else None
        if view is None:
            return (gr.skip(),) * 3
        return tuple(gr.update(value=path, interactive=True) for path in vars(studio.export(view)).values())

    return write_files
