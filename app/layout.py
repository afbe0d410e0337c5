"""The whole page on one screen of code: header, then tabs in order."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.components import build_piece
from app.components.choices import gallery_style
from app.pictures import data_uri
from app.studio import Studio
from app.tabs.about import build_about_tab
from app.tabs.transfer import build_transfer_tab
from app.views import View

NAME = "LAWM Explorer"
PROMISE = "Read the actions out of one video, and let them happen in another."
FOLDER = Path(__file__).parent


def build_page(studio: Studio, first: View | None, card: str | None = None) -> gr.Blocks:
    """Every tab, in order. `first` is the result that is on the page when it opens."""
    with gr.Blocks(title=NAME, analytics_enabled=False, delete_cache=(600, 3600)) as page:
        build_header(studio)
        with gr.Tabs():
            with gr.Tab("Transfer", id="transfer"):
                build_transfer_tab(studio, first)
            with gr.Tab("About", id="about"):
                build_about_tab(studio, card)
    return page.queue(max_size=32, default_concurrency_limit=2)


def build_header(studio: Studio) -> None:
    """Name, promise and which model answers."""
    model = studio.model
    badge = f"{model.name} · {model.parameter_count() / 1e6:.1f} M weights"
    build_piece("masthead", [NAME, PROMISE, badge])


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
