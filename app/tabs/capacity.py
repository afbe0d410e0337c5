"""The tab `Capacity`: the current pair at several settings, and scores against capacity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from app.components.curves import build_curves, setting_value
from app.components.message import message_value
from app.components.panels import build_panels, panels_value
from app.jobs import Check, Jobs, job
from app.studio import Studio
from app.tabs.selection import (
    PRIVATE,
    Selection,
    build_cancel,
    error_message,
    on_events,
    result_queue,
    select_clips,
    setting_text,
    wire_cancel,
)
from app.views import View, draw_sweep

CAPACITIES, BOTTLENECKS = "Five capacities", "All bottlenecks"
SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAD = (
    "Compare the same transfer at several settings. At a low capacity, actions encode coarse motion only; at a high "
    "capacity, they can also encode appearance. The curves are measured on held-out clips."
)


@dataclass(frozen=True, kw_only=True)
class CapacityParts:
    """Components of the tab."""

    compare: gr.Radio
    run: gr.Button
    cancel: gr.Button
    panels: gr.HTML
    curves: gr.HTML


def build_capacity_tab(studio: Studio, curves: list[dict]) -> CapacityParts:
    """Build the comparison and, below it, the curves of scores against capacity."""
    gr.Markdown(LEAD, elem_classes="lead")
    with gr.Row(elem_classes="compare"):
        compare = gr.Radio([CAPACITIES, BOTTLENECKS], value=CAPACITIES, label="Comparison", elem_id="compare", scale=4)
        run = gr.Button("Compare", elem_id="run-sweep", scale=1, min_width=140, size="sm")
        cancel = build_cancel("sweep")
    panels = build_panels(None, "sweep", "The comparison appears here.")
    built_curves = build_curves(curves, studio.model.family_names[0], 1.0, "curves")
    return CapacityParts(compare=compare, run=run, cancel=cancel, panels=panels, curves=built_curves)


def wire_capacity_tab(parts: CapacityParts, tabs: gr.HTML, selection: Selection, studio: Studio) -> None:
    """Run a comparison when the tab opens and on request; mark the current setting on the curves when it changes."""
    gr.on(
        [selection.capacity.change, selection.family.input, tabs.expand],
        setting_value,
        selection.setting,
        parts.curves,
        queue=False,
        show_progress="hidden",
        **PRIVATE,
    )
    on_events(
        [parts.run.click, parts.compare.input, tabs.expand],
        sweep_handler(studio, selection.jobs),
        [parts.compare, *selection.request],
        [selection.message, parts.panels],
        show_progress_on=parts.panels,
        **result_queue(studio),
        **PRIVATE,
    )
    wire_cancel(parts.cancel, "sweep", selection.jobs)


def sweep_handler(studio: Studio, jobs: Jobs) -> Callable:
    """Return the handler that compares settings and shows each result as soon as it is computed."""

    @job("sweep")
    def compare_settings(
        request: gr.Request,
        compare: str,
        *values: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio finds it as a default
    ) -> Iterator[tuple]:
        """Show the transfer of the current pair at five capacities, or with each bottleneck.

        values: values of the inputs of both clips, the family and the capacity.
        """
        *sides, family, capacity = values
        by_capacity = compare != BOTTLENECKS
        families = studio.model.family_names
        settings = [(family, value) for value in SWEEP] if by_capacity else [(name, capacity) for name in families]
        views: list[View] = []
        for i, setting in enumerate(settings):

            def work(check: Check, i: int = i, setting: tuple = setting) -> View:
                def report(fraction: float, _: str) -> None:
                    check()
                    progress((i + fraction) / len(settings), desc=setting_text(*setting))

                clips = select_clips(studio, sides)
                return studio.transfer(*clips, family=setting[0], capacity=setting[1], progress=report)

            progress(i / len(settings), desc=setting_text(*setting))
            try:
                views.append(jobs.run("sweep", request, work))
            except Exception as error:
                yield error_message(error), gr.skip()
                return
            titles = [f"Capacity {v.result.capacity:g}" if by_capacity else v.result.family.capitalize() for v in views]
            yield message_value(), panels_value(draw_sweep(views, titles))

    return compare_settings
