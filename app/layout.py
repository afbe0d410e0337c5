"""The whole page on one screen of code: header, the dial, tabs in order, both clips."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.components import build_piece
from app.components.action_map import static_paths
from app.components.choices import gallery_style
from app.components.message import build_message
from app.components.tabs import build_tabs, pane
from app.fairness import queue_fairly
from app.jobs import Jobs
from app.options import KEEP_SECONDS, NAME
from app.pictures import data_uri
from app.studio import Studio
from app.tabs.about import build_about_tab
from app.tabs.action_map import build_map_tab, wire_map_tab
from app.tabs.capacity import build_capacity_tab, wire_capacity_tab
from app.tabs.compose import build_compose_tab, wire_compose_tab
from app.tabs.drive import build_drive_tab, wire_drive_tab
from app.tabs.endpoints import build_endpoints, check_endpoints
from app.tabs.link import wire_link
from app.tabs.selection import ELSEWHERE, PRIVATE, Selection, build_dials, build_sides
from app.tabs.transfer import build_transfer_tab, wire_transfer_tab
from app.views import View

PROMISE = "Read the actions out of one video, and let them happen in another."
FOLDER = Path(__file__).parent


def build_page(
    studio: Studio, first: View | None, curves: list[dict], card: str | None = None, keep_seconds: int = KEEP_SECONDS,
    behind_proxy: bool = False,
) -> gr.Blocks:  # fmt: skip
    """Every tab, in order. `first` is the result that is on the page when it opens; curves: see `app.figures`;
    keep_seconds: how long uploads and results stay on the disk; behind_proxy: whether a proxy says who asks.
    """
    gr.set_static_paths(static_paths(studio.atlas))
    with gr.Blocks(title=NAME, analytics_enabled=False, delete_cache=(max(1, keep_seconds // 6), keep_seconds)) as page:
        copy = build_header(studio)
        message = build_message("message")
        capacity, family, run, stop = build_dials(studio)
        tabs = build_tabs("tabs")
        with pane("transfer"):
            transfer = build_transfer_tab(studio, first)
        with pane("action-map"):
            action_map = build_map_tab(studio)
        with pane("compose"):
            compose = build_compose_tab(studio)
        with pane("capacity"):
            sweep = build_capacity_tab(studio, curves)
        with pane("drive"):
            drive = build_drive_tab(studio)
        with pane("about"):
            build_about_tab(studio, card)
        source, target = build_sides(studio, studio.gallery.pairs[0] if first else None)
        selection = Selection(
            jobs=Jobs(), message=message, family=family, capacity=capacity, run=run, stop=stop, source=source,
            target=target,
        )  # fmt: skip

        run_transfer = wire_transfer_tab(transfer, selection, studio)
        run.click(None, None, tabs, js="() => 'transfer'", **PRIVATE)  # where its result is
        if action_map:
            wire_map_tab(action_map, tabs, selection, studio)
        recorded = wire_drive_tab(drive, compose.script, tabs, selection, studio) if drive else None
        wire_compose_tab(compose, action_map, selection, studio, [recorded] if recorded else [])
        wire_capacity_tab(sweep, tabs, selection, studio)
        wire_link(page, copy, tabs, selection, action_map, studio, run_transfer)
        build_endpoints(studio)
    page = queue_fairly(check_endpoints(page), concurrency=2, behind_proxy=behind_proxy, in_order={ELSEWHERE})
    selection.jobs.hurry = page._queue.hurry
    return page


def build_header(studio: Studio) -> gr.Button:
    """Name, promise, which model answers, and the button that copies a link."""
    model = studio.model
    badge = f"{model.name} · {model.parameter_count() / 1e6:.1f} M weights"
    with gr.Row(elem_classes="top"):
        build_piece("masthead", [NAME, PROMISE, badge])
        return gr.Button("Copy link", size="sm", elem_id="copy-link", scale=0, min_width=110)


def read_look(studio: Studio) -> dict:
    """Theme, style and script for `launch`; fonts are those the reader's system has, nothing is fetched."""
    picture = studio.draw_gallery()
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    return {
        "theme": gr.themes.Base(
            primary_hue="teal",
            secondary_hue="teal",
            neutral_hue="stone",
            radius_size="lg",
            text_size="md",
            font=["ui-sans-serif", "system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        "css": gallery_style(picture and data_uri(picture), len(studio.gallery.clips)) + style,
        "js": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "favicon_path": FOLDER / "favicon.png",
    }
