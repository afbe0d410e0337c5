"""The whole page: header, setting, tabs, and the choice of both clips."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.components import build_component
from app.components.action_map import static_paths
from app.components.choices import gallery_style
from app.components.message import build_message
from app.components.tabs import build_tabs, tab_content
from app.gradio_patches import add_input_checks
from app.jobs import Jobs
from app.live import LiveDesk
from app.options import KEEP_SECONDS, NAME
from app.pictures import data_uri
from app.queueing import use_fair_queue
from app.studio import Studio
from app.tabs.about import build_about_tab
from app.tabs.action_map import build_map_tab, wire_map_tab
from app.tabs.capacity import build_capacity_tab, wire_capacity_tab
from app.tabs.compose import build_compose_tab, wire_compose_tab
from app.tabs.drive import build_drive_tab, wire_drive_tab
from app.tabs.endpoints import build_endpoints, check_input
from app.tabs.link import wire_link
from app.tabs.live import build_live_tab, wire_live_tab
from app.tabs.selection import PRIVATE, REMOTE, Selection, build_settings, build_sides
from app.tabs.touch import build_touch_tab, wire_touch_tab
from app.tabs.transfer import build_transfer_tab, wire_transfer_tab
from app.views import View

TAGLINE = "Copy the motion of one video to another, with latent actions learned without labels."
FOLDER = Path(__file__).parent


def build_page(
    studio: Studio, first: View | None, curves: list[dict], card: str | None = None, keep_seconds: int = KEEP_SECONDS,
    behind_proxy: bool = False, desk: LiveDesk | None = None,
) -> gr.Blocks:  # fmt: skip
    """Build the page.

    first: the result that is on the page when it opens, if any. curves: scores against capacity, as returned by
    `report_curves.read_curves`. card: the model card in Markdown, if there is one. keep_seconds: how long uploads and
    results are kept. behind_proxy: see `queueing.FairQueue`. desk: holds the live sessions, which the server's
    WebSocket (`live_socket`) needs too.
    """
    desk = desk or LiveDesk(studio)
    gr.set_static_paths(static_paths(studio.action_map))
    with gr.Blocks(title=NAME, analytics_enabled=False, delete_cache=(max(1, keep_seconds // 6), keep_seconds)) as page:
        copy = build_header(studio)
        message = build_message("message")
        capacity, family, run, cancel = build_settings(studio)
        tabs = build_tabs("tabs")
        with tab_content("transfer"):
            transfer = build_transfer_tab(studio, first)
        with tab_content("touch"):
            touch = build_touch_tab()
        with tab_content("live"):
            live = build_live_tab(studio)
        with tab_content("action-map"):
            action_map = build_map_tab(studio)
        with tab_content("compose"):
            compose = build_compose_tab(studio)
        with tab_content("capacity"):
            sweep = build_capacity_tab(studio, curves)
        with tab_content("drive"):
            drive = build_drive_tab(studio)
        with tab_content("about"):
            build_about_tab(studio, card)
        source, target = build_sides(studio, studio.gallery.pairs[0] if first else None)
        selection = Selection(
            jobs=Jobs(), message=message, family=family, capacity=capacity, run=run, cancel=cancel, source=source,
            target=target,
        )  # fmt: skip

        run_transfer = wire_transfer_tab(transfer, selection, studio)
        run.click(None, None, tabs, js="() => 'transfer'", **PRIVATE)  # open the tab of the result
        if action_map:
            wire_map_tab(action_map, tabs, selection, studio)
        to_script = [wire_touch_tab(touch, compose.script, tabs, selection, studio)]
        to_script.append(wire_live_tab(live, compose.script, tabs, selection, studio, desk))
        if drive:
            to_script.append(wire_drive_tab(drive, compose.script, tabs, selection, studio))
        wire_compose_tab(compose, action_map, selection, studio, to_script)
        wire_capacity_tab(sweep, tabs, selection, studio)
        wire_link(page, copy, tabs, selection, action_map, studio, run_transfer)
        build_endpoints(studio)
    add_input_checks(page, check_input)
    queue = use_fair_queue(page, concurrency=2, behind_proxy=behind_proxy, in_order={REMOTE})
    selection.jobs.expedite = queue.expedite
    return page


def build_header(studio: Studio) -> gr.Button:
    """Build the header (name, tagline and model) and return its button, which copies a link."""
    model = studio.model
    badge = f"{model.name} · {model.parameter_count() / 1e6:.1f} M parameters"
    with gr.Row(elem_classes="top"):
        build_component("header", [NAME, TAGLINE, badge])
        return gr.Button("Copy link", size="sm", elem_id="copy-link", scale=0, min_width=110)


def page_style(studio: Studio) -> dict:
    """Return the arguments of `launch` for theme, CSS, JavaScript and icon. Fonts are those of the user's system."""
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
        "css": gallery_style(picture and data_uri(picture), len(studio.gallery.videos)) + style,
        "js": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "favicon_path": FOLDER / "favicon.png",
    }
