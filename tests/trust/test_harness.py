"""Small runs of the benchmarks in benchmarks/trust: they work, and their limits hold."""

import json
import subprocess
import sys

import pytest

from devtools.serving import ROOT
from tests.video.test_hostile import TOOL, own_cases, tool_cases

pytestmark = pytest.mark.slow


def run_benchmark(name: str, *options: object) -> dict:
    """Run a benchmark and return its results. The last option is the file that it writes."""
    subprocess.run([sys.executable, f"benchmarks/trust/{name}.py", *map(str, options)], cwd=ROOT, check=True)
    return json.loads(options[-1].read_text())


def test_hostile_files_never_stop_the_app(tmp_path):
    cases = (tool_cases if TOOL.exists() else own_cases)(tmp_path, 30)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    found = run_benchmark("hostile", tmp_path, "--isolation", 2, "--out", tmp_path / "results.json")
    assert found["files"] == len(cases) >= 30 and found["opened"] > 5 and found["rejected"] > 5
    assert found["unexpected, or without a reason"] == [] and found["HTTP 500"] == 0
    killed = found["decoders killed or stopped"]
    assert killed == found["answered with frames or a reason"] == found["next requests answered"] == 3
    assert found["decoders left"] == 0 and found["server is running"]


def test_users_are_served_in_turn_with_equal_results(tmp_path):
    found = run_benchmark("crowd", "--users", 4, "--each", 2, "--burst", 40, "--out", tmp_path / "results.json")
    assert found["requests"] == 8 and found["errors"] == [] and found["videos that differ"] == 0
    assert found["rejected with an explanation"] > 0 and found["rejected without one"] == 0
    assert found["the other user is served"] and found["server is running"]


def test_no_file_or_process_is_left_after_long_use(tmp_path):
    found = run_benchmark("soak", "--requests", 30, "--warm-up", 10, "--keep", 6, "--out", tmp_path / "results.json")
    assert found["valid requests that failed"] == [] and found["HTTP 500"] == 0
    assert found["files left after their time"] == [] and found["decoders left"] == 0 and found["server is running"]


def test_two_processes_compute_the_same_bytes(tmp_path):
    found = run_benchmark("same", "--clips", 2, "--out", tmp_path / "results.json")
    assert found["different"] == [] and found["latents: compared"] == 18
    assert all(found[f"{kind}: compared"] >= 3 for kind in ("result", "preview", "library"))
