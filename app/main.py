"""Starts the page: `python -m app`, `python app/main.py`, or a Space with `app_file: app/main.py`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a file: Python then looks for modules in app/ instead of the folder above it
    sys.path[0] = str(ROOT)

from app.options import BAD_MODEL, NAME, answer_early, read_options  # noqa: E402

if __name__ == "__main__":
    answer_early()
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read while Gradio is imported
if os.environ.get("SPACES_ZERO_GPU") and find_spec("spaces"):
    import spaces  # noqa: F401 - it stands in for CUDA on ZeroGPU, so it comes before torch

from app.gradio_import import import_gradio  # noqa: E402

import_gradio()

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

import lawm_core as lawm  # noqa: E402
from app.door import UPLOAD_BYTES, Door, fetch_no_addresses  # noqa: E402
from app.figures import read_curves  # noqa: E402
from app.heap import keep_few_heaps, start_trimming  # noqa: E402
from app.layout import build_page, read_look  # noqa: E402
from app.piece import Piece  # noqa: E402
from app.studio import Studio  # noqa: E402
from app.sweeper import Sweeper  # noqa: E402
from app.views import View  # noqa: E402
from app.visitors import remember_states_alone  # noqa: E402
from app.zero import borrow_gpu, is_announced  # noqa: E402

NO_PORT = 5  # exit status
NO_MCP = 6
NO_SPACES = 7


def main(arguments: list[str] | None = None) -> int:
    """Loads the model, computes the first result, serves the page until it is told to stop."""
    options = read_options(arguments)
    if is_announced() and not find_spec("spaces"):
        print("lawm-explorer: a Space with ZeroGPU needs one more package: pip install spaces", file=sys.stderr)
        return NO_SPACES
    keep_few_heaps()
    try:
        folder = lawm.find_model(options.model)  # once: what lies on the Hub may change
        model = lawm.load_model(folder)
    except lawm.CheckpointError as error:
        print(f"lawm-explorer: {error}", file=sys.stderr)
        return BAD_MODEL
    if options.mcp and not find_spec("mcp"):
        print("lawm-explorer: --mcp needs one more package: pip install 'gradio[mcp]'", file=sys.stderr)
        return NO_MCP
    start_trimming()
    uploads = private_folder()
    studio = Studio(model, options.gallery, lawm.fingerprint(folder), options.library)
    first = first_result(studio)
    if is_announced():  # from here on: nobody has asked for the first result, so no GPU is borrowed for it
        studio.elsewhere = borrow_gpu(model)
    curves, card = read_curves(folder / "report" / "report.json"), folder / "card.md"
    card_text = card.read_text(encoding="utf-8") if card.is_file() else None
    page = build_page(studio, first, curves, card_text, options.keep, options.behind_proxy)
    fetch_no_addresses()
    remember_states_alone()
    Sweeper(studio.exports, options.keep, studio.export_lock)
    Sweeper(Path(uploads.name), options.keep)  # Gradio deletes what it remembers, and it forgets some
    try:
        return serve(page, studio, options)
    except OSError as error:
        print(f"lawm-explorer: port {options.port} cannot be used: {error}", file=sys.stderr)
        return NO_PORT


def private_folder() -> tempfile.TemporaryDirectory:
    """Where Gradio puts uploads and results: a folder of this run alone, which goes with it."""
    place = os.environ.get("GRADIO_TEMP_DIR")
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="lawm-uploads-", dir=place)
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    return folder


def first_result(studio: Studio) -> View | None:
    """The first pair's transfer, so that the page opens with something to look at."""
    if not studio.gallery.pairs:
        return None
    pair = studio.gallery.pairs[0]
    return studio.transfer(*(Piece.of(studio.gallery.path(file)) for file in (pair.source, pair.target)))


def serve(page: gr.Blocks, studio: Studio, options: argparse.Namespace) -> int:
    """Opens the port, says where, and waits."""
    _, address, _ = page.launch(
        server_name=options.host,
        server_port=options.port,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=options.mcp,
        show_error=False,  # handlers say what people need; the rest stays in the log
        run_history=False,
        enable_monitoring=False,
        strict_cors=True,
        allowed_paths=[],
        max_file_size=UPLOAD_BYTES,
        app_kwargs={"middleware": [Middleware(Door)]},
        max_threads=16,
        state_session_capacity=200,
        footer_links=[],
        **read_look(studio),
    )
    print(f"{NAME} is ready: {address}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly end, in which temporary files are removed
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
