"""The benchmark of killed trainings, with few kills."""

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
    results = json.loads(out.read_text())
    assert results["kills"] == 4 and results["kills while saving"] >= 1
    assert results["checkpoints lost or damaged"] == 0 and results["unfinished files left"] == 0
    assert results["equal to the uninterrupted run, byte for byte"] is True
