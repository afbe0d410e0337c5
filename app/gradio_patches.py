"""All patches of Gradio internals, one function for each, written for Gradio 6.31.0.

`INTERNALS` lists the private or undocumented attributes that the patches and `app.queueing` rely on, with a hash of
their source. `tests/app/test_gradio_patches.py` fails if one of them changes: read the new source, adapt the patch, and
update hash and version here.

This module imports Gradio only inside its functions, because `import_gradio` must be called before any other import.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr
    from gradio.queueing import Queue

GRADIO_VERSION = "6.31.0"
INTERNALS = {  # qualified name: first 16 hex digits of the SHA-256 of its source
    # import_gradio
    "gradio.component_meta.create_or_modify_pyi": "b40501ddad1680d0",
    "gradio.component_meta.ComponentMeta.__new__": "045519149e172a90",
    # block_downloads
    "gradio.processing_utils.async_ssrf_protected_download": "01dca5b9abc47af9",
    "gradio.processing_utils.ssrf_protected_download": "17a69323facc5711",
    # keep_state_only, app.sessions
    "gradio.state_holder.SessionState": "cf7fe46100804541",
    "gradio.state_holder.StateHolder.__getitem__": "eff490951a5ffb81",
    # replace_queue, app.queueing
    "gradio.blocks.Blocks.queue": "122b569a1f284f25",
    "gradio.queueing.Event": "3f200ce6a594431f",
    "gradio.queueing.EventQueue": "ae8e305d17b4d951",
    "gradio.queueing.Queue.__init__": "8f39a4352e7ca36a",
    "gradio.queueing.Queue.push": "c7b4091f41b8f075",
    "gradio.queueing.Queue.get_events": "c35ce0aae0346e05",
    "gradio.queueing.Queue.send_message": "79d70f866b099e99",
    "gradio.queueing.Queue.clean_events": "ee8f9ecc82409acb",
    "gradio.utils.LRUCache": "18eefdf1c25eb18d",
    # add_input_checks
    "gradio.blocks.Blocks.validate_inputs": "a03995ce616e32e7",
    # limit_websockets
    "gradio.http_server.start_server": "266da769f01a8100",
}


def import_gradio() -> None:
    """Import Gradio, if it is not imported yet, without writing type stubs.

    For each component, Gradio would parse the source and write a .pyi file for editors, which takes half of the time of
    the import.
    """
    if "gradio" in sys.modules:
        return
    spec = find_spec("gradio")
    package = sys.modules["gradio"] = module_from_spec(spec)  # submodules can be imported before the package runs
    with contextlib.suppress(ImportError):  # another version of Gradio may lack the module
        import_module("gradio.component_meta").create_or_modify_pyi = lambda *_: None
    spec.loader.exec_module(package)


def block_downloads() -> None:
    """Reject URLs where files are expected. Otherwise, users could make the server download from any address."""
    from gradio import processing_utils

    async def reject_url(url: str, cache_dir: str) -> str:
        raise ValueError("A file is required, got a URL. Download the file and upload it.")

    processing_utils.async_ssrf_protected_download = reject_url


def keep_state_only() -> None:
    """Make Gradio keep only the values of `gr.State` for each session; see `app.sessions`."""
    from gradio import state_holder

    from app.sessions import StateOnlySession

    state_holder.SessionState = StateOnlySession


def limit_websockets(max_bytes: int, max_queue: int) -> None:
    """Limit the size of a WebSocket message, and the number of messages per socket that wait to be read.

    Call it before `Blocks.launch`, which offers no such options. By default, 32 messages of 16 MiB could wait.
    """
    from functools import partial
    from types import SimpleNamespace

    import uvicorn
    from gradio import http_server

    http_server.uvicorn = SimpleNamespace(Config=partial(uvicorn.Config, ws_max_size=max_bytes, ws_max_queue=max_queue))


def replace_queue(page: gr.Blocks, queue: Queue) -> None:
    """Replace the queue that `Blocks.queue` has created."""
    page._queue = queue


def add_input_checks(page: gr.Blocks, check: Callable[[str, gr.components.Component, object], object]) -> None:
    """Add checks of the inputs of public endpoints, because the messages of Gradio's checks do not name the input.

    check: takes the name of an input, its component and a value. It returns the value to use, or raises gr.Error.
    """
    from inspect import signature

    validate = page.validate_inputs

    def validate_inputs(block_fn, values: list) -> None:
        validate(block_fn, values)
        if block_fn.api_visibility == "public":
            for i, (name, component) in enumerate(zip(signature(block_fn.fn).parameters, block_fn.inputs, strict=True)):
                values[i] = check(name, component, values[i])

    page.validate_inputs = validate_inputs
