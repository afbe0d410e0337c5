"""The repository is a Space: what its front matter promises is there, and a copy starts as one."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks.space import measure

ROOT = Path(__file__).resolve().parent.parent


def read_front_matter() -> dict[str, str]:
    """The lines between the README's first two rules."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


@pytest.fixture(scope="module")
def front_matter() -> dict[str, str]:
    """What the Hub reads of the README."""
    return read_front_matter()


def test_front_matter_fits_what_is_there(front_matter):
    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().split())
    assert front_matter["sdk"] == "gradio" and front_matter["sdk_version"] == pins["gradio"]
    assert (ROOT / front_matter["app_file"]).is_file()
    assert front_matter["python_version"].strip('"') == "3.11"
    assert len(front_matter["short_description"]) <= 60, "what the Hub takes"


def test_every_requirement_is_pinned():
    for line in (ROOT / "requirements.txt").read_text().split():
        assert re.fullmatch(r"[A-Za-z0-9_-]+==[0-9][0-9.]*", line), line


@pytest.mark.slow
def test_a_copy_starts_with_its_requirements_alone_and_writes_nothing_into_the_tree(tmp_path):
    found = measure(tmp_path, sys.executable, None)
    assert found["frames of that result"] == 16
    assert found["actions asked for by a script"] == 15
    assert found["files written into the tree"] is False
    assert found["most memory, MiB"] < 16 * 1024
