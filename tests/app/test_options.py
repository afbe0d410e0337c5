"""The page's command line: errors are reported before torch and Gradio are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# Starts `python -m app` or `python app/main.py` in an interpreter that cannot import anything heavy.
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
    ("line", "environment", "status", "message"),
    [
        ("--help", {}, 0, "usage: python -m app"),
        ("--port 70000", {}, 2, "port must be in [1, 65535], got 70000."),
        ("--port 0", {}, 2, "port must be in [1, 65535], got 0."),
        ("", {"GRADIO_SERVER_PORT": "many"}, 2, "argument --port: invalid port value: 'many'"),
        ("--keep 0", {}, 2, "argument --keep: must be at least 1 second, got 0."),
        ("", {"LAWM_KEEP": "0"}, 2, "argument --keep: must be at least 1 second, got 0."),
        ("--loud", {}, 2, "unrecognized arguments: --loud"),
        ("--model gone", {}, 4, "lawm-explorer: model must be a folder with config.json or one of"),
        ("", {"LAWM_MODEL": "gone"}, 4, "lawm-explorer: model must be a folder with config.json or one of"),
    ],
)
def test_invalid_options_are_reported_before_heavy_imports(way, line, environment, status, message):
    done = subprocess.run(
        [sys.executable, "-c", START, way, *line.split()], env={**os.environ, **environment}, cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, message in done.stdout + done.stderr) == (status, True), done.stderr
