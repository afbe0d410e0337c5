"""The patches of Gradio internals: the internals are those that the patches were written for, and each patch works."""

import hashlib
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import gradio as gr
import pytest
import uvicorn
from gradio import http_server, processing_utils

from app import gradio_patches
from app.gradio_patches import (
    GRADIO_VERSION,
    INTERNALS,
    add_input_checks,
    block_downloads,
    limit_websockets,
    replace_queue,
)

ROOT = Path(__file__).resolve().parent.parent.parent


def resolve(name: str) -> object:
    """Return the object of a qualified name, for example `gradio.queueing.Queue.push`."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def source_hash(name: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of an object's source."""
    return hashlib.sha256(inspect.getsource(resolve(name)).encode()).hexdigest()[:16]


def explain_change(name: str) -> str | None:
    """Return what to do if an internal has changed or is gone; None if it has not changed."""
    advice = (
        f"The patches in app/gradio_patches.py were written for Gradio {GRADIO_VERSION}; this is {gr.__version__}. "
        f"Read the new source, adapt app/gradio_patches.py and app/queueing.py, then update INTERNALS"
    )
    try:
        found = source_hash(name)
    except (AttributeError, ModuleNotFoundError):
        return f"{name} does not exist any more. {advice}."
    return None if found == INTERNALS[name] else f"{name} has changed. {advice}: {name!r}: {found!r}."


@pytest.mark.parametrize("name", INTERNALS)
def test_an_internal_is_as_the_patches_expect_it(name):
    assert explain_change(name) is None, explain_change(name)


def test_a_changed_or_missing_internal_is_explained(monkeypatch):
    async def push(self, body):
        """Another implementation."""

    monkeypatch.setattr(gr.queueing.Queue, "push", push)
    assert explain_change("gradio.queueing.Queue.push").startswith("gradio.queueing.Queue.push has changed.")
    monkeypatch.delattr(gr.queueing.Queue, "get_events")
    assert "does not exist any more" in explain_change("gradio.queueing.Queue.get_events")


def test_the_pinned_version_is_the_one_that_the_patches_were_written_for():
    assert f"gradio=={GRADIO_VERSION}\n" in (ROOT / "requirements.txt").read_text()
    assert GRADIO_VERSION in gradio_patches.__doc__


def test_gradio_is_imported_without_writing_type_stubs():
    script = (
        "from app.gradio_patches import import_gradio; import sys; assert 'gradio' not in sys.modules\n"
        "import_gradio(); import_gradio(); import gradio\n"
        "assert sys.modules['gradio'] is gradio and gradio.Blocks and gradio.Textbox.change and gradio.__version__\n"
        "assert gradio.__spec__.name == 'gradio' and gradio.component_meta.create_or_modify_pyi(None, '', []) is None\n"
        "from gradio.component_meta import ComponentMeta\n"
        "assert 'create_or_modify_pyi' in ComponentMeta.__new__.__code__.co_names, 'this is what is replaced'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_no_url_is_downloaded(monkeypatch):
    monkeypatch.setattr(
        processing_utils, "async_ssrf_protected_download", processing_utils.async_ssrf_protected_download
    )
    block_downloads()
    with pytest.raises(ValueError, match="got a URL"):
        processing_utils.ssrf_protected_download("https://example.com/clip.mp4", "/tmp")


def test_public_inputs_are_checked_by_name_and_private_ones_are_not():
    seen = []

    def check(name, component, value):
        seen.append((name, type(component), value))
        return value * 2

    with gr.Blocks() as page:
        for visibility in ("public", "private"):
            gr.Button().click(lambda number, other: None, [gr.Number(), gr.Number()], api_visibility=visibility)
    add_input_checks(page, check)
    public, private = page.fns.values()
    page.validate_inputs(public, values := [1, 2])
    assert values == [2, 4] and seen == [("number", gr.Number, 1), ("other", gr.Number, 2)]
    page.validate_inputs(private, values := [1, 2])
    assert values == [1, 2] and len(seen) == 2
    with pytest.raises(ValueError, match="didn't receive enough"):
        page.validate_inputs(public, [1])


def test_the_queue_of_a_page_is_replaced():
    with gr.Blocks() as page:
        gr.Button()
    page.queue()
    queue = object()
    replace_queue(page, queue)
    assert page._queue is queue


def test_websocket_messages_are_limited(monkeypatch):
    monkeypatch.setattr(http_server, "uvicorn", uvicorn)  # restored afterwards
    limit_websockets(max_bytes=1000, max_queue=3)
    config = http_server.uvicorn.Config(app=None)
    assert (config.ws_max_size, config.ws_max_queue) == (1000, 3)
