"""Starts the page: `python -m app`, `python app/main.py`, or a Space with `app_file: app/main.py`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a file: Python then looks for modules in app/ instead of the folder above it
    sys.path[0] = str(ROOT)

from app.options import BAD_MODEL, NAME, USAGE, answer_early, is_announced, read_options  # noqa: E402

if __name__ == "__main__":
    answer_early()
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read while Gradio is imported
# Read while torch is imported. Its threads would otherwise wait for each other in loops that keep processors busy: with
# anything else to do, as here while Gradio is imported, results take up to ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if os.environ.get("SPACES_ZERO_GPU") and find_spec("spaces"):
    import spaces  # noqa: F401 - it stands in for CUDA on ZeroGPU, so it comes before torch

import lawm_core as lawm  # noqa: E402
from app.gradio_import import import_gradio  # noqa: E402
from app.heap import keep_few_heaps, pause_collection, start_trimming  # noqa: E402
from app.opening import open_studio  # noqa: E402
from app.studio import Studio  # noqa: E402
from app.sweeper import Sweeper  # noqa: E402

if TYPE_CHECKING:
    import gradio as gr

NO_PORT = 5  # exit status
NO_MCP = 6
NO_SPACES = 7


def main(arguments: list[str] | None = None) -> int:
    """Loads the model, computes the first result, serves the page until it is told to stop.

    What is computed goes on in threads of its own while Gradio is imported here and the page is built.
    """
    options = read_options(arguments)
    if is_announced() and not find_spec("spaces"):
        print("lawm-explorer: a Space with ZeroGPU needs one more package: pip install spaces", file=sys.stderr)
        return NO_SPACES
    if options.mcp and not find_spec("mcp"):
        print("lawm-explorer: --mcp needs one more package: pip install 'gradio[mcp]'", file=sys.stderr)
        return NO_MCP
    keep_few_heaps()
    start_trimming()
    uploads = private_folder()
    with ThreadPoolExecutor(2) as beside, pause_collection():
        opened = beside.submit(open_studio, options, beside)
        import_gradio()
        from app.door import fetch_no_addresses
        from app.figures import read_curves
        from app.layout import build_page
        from app.visitors import remember_states_alone
        from app.zero import borrow_gpu

        try:
            folder, studio, first = opened.result()
        except lawm.CheckpointError as error:
            print(f"lawm-explorer: {error}", file=sys.stderr)
            return BAD_MODEL
        except ValueError as error:  # LAWM_PRECISION
            print(f"lawm-explorer: {error}", file=sys.stderr)
            return USAGE
        if is_announced():  # from here on: nobody has asked for the first result, so no GPU is borrowed for it
            studio.elsewhere = borrow_gpu(studio.model)
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


def serve(page: gr.Blocks, studio: Studio, options: argparse.Namespace) -> int:
    """Opens the port, says where, and waits."""
    from starlette.middleware import Middleware

    from app.door import UPLOAD_BYTES, Door
    from app.layout import read_look

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
        state_session_capacity=32,  # a drive of 64 steps keeps 13 MB of pictures
        footer_links=[],
        **read_look(studio),
    )
    print(f"{NAME} is ready: {address}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly end, in which temporary files are removed
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
