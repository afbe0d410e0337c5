"""The installed package: a wheel has all modules and the weights, and works outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lawm_core", "app", "checkpoints")
GALLERY = ROOT / "assets" / "gallery"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Install the package, built from a copy so that the repository gets no build folder."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, source / name)
    command = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target, source]
    subprocess.run([sys.executable, "-m", "pip", *map(str, command)], check=True)
    return target


def run(installed: Path, folder: Path, *command: str) -> str:
    """Run Python in another folder with the installed package and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_installed_package_has_its_weights(installed, tmp_path):
    printed = run(installed, tmp_path, "-c", "import lawm_core; print(lawm_core.__file__)")
    assert Path(printed.strip()).is_relative_to(installed)
    models = json.loads(run(installed, tmp_path, "-m", "lawm_core", "models"))
    assert models[0]["name"] == "nano256" and (installed / "lawm_core" / "checkpoints" / "nano256").is_dir()
    assert (installed / "lawm_core" / "py.typed").is_file() and (installed / "app" / "page.css").is_file()


def test_installed_command_transfers_with_the_installed_weights(installed, tmp_path):
    lawm = str(installed / "bin" / "lawm")
    assert run(installed, tmp_path, lawm, "--help").startswith("usage: lawm")
    clips = (str(GALLERY / "sea-pan.mp4"), str(GALLERY / "dunes-pan.mp4"))
    run(installed, tmp_path, lawm, "transfer", *clips, "--out", "result.mp4", "--frames", "3")
    assert [path.name for path in tmp_path.iterdir()] == ["result.mp4"]


def test_every_module_of_the_installed_package_can_be_imported(installed, tmp_path):
    script = (
        "import importlib, pkgutil, lawm_core\n"
        "found = pkgutil.walk_packages(lawm_core.__path__, 'lawm_core.')\n"
        "names = [m.name for m in found if m.name.split('.')[1] not in ('__main__', 'checkpoints')]\n"
        "modules = [importlib.import_module(name) for name in names]\n"
        "print(len(modules))"
    )
    modules = len([path for path in (ROOT / "lawm_core").rglob("*.py") if path.name != "__main__.py"]) - 1
    assert int(run(installed, tmp_path, "-c", script)) == modules
