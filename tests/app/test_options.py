"""The page's command line: what cannot be started is said before torch and Gradio are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# As `python -m app` or `python app/main.py` begins, where nothing heavy can be imported.
START = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("torch", "numpy", "gradio", "starlette"), f"{name} was imported"
sys.meta_path.insert(0, Blocker())
way = sys.argv.pop(1)
runpy.run_module(way, run_name="__main__", alter_sys=True) if way == "app" else runpy.run_path(way, run_name="__main__")
"""


@pytest.mark.parametrize("way", ["app", "app/main.py"])
@pytest.mark.parametrize(
    ("line", "environment", "code", "words"),
    [
        ("--help", {}, 0, "usage: python -m app"),
        ("--port 70000", {}, 2, "port must be in [1, 65535], got 70000."),
        ("--port 0", {}, 2, "port must be in [1, 65535], got 0."),
        ("", {"GRADIO_SERVER_PORT": "many"}, 2, "argument --port: invalid port value: 'many'"),
        ("--keep 0", {}, 2, "argument --keep: must be at least 1 second, got 0."),
        ("", {"LAWM_KEEP": "0"}, 2, "argument --keep: must be at least 1 second, got 0."),
        ("--loud", {}, 2, "unrecognized arguments: --loud"),
        ("--model gone", {}, 4, "lawm-explorer: model 'gone' is neither a folder"),
        ("", {"LAWM_MODEL": "gone"}, 4, "lawm-explorer: model 'gone' is neither a folder"),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_heavy_is_imported(way, line, environment, code, words):
    done = subprocess.run(
        [sys.executable, "-c", START, way, *line.split()], env={**os.environ, **environment}, cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stderr


def test_gradio_without_stubs_is_gradio():
    script = (
        "from app.gradio_import import import_gradio; import_gradio(); import_gradio(); import gradio, sys\n"
        "assert sys.modules['gradio'] is gradio and gradio.Blocks and gradio.Textbox.change and gradio.__version__\n"
        "assert gradio.__spec__.name == 'gradio' and gradio.component_meta.create_or_modify_pyi(None, '', []) is None\n"
        "from gradio.component_meta import ComponentMeta\n"
        "assert 'create_or_modify_pyi' in ComponentMeta.__new__.__code__.co_names, 'this is what is turned off'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
