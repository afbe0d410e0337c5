"""The Dockerfile agrees with the repository. Nothing is built, which needs a daemon and a network."""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pytest

from tests.test_space import ROOT, read_front_matter

STEPS = [line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1].isupper()]
PATTERNS = [
    line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith(("#", "!"))
]
# A file for every line of .gitignore, where it could lie.
IGNORED = (
    ".venv", "lawm_core/__pycache__/cli.pyc", "docs/__pycache__/carried.pyc", "lawm.egg-info/PKG-INFO",
    ".pytest_cache/README.md", ".ruff_cache/a", "runs/mine/log.csv", "benchmarks/runs/a", "cache/a", "app/cache/a",
    "build/lib/a.py", "assets/gallery/external/cat.mp4", "report/report.json", "app.log", "benchmarks/trust/soak.log",
    "site/index.html",
)  # fmt: skip


def arguments_of(instruction: str) -> list[str]:
    """Return the arguments of an instruction, each time it occurs."""
    return [arguments for name, arguments in STEPS if name == instruction]


def is_excluded(name: str) -> bool:
    """Return whether .dockerignore excludes a file, by a pattern of its own or of a folder above it."""
    paths = [name, *(str(folder) for folder in PurePosixPath(name).parents)][:-1]
    return any(matches(path, pattern) for path in paths for pattern in PATTERNS)


def matches(path: str, pattern: str) -> bool:
    """Match as Docker does: `*` matches within a name, a leading `**/` any folders or none."""
    own, parts = pattern.removeprefix("**/").split("/"), path.split("/")
    if pattern.startswith("**/"):
        parts = parts[-len(own) :]
    return len(own) == len(parts) and all(map(fnmatchcase, parts, own))


def test_command_and_python_version_are_those_of_the_space():
    (command,), (base,) = arguments_of("CMD"), arguments_of("FROM")
    front_matter = read_front_matter()
    assert json.loads(command) == ["python", front_matter["app_file"]]
    assert base == "python:{}-slim".format(front_matter["python_version"].strip('"'))


def test_debian_packages_and_requirements_are_those_of_the_repository():
    commands = " ".join(arguments_of("RUN"))
    assert re.search(r"apt-get install [^&]*< packages\.txt", commands)
    assert "pip install --no-cache-dir -r requirements.txt" in commands
    assert all(re.fullmatch(r"[a-z0-9.+-]+", line) for line in (ROOT / "packages.txt").read_text().splitlines())


def test_copied_files_exist_and_are_copied_before_they_are_used():
    copied = [arguments.split()[0] for arguments in arguments_of("COPY")]
    assert copied == ["packages.txt", "requirements.txt", "."]
    assert all((ROOT / name).exists() and not is_excluded(name) for name in copied)
    names = [name for name, _ in STEPS]
    assert names[: names.index("USER")].count("COPY") == 3 and names.index("COPY") < names.index("RUN")


def test_the_app_runs_as_an_unprivileged_user():
    names, (user,) = [name for name, _ in STEPS], arguments_of("USER")
    assert f"useradd --create-home {user}" in arguments_of("RUN")[-1]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in {"RUN", "COPY"})


@pytest.mark.parametrize("name", IGNORED)
def test_files_that_git_ignores_are_not_in_the_image(name):
    ignored = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT)
    assert ignored.returncode == 0 and is_excluded(name)


def test_every_line_of_gitignore_is_covered():
    lines = [line for line in (ROOT / ".gitignore").read_text().split() if not line.startswith("#")]
    checked = subprocess.run(
        ["git", "check-ignore", "--verbose", "--no-index", *IGNORED], cwd=ROOT, capture_output=True, text=True
    )
    assert set(lines) <= {line.split("\t")[0].split(":", 2)[2] for line in checked.stdout.splitlines()}


def test_all_files_of_the_repository_are_in_the_image():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in names.split("\0") if name and is_excluded(name)]
