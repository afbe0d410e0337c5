"""Entry point of the web page: `python -m app`, `python app/main.py`, or a Space with `app_file: app/main.py`."""

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
if not __package__:  # run as a file: Python then searches for modules in app/ instead of the folder above it
    sys.path[0] = str(ROOT)

from app.options import BAD_MODEL, NAME, PROGRAM, USAGE, check_early, is_zerogpu, parse_options  # noqa: E402

if __name__ == "__main__":
    check_early()
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio reads it when it is imported
# PyTorch reads this when it is imported. By default, its threads wait for each other in busy loops, and computations
# take up to ten times as long while other threads are busy, as they are here during the import of Gradio.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if os.environ.get("SPACES_ZERO_GPU") and find_spec("spaces"):
    import spaces  # noqa: F401 - it replaces CUDA on ZeroGPU, so it must be imported before torch

import lawm_core as lawm  # noqa: E402
from app.file_expiry import FileExpiry  # noqa: E402
from app.gradio_patches import block_downloads, import_gradio, keep_state_only  # noqa: E402
from app.malloc_trim import limit_arenas, pause_garbage_collection, start_trimming  # noqa: E402
from app.startup import open_studio  # noqa: E402
from app.studio import Studio  # noqa: E402

if TYPE_CHECKING:
    import gradio as gr

    from app.live import LiveDesk

NO_PORT, NO_MCP, NO_SPACES = 5, 6, 7  # exit statuses


def main(arguments: list[str] | None = None) -> int:
    """Load the model, compute the first result, and serve the page until SIGTERM; return the exit status.

    To start faster, other threads load the model and compute the result while this one imports Gradio.
    """
    options = parse_options(arguments)
    if is_zerogpu() and not find_spec("spaces"):
        return fail(NO_SPACES, "ZeroGPU requires the package `spaces`, which is not installed: pip install spaces")
    if options.mcp and not find_spec("mcp"):
        return fail(NO_MCP, "--mcp requires the package `mcp`, which is not installed: pip install 'gradio[mcp]'")
    limit_arenas()
    start_trimming()
    uploads = create_upload_folder()
    with ThreadPoolExecutor(2) as executor, pause_garbage_collection():
        opened = executor.submit(open_studio, options, executor)
        import_gradio()
        from app.layout import build_page
        from app.live import LiveDesk
        from app.report_curves import read_curves
        from app.zerogpu import zerogpu_compute

        try:
            folder, studio, first = opened.result()
        except lawm.CheckpointError as error:
            return fail(BAD_MODEL, str(error))
        except ValueError as error:  # for example, an invalid LAWM_PRECISION or gallery.json
            return fail(USAGE, str(error))
        if is_zerogpu():  # set only now, so that the first result was computed on the CPU
            studio.remote_compute = zerogpu_compute(studio.model)
        curves, card = read_curves(folder / "report" / "report.json"), folder / "card.md"
        card_text = card.read_text(encoding="utf-8") if card.is_file() else None
        desk = LiveDesk(studio)
        page = build_page(studio, first, curves, card_text, options.keep, options.behind_proxy, desk)
    block_downloads()
    keep_state_only()
    FileExpiry(studio.export_folder, options.keep, studio.export_lock)
    FileExpiry(Path(uploads.name), options.keep)  # Gradio keeps the uploads of sessions that it has forgotten
    try:
        return serve(page, studio, desk, options)
    except OSError as error:
        return fail(NO_PORT, f"port {options.port} cannot be used. Choose another one with --port. ({error})")


def fail(status: int, message: str) -> int:
    """Print an error message and return the exit status."""
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return status


def create_upload_folder() -> tempfile.TemporaryDirectory:
    """Create a folder for Gradio's uploads and results, and set GRADIO_TEMP_DIR to it.

    Returns the folder, which must stay referenced: it is removed when the object is deleted or the process exits.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR")
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix="lawm-uploads-", dir=parent)
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    return folder


def serve(page: gr.Blocks, studio: Studio, desk: LiveDesk, options: argparse.Namespace) -> int:
    """Open the port, print the page's address, and block until the process is stopped.

    Raises OSError if the port cannot be used.
    """
    from starlette.middleware import Middleware

    from app.gradio_patches import limit_websockets
    from app.layout import page_style
    from app.live import Seats
    from app.live_socket import live_route
    from app.middleware import MAX_UPLOAD_BYTES, RequestFilter

    limit_websockets(max_bytes=2 * desk.frame_bytes, max_queue=4)
    server, address, _ = page.launch(
        server_name=options.host,
        server_port=options.port,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        share=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=options.mcp,
        show_error=False,  # handlers return messages for users; all other errors are only logged
        run_history=False,
        enable_monitoring=False,
        strict_cors=True,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD_BYTES,
        app_kwargs={"middleware": [Middleware(RequestFilter)]},
        max_threads=16,
        state_session_capacity=32,  # sessions in memory; one with a drive of 64 steps takes 13 MB
        footer_links=[],
        **page_style(studio),
    )
    server.router.routes.insert(0, live_route(desk, Seats()))
    print(f"{NAME} is ready: {address}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly exit, which removes temporary files
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
