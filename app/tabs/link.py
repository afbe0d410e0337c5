"""Links that open the page with the same clips, setting, tab and selected point."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import gradio as gr

from app.clip_selection import FRAMES, MAX_FRAMES, MIN_FRAMES
from app.components.action_map import map_value
from app.components.choices import choice_value
from app.components.tabs import TABS
from app.studio import Studio
from app.tabs.action_map import MapParts
from app.tabs.selection import PRIVATE, Selection
from app.tabs.transfer import TransferRun

MAX_START_SECONDS = 3600
# Copies a link to the current page. Uploaded videos cannot be part of it, and the button says so.
COPY = """
(tab, source, sourceStart, frames, target, targetStart, family, capacity, map) => {
  const link = new URL(window.location.origin + window.location.pathname);
  const add = (name, value) => link.searchParams.set(name, value);
  const chosen = { source: source && source.chosen, target: target && target.chosen };
  for (const role of ["source", "target"]) if (chosen[role] && chosen[role] !== "upload") add(role, chosen[role]);
  if (sourceStart) add("source_start", sourceStart);
  if (frames && frames !== DEFAULT_FRAMES) add("frames", frames);
  if (targetStart) add("target_start", targetStart);
  add("family", family);
  add("capacity", capacity);
  add("tab", tab);
  if (map && Number.isInteger(map.selected)) add("point", map.selected);
  const button = document.querySelector("#copy-link");
  button.dataset.link = link.href;
  navigator.clipboard?.writeText(link.href).catch(() => {});
  button.textContent = Object.values(chosen).includes("upload") ? "Copied (without uploads)" : "Copied";
  setTimeout(() => { button.textContent = "Copy link"; }, 2500);
}
"""


@dataclass(frozen=True, kw_only=True)
class LinkTarget:
    """What a link opens. A field that is None leaves the page's value as it is."""

    source: str | None
    target: str | None
    source_start: float
    target_start: float
    frames: int
    family: str | None
    capacity: float | None
    tab: str | None
    point: int | None


def read_link(studio: Studio, query: dict[str, str]) -> LinkTarget:
    """Parse the parameters of a link. Invalid ones, for example clips that this gallery lacks, are ignored."""

    def number(name: str, low: float, high: float) -> float | None:
        try:
            value = float(query.get(name, ""))
        except ValueError:
            return None
        return value if math.isfinite(value) and low <= value <= high else None

    def one_of(name: str, values: Collection[str]) -> str | None:
        return query.get(name) if query.get(name) in values else None

    files = {video.file for video in studio.gallery.videos}
    point = number("point", 0, len(studio.action_map) - 1) if studio.action_map else None
    return LinkTarget(
        source=one_of("source", files),
        target=one_of("target", files),
        source_start=number("source_start", 0, MAX_START_SECONDS) or 0.0,
        target_start=number("target_start", 0, MAX_START_SECONDS) or 0.0,
        frames=round(number("frames", MIN_FRAMES, MAX_FRAMES) or FRAMES),
        family=one_of("family", studio.model.family_names),
        capacity=number("capacity", 0, 1),
        tab=one_of("tab", TABS),
        point=None if point is None else int(point),
    )


def wire_link(
    page: gr.Blocks,
    copy: gr.Button,
    tabs: gr.HTML,
    selection: Selection,
    map_parts: MapParts | None,
    studio: Studio,
    run: TransferRun,
) -> None:
    """Wire the button that copies a link; when the page loads, apply the parameters of its URL.

    run: starts a transfer after a link was opened.
    """
    source, target = selection.source, selection.target
    linked = [source.choices, source.start, source.frames, target.choices, target.start, *selection.setting]
    action_map = [map_parts.map] if map_parts else []
    copy.click(None, [tabs, *linked, *action_map], None, js=COPY.replace("DEFAULT_FRAMES", str(FRAMES)), **PRIVATE)
    has_link = gr.State(False)

    def open_link(request: gr.Request) -> tuple:
        """Set every input that the link has a value for."""
        link = read_link(studio, dict(request.query_params))
        named = (link.source, link.target, link.family, link.capacity, link.point)
        is_link = any(value is not None for value in named)
        or_skip = lambda value: gr.skip() if value is None else value
        choice = lambda file: gr.skip() if file is None else choice_value(file)
        source_start, frames, target_start = (
            (link.source_start, link.frames, link.target_start) if is_link else (gr.skip(),) * 3
        )
        point = [map_value(selected=link.point) if link.point is not None else gr.skip()] if map_parts else []
        return (
            is_link, or_skip(link.tab), choice(link.source), source_start, frames, choice(link.target), target_start,
            or_skip(link.family), or_skip(link.capacity), *point,
        )  # fmt: skip

    page.load(open_link, None, [has_link, tabs, *linked, *action_map], show_progress="hidden", **PRIVATE)
    run.on([has_link.change])  # without a link, the first result is already on the page
