"""The repository is a Hugging Face Space: its front matter is correct, and a copy starts."""

import re
import sys
from pathlib import Path

import pytest

from devtools.space_copy import measure_space

ROOT = Path(__file__).resolve().parent.parent
MAX_DESCRIPTION = 60  # characters that the Hub accepts


def read_front_matter() -> dict[str, str]:
    """Return the fields between the README's first two rules."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


def test_front_matter_agrees_with_the_repository():
    front_matter = read_front_matter()
    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().split())
    assert front_matter["sdk"] == "gradio" and front_matter["sdk_version"] == pins["gradio"]
    assert (ROOT / front_matter["app_file"]).is_file()
    assert front_matter["python_version"].strip('"') == "3.11"
    assert len(front_matter["short_description"]) <= MAX_DESCRIPTION


def test_every_requirement_is_pinned():
    for line in (ROOT / "requirements.txt").read_text().split():
        assert re.fullmatch(r"[A-Za-z0-9_-]+==[0-9][0-9.]*", line), line


@pytest.mark.slow
def test_a_copy_starts_with_its_requirements_only_and_writes_nothing_to_the_tree(tmp_path):
    measured = measure_space(tmp_path, sys.executable)
    assert measured["frames of the result"] == 16
    assert measured["actions from the API"] == 15
    assert measured["files written to the tree"] is False
    assert measured["peak memory, MiB"] < 16 * 1024
