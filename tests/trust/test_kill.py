"""The benchmark of killed trainings, in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_training_survives_kill_at_any_moment(tmp_path):
    out = tmp_path / "kill.json"
    command = [sys.executable, "benchmarks/trust/kill.py", "--kills", "4", "--steps", "12", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    told = json.loads(out.read_text())
    assert told["deaths"] == 4 and told["deaths within a save"] >= 1 and told["saves lost or broken"] == 0
    assert told["ends as the undisturbed run, to the byte"] is True and told["half-written files left"] == 0
