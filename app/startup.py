"""The parts of the page that do not need Gradio: model, studio and first result. `app.main` opens them in a thread."""

from __future__ import annotations

import argparse
from concurrent.futures import Executor
from pathlib import Path

import lawm_core as lawm
from app.clip_selection import ClipSelection
from app.studio import Studio
from app.views import View


def open_studio(options: argparse.Namespace, executor: Executor) -> tuple[Path, Studio, View | None]:
    """Load the model, and return its folder, the studio and the first result.

    The files of the first result are written, and `executor` draws the gallery's thumbnails in another thread. Raises
    lawm.CheckpointError if the model cannot be loaded, and ValueError if another option is invalid.
    """
    folder = lawm.find_model(options.model)  # only once, because files on the Hub may change
    model = lawm.load_model(folder)
    studio = Studio(model, options.gallery, lawm.fingerprint(folder), options.library)
    executor.submit(studio.draw_gallery)
    first = first_result(studio)
    if first is not None:
        studio.export(first)
    return folder, studio, first


def first_result(studio: Studio) -> View | None:
    """Return the transfer of the gallery's first pair, which the page shows when it opens; None without pairs."""
    if not studio.gallery.pairs:
        return None
    pair = studio.gallery.pairs[0]
    return studio.transfer(*(ClipSelection.of(studio.gallery.path(file)) for file in (pair.source, pair.target)))
