"""The benchmarks of trust, in small: they run, and what they hold, holds."""

import json
import subprocess
import sys

import pytest

from benchmarks.serving import ROOT
from tests.video.test_hostile import TOOL, own_cases, tool_cases

pytestmark = pytest.mark.slow


def told_by(name: str, *options: object) -> dict:
    """What a benchmark writes as JSON."""
    out = options[-1]
    subprocess.run([sys.executable, f"benchmarks/trust/{name}.py", *map(str, options)], cwd=ROOT, check=True)
    return json.loads(out.read_text())


def test_hostile_files_never_stop_the_app(tmp_path):
    cases = (tool_cases if TOOL.exists() else own_cases)(tmp_path, 30)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    told = told_by("hostile", tmp_path, "--isolation", 2, "--out", tmp_path / "told.json")
    assert told["files"] == len(cases) >= 30 and told["opened"] > 5 and told["refused"] > 5
    assert told["other than expected, or without a reason"] == [] and told["HTTP 500"] == 0
    struck = told["decoders killed, aborted or hung"]
    assert struck == told["answered all the same or with a message"] == told["next requests answered"] == 3
    assert told["server still runs"] and told["decoders left"] == 0


def test_a_crowd_is_served_in_turn_and_to_the_byte(tmp_path):
    told = told_by("crowd", "--people", 4, "--each", 2, "--burst", 40, "--out", tmp_path / "told.json")
    assert told["requests"] == 8 and told["errors"] == [] and told["films that differ"] == 0
    assert told["taken"] + told["turned away with a sentence"] == 40 and told["turned away with a sentence"] > 0
    assert told["another visitor is served all the same"] and told["server still runs"]


def test_nothing_is_left_of_visitors(tmp_path):
    told = told_by("soak", "--requests", 30, "--warm-up", 10, "--keep", 6, "--out", tmp_path / "told.json")
    assert told["failed though they were good"] == [] and told["HTTP 500"] == 0
    assert told["files left after their time"] == [] and told["decoders left"] == 0 and told["server still runs"]


def test_two_processes_find_the_same_to_the_byte(tmp_path):
    told = told_by("same", "--clips", 2, "--out", tmp_path / "told.json")
    assert told["different"] == [] and told["latents: compared"] == 18
    assert all(told[f"{kind}: compared"] >= 3 for kind in ("result", "preview", "library"))
