"""The Dockerfile fits the tree. Nothing is built here: that takes a daemon, and a network."""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pytest

from tests.test_house import ROOT
from tests.test_space import read_front_matter

STEPS = [line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1].isupper()]
LEFT_OUT = [
    line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith(("#", "!"))
]
# A file for each line of .gitignore, where it would come to lie.
IGNORED = (
    ".venv/bin/python", "lawm_core/__pycache__/cli.pyc", "docs/__pycache__/carried.pyc", "lawm.egg-info/PKG-INFO",
    ".pytest_cache/README.md", ".ruff_cache/a", "runs/mine/log.csv", "benchmarks/runs/a", "cache/a", "app/cache/a",
    "assets/gallery/lent/cat.mp4", "report/report.json", "app.log", "benchmarks/trust/soak.log", "site/index.html",
)  # fmt: skip


def steps(name: str) -> list[str]:
    """What follows an instruction, each time it is given."""
    return [rest for instruction, rest in STEPS if instruction == name]


def is_left_out(name: str) -> bool:
    """Whether .dockerignore keeps a file out: a pattern fits it or a folder it is in, from the root on."""
    places = [name, *(str(folder) for folder in PurePosixPath(name).parents)][:-1]
    return any(fits(place, pattern) for place in places for pattern in LEFT_OUT)


def fits(place: str, pattern: str) -> bool:
    """As Docker reads a pattern: `*` stays within a name, `**/` is any folders or none."""
    own, parts = pattern.removeprefix("**/").split("/"), place.split("/")
    if pattern.startswith("**/"):
        parts = parts[-len(own) :]
    return len(own) == len(parts) and all(map(fnmatchcase, parts, own))


def test_the_command_and_the_python_are_the_space_s():
    (command,), (base,) = steps("CMD"), steps("FROM")
    front_matter = read_front_matter()
    assert json.loads(command) == ["python", front_matter["app_file"]]
    assert base == "python:{}-slim".format(front_matter["python_version"].strip('"'))


def test_debian_packages_and_requirements_are_the_tree_s():
    installs = " ".join(steps("RUN"))
    assert re.search(r"apt-get install [^&]*< packages\.txt", installs)
    assert "pip install --no-cache-dir -r requirements.txt" in installs
    assert all(re.fullmatch(r"[a-z0-9.+-]+", line) for line in (ROOT / "packages.txt").read_text().splitlines())


def test_all_that_is_copied_is_there_and_comes_before_its_use():
    copied = [rest.split()[0] for rest in steps("COPY")]
    assert copied == ["packages.txt", "requirements.txt", "."]
    assert all((ROOT / name).exists() and not is_left_out(name) for name in copied)


def test_it_runs_as_a_user_without_rights():
    names = [instruction for instruction, _ in STEPS]
    assert steps("USER") == ["visitor"] and "useradd --create-home visitor" in steps("RUN")[-1]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in {"RUN", "COPY"})


@pytest.mark.parametrize("name", IGNORED)
def test_what_git_ignores_stays_out_of_the_image(name):
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT)
    assert ignored.returncode == 0 and is_left_out(name)


def test_every_line_of_gitignore_is_tried():
    lines = [line for line in (ROOT / ".gitignore").read_text().split() if not line.startswith("#")]
    told = subprocess.run(
        ["git", "check-ignore", "--verbose", "--no-index", *IGNORED], cwd=ROOT, capture_output=True, text=True
    )
    assert set(lines) <= {line.split("\t")[0].split(":", 2)[2] for line in told.stdout.splitlines()}


def test_all_that_git_has_goes_into_the_image():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in names.split("\0") if name and is_left_out(name)]
