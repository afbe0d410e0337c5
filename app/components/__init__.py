"""Components that Gradio does not have. Each is an HTML template, a script, and functions that return its JSON values.

Templates must not contain `{{...}}` or `${...}`: Gradio evaluates inserted values as JavaScript, and file names come
from users. The scripts write all text through `textContent`.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def build_component(name: str, value: object, /, **settings: object) -> gr.HTML:
    """Build a component from the files `name`.html and `name`.js of this folder; shared.js precedes each script.

    value: initial value. settings: other arguments of gr.HTML, and properties that the script reads.
    """
    folder = Path(__file__).parent
    template = (folder / f"{name}.html").read_text(encoding="utf-8")
    if "{{" in template or "${" in template:
        raise AssertionError(f"{name}.html must not contain {{{{ or ${{: Gradio would run values as JavaScript.")
    script = "".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", name))
    return gr.HTML(value, html_template=template, js_on_load=script, apply_default_css=False, **settings)
