"""The fourth tab: what capacity does, on the open pair and in measured figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from app.components.curves import build_curves, dial_value
from app.components.lanes import build_lanes, lanes_value
from app.components.message import message_value
from app.jobs import Check, Jobs, job
from app.studio import Studio
from app.tabs.selection import (
    PRIVATE,
    Selection,
    build_cancel,
    chosen_pieces,
    refusal,
    result_queue,
    said,
    whenever,
    wire_cancel,
)
from app.views import Shown, View, draw_sweep

ALONG, ACROSS = "capacities of the family", "families at the dial's capacity"
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAD = (
    "The same transfer under several limits. With little capacity only coarse motion passes; with much, an action can "
    "carry more than motion. The curves are measured on clips and scenes that the model never saw."
)


@dataclass(frozen=True, kw_only=True)
class CapacityParts:
    """The tab's components."""

    compare: gr.Radio
    run: gr.Button
    stop: gr.Button
    lanes: gr.HTML
    curves: gr.HTML


def build_capacity_tab(studio: Studio, curves: list[dict]) -> CapacityParts:
    """Lanes side by side, then the curves."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="compare"):
        compare = gr.Radio([ALONG, ACROSS], value=ALONG, label="Compare", elem_id="compare", scale=4)
        run = gr.Button("Compare", elem_id="run-sweep", scale=1, min_width=140, size="sm")
        stop = build_cancel("sweep")
    lanes = build_lanes(None, "sweep", "The open pair at several capacities appears here.")
    drawn = build_curves(curves, studio.model.families[0], 1.0, "curves")
    return CapacityParts(compare=compare, run=run, stop=stop, lanes=lanes, curves=drawn)


def wire_capacity_tab(parts: CapacityParts, tabs: gr.HTML, selection: Selection, studio: Studio) -> None:
    """The comparison runs when it is asked for; the dial's place on the curves follows the dial at once."""
    gr.on(
        [selection.capacity.change, selection.family.input, tabs.expand],
        dial_value,
        [selection.family, selection.capacity],
        parts.curves,
        queue=False,
        show_progress="hidden",
        **PRIVATE,
    )
    whenever(
        [parts.run.click, parts.compare.input, tabs.expand],
        name_sweep(studio, selection.jobs),
        [parts.compare, *selection.request],
        [selection.message, parts.lanes],
        show_progress_on=parts.lanes,
        **result_queue(studio),
        **PRIVATE,
    )
    wire_cancel(parts.stop, "sweep", selection.jobs)


def name_sweep(studio: Studio, jobs: Jobs) -> Callable:
    """The handler that compares settings; each result is shown as it comes."""

    @job("sweep")
    def compare_settings(
        request: gr.Request,
        compare: str,
        *values: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio finds it
    ) -> Iterator[tuple]:
        """The open pair at five capacities, or under each family."""
        *sides, family, capacity = values
        along, views = compare != ACROSS, []
        settings = [(family, c) for c in STEPS] if along else [(f, capacity) for f in studio.model.families]
        for i, setting in enumerate(settings):
            name = said(*setting)
            progress(i / len(settings), desc=name)

            def work(check: Check, i: int = i, setting: tuple = setting, name: str = name) -> View:
                def report(fraction: float, _: str) -> None:
                    check()
                    progress((i + fraction) / len(settings), desc=name)

                family, capacity = setting
                pieces = chosen_pieces(studio, sides)
                return studio.transfer(*pieces, family=family, capacity=capacity, progress=report)

            try:
                views.append(jobs.run("sweep", request, work))
            except Exception as error:
                yield refusal(error), gr.skip()
                return
            yield message_value(), lanes_value(shown_together(views, along))

    return compare_settings


def shown_together(views: list[View], along: bool) -> Shown:
    """Source and transfers side by side, each under its setting."""
    names = [f"Capacity {v.result.capacity:g}" if along else v.result.family.capitalize() for v in views]
    return draw_sweep(views, names)
