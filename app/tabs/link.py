"""A link to what is on the page: both clips, the dial, the tab and the chosen point."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gradio as gr

from app.components.action_map import map_value
from app.components.choices import choice_value
from app.components.tabs import VIEWS
from app.piece import FEWEST_FRAMES, FRAMES, MOST_FRAMES
from app.studio import Studio
from app.tabs.action_map import MapParts
from app.tabs.selection import PRIVATE, Selection
from app.tabs.transfer import TransferRun

# Reads the page as it is; an uploaded video cannot travel in a link, and the message says so.
COPY = """
(tab, source, sourceStart, frames, target, targetStart, family, capacity, map) => {
  const link = new URL(window.location.origin + window.location.pathname);
  const add = (name, value) => link.searchParams.set(name, value);
  const chosen = { source: source && source.chosen, target: target && target.chosen };
  for (const role of ["source", "target"]) if (chosen[role] && chosen[role] !== "upload") add(role, chosen[role]);
  if (sourceStart) add("source_start", sourceStart);
  if (frames && frames !== USUAL) add("frames", frames);
  if (targetStart) add("target_start", targetStart);
  add("family", family);
  add("capacity", capacity);
  add("tab", tab);
  if (map && Number.isInteger(map.selected)) add("point", map.selected);
  const button = document.querySelector("#copy-link");
  button.dataset.link = link.href;
  const uploads = Object.values(chosen).includes("upload");
  const said = uploads ? "Copied, without the uploads" : "Copied";
  navigator.clipboard?.writeText(link.href).catch(() => {});
  button.textContent = said;
  setTimeout(() => { button.textContent = "Copy link"; }, 2500);
}
"""


@dataclass(frozen=True, kw_only=True)
class Linked:
    """What a link asks for; None: as it is."""

    source: str | None
    target: str | None
    source_start: float
    target_start: float
    frames: int
    family: str | None
    capacity: float | None
    tab: str | None
    point: int | None


def read_link(studio: Studio, query: dict[str, str]) -> Linked:
    """A link's wishes, as far as this copy can fulfil them: what is not known here is left as it is."""
    files = {clip.file for clip in studio.gallery.clips}

    def number(name: str, low: float, high: float) -> float | None:
        try:
            value = float(query.get(name, ""))
        except ValueError:
            return None
        return value if math.isfinite(value) and low <= value <= high else None

    def one_of(name: str, known) -> str | None:
        return query.get(name) if query.get(name) in known else None

    point = number("point", 0, len(studio.atlas) - 1) if studio.atlas else None
    return Linked(
        source=one_of("source", files),
        target=one_of("target", files),
        source_start=number("source_start", 0, 3600) or 0.0,
        target_start=number("target_start", 0, 3600) or 0.0,
        frames=round(number("frames", FEWEST_FRAMES, MOST_FRAMES) or FRAMES),
        family=one_of("family", studio.model.families),
        capacity=number("capacity", 0, 1),
        tab=one_of("tab", VIEWS),
        point=None if point is None else int(point),
    )


def wire_link(
    page: gr.Blocks,
    copy: gr.Button,
    tabs: gr.HTML,
    selection: Selection,
    on_map: MapParts | None,
    studio: Studio,
    run: TransferRun,
) -> None:
    """The button, and what a visitor who comes by a link finds."""
    source, target = selection.source, selection.target
    seen = [
        source.choices,
        source.start,
        source.frames,
        target.choices,
        target.start,
        selection.family,
        selection.capacity,
    ]
    map_now = [on_map.map] if on_map else []
    copy.click(None, [tabs, *seen, *map_now], None, js=COPY.replace("USUAL", str(FRAMES)), **PRIVATE)

    linked = gr.State(False)
    outputs = [linked, tabs, *seen, *map_now]

    def open_link(request: gr.Request) -> tuple:
        """Puts everything that the address names into its place."""
        query = dict(request.query_params)
        wish = read_link(studio, query)
        asked = any(value is not None for value in (wish.source, wish.target, wish.family, wish.capacity, wish.point))
        put = lambda value: gr.skip() if value is None else value
        side = lambda file: gr.skip() if file is None else choice_value(file)
        tab = gr.skip() if wish.tab is None else wish.tab
        numbers = (wish.source_start, wish.frames, wish.target_start) if asked else (gr.skip(),) * 3
        places = side(wish.source), *numbers[:2], side(wish.target), numbers[2], put(wish.family), put(wish.capacity)
        on = [map_value(selected=wish.point) if wish.point is not None else gr.skip()] if on_map else []
        return asked, tab, *places, *on

    page.load(open_link, None, outputs, show_progress="hidden", **PRIVATE)
    run.on([linked.change])  # and nothing is asked for by a page that is opened without a link
