"""What the page is built from: model, studio and first result. It needs no Gradio, and is computed while that is
imported.
"""

from __future__ import annotations

import argparse
from concurrent.futures import Executor
from pathlib import Path

import lawm_core as lawm
from app.piece import Piece
from app.studio import Studio
from app.views import View


def open_studio(options: argparse.Namespace, beside: Executor) -> tuple[Path, Studio, View | None]:
    """The model's folder, the studio and the first result, with the files that its page offers.

    beside: where the gallery is drawn meanwhile; the studio keeps it until the page is served. Raises
    lawm.CheckpointError.
    """
    folder = lawm.find_model(options.model)  # once: what lies on the Hub may change
    model = lawm.load_model(folder)
    studio = Studio(model, options.gallery, lawm.fingerprint(folder), options.library)
    beside.submit(studio.draw_gallery)
    first = first_result(studio)
    if first is not None:
        studio.export(first)
    return folder, studio, first


def first_result(studio: Studio) -> View | None:
    """The first pair's transfer, so that the page opens with something to look at."""
    if not studio.gallery.pairs:
        return None
    pair = studio.gallery.pairs[0]
    return studio.transfer(*(Piece.of(studio.gallery.path(file)) for file in (pair.source, pair.target)))
