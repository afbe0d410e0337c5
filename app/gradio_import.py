"""Gradio, imported without its type stubs.

While it is imported, Gradio parses the source of each of its components to write a .pyi file beside it. That is for
editors, and takes half of the import.
"""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec


def import_gradio() -> None:
    """Import Gradio, if nobody has, with the writing of stubs turned off."""
    if "gradio" in sys.modules:
        return
    spec = find_spec("gradio")
    package = sys.modules["gradio"] = module_from_spec(spec)  # its modules can be imported before it is run
    with contextlib.suppress(ImportError):  # of another version
        import_module("gradio.component_meta").create_or_modify_pyi = lambda *_: None
    spec.loader.exec_module(package)
