"""Pieces of the page that Gradio does not have: a static template, a script and plain values for each.

Templates hold no `{{...}}` and no `${...}`: Gradio would evaluate what they put in as JavaScript, and file names come
from people. The scripts write every text through `textContent`.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def build_piece(name: str, value: object, /, **settings: object) -> gr.HTML:
    """The piece whose template and script are `name`.html and `name`.js beside this file, after what all share."""
    folder = Path(__file__).parent
    template = (folder / f"{name}.html").read_text(encoding="utf-8")
    if "{{" in template or "${" in template:
        raise AssertionError(f"{name}.html holds a template expression; Gradio would run its value as JavaScript.")
    script = "".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", name))
    return gr.HTML(value, html_template=template, js_on_load=script, apply_default_css=False, **settings)
