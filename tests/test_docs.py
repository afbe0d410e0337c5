"""The pages of docs/: what they name is there, the API page has every public name, and the site builds."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import lawm_core
from app.options import read_options
from lawm_core import model
from lawm_core.cli import build_parser
from lawm_core.training import recipes
from tests.test_house import ROOT, commands_in, have_command

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
COMMANDS = [(name, command) for name, text in PAGES.items() for command in commands_in(text)]
FETCHED = {"src", "srcset", "poster", "data"}  # attributes that a browser follows unasked
PATH = re.compile(r"(?:[\w.-]+/)+(?:[\w-]+\.(?:py|md|txt|toml|json|png|gif))?")


def inline_code(text: str) -> list[str]:
    """What stands between single backticks, on one line or two."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def python_blocks(text: str) -> list[str]:
    """Blocks of Python."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


# ---- what pages name ------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_and_every_entry_is_there():
    from docs.carried import CARRIED

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    entries = [page for entry in site["nav"] for page in entry.values()]
    assert set(PAGES) <= set(entries) and len(entries) == len(set(entries))
    assert set(entries) - set(PAGES) <= set(CARRIED)
    assert all((ROOT / name).is_file() for name in CARRIED)


def test_every_link_and_path_on_a_page_exists():
    missing = []
    homes = (ROOT, ROOT / "lawm_core")  # pages about the core leave its name away
    for name, text in PAGES.items():
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        missing += [(name, link) for link in links if link and not (ROOT / "docs" / link).exists()]
        paths = [code for code in inline_code(text) if PATH.fullmatch(code) and not code.startswith("runs/")]
        missing += [(name, path) for path in paths if not any((home / path).exists() for home in homes)]
    assert not missing, missing


def test_every_command_on_a_page_is_one_we_have():
    assert COMMANDS
    wrong = [(name, command) for name, command in COMMANDS if not have_command(command)]
    assert not wrong, wrong


def test_every_option_and_subcommand_in_a_sentence_exists(capsys):
    with pytest.raises(SystemExit):
        read_options(["--help"])
    of_app = capsys.readouterr().out
    (commands,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    helps = " ".join([of_app, *(command.format_help() for command in commands.values())])
    known, wrong = set(re.findall(r"--[a-z-]+", helps)), []
    for name, text in PAGES.items():
        for code in inline_code(text):
            command = re.match(r"python -m lawm_core (\S+)", code)
            if set(re.findall(r"(?<!\S)--[a-z-]+", code)) - known or (
                command and command[1] not in {*commands, "--help"}
            ):
                wrong.append((name, code))
    assert not wrong, wrong


def test_python_on_a_page_is_python_and_uses_names_we_have():
    wrong = []
    for name, text in PAGES.items():
        for block in python_blocks(text):
            nodes = [node for node in ast.walk(ast.parse(block, name)) if isinstance(node, ast.Attribute)]
            used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "lawm"}
            wrong += [(name, attribute) for attribute in used - set(lawm_core.__all__)]
    assert not wrong, wrong


def test_the_hallway_on_the_method_page_is_the_code_s_own():
    block = python_blocks(PAGES["method.md"])[0]
    assert block in model.__doc__


def test_recipes_are_as_the_table_says():
    for name in ("nano256", "nano", "lite", "large"):
        made = recipes.RECIPES[name]().model
        world = made.families["noisy"].world_model
        row = (
            f"| `{name}` | {made.encoder.frame_size} px, {made.frames_per_second:g} a second | "
            f"{made.encoder.tokens} tokens of {made.encoder.width} | {world.depth} blocks of {world.block.width} |"
        )
        assert row in PAGES["recipes.md"]
    steps = {name: stage.trainer.steps for name, stage in recipes.nano256().stages.items()}
    told = dict(re.findall(r"^\| `(\w+)`.*\| (\d+.*?) \|$", PAGES["recipes.md"], re.MULTILINE))
    assert told["encoder"] == str(steps["encoder"]) and told["decoder"] == str(steps["decoder"])
    assert told["flow"] == str(steps["flow"])
    assert told["lam"] == f"{steps['lam-noisy']}, then {steps['lam-sparse']} each"
    assert told["sampler"] == f"{steps['sampler-noisy']} each"


def test_the_recipe_of_ones_own_is_a_recipe():
    room = dict(vars(recipes)) | {"RECIPES": dict(recipes.RECIPES)}
    exec(python_blocks(PAGES["recipes.md"])[0], room)  # our own page, not a stranger's file
    made = room["RECIPES"]["mine"]()
    assert made.model.name == "mine" and made.stages["lam-noisy"].trainer.steps == 5200
    assert {stage.batch.twin_share for stage in made.stages.values()} == {0.0}


# ---- the API page ---------------------------------------------------------------------------------------------------


def test_the_api_page_has_every_public_name_once():
    shown = re.findall(r"^::: lawm_core\.(\w+)$", PAGES["api.md"], re.MULTILINE)
    assert sorted(shown) == sorted(lawm_core.__all__)


def test_every_public_name_says_what_it_is():
    silent = []
    for name in lawm_core.__all__:
        thing = getattr(lawm_core, name)
        if not thing.__doc__ or thing.__doc__.startswith(f"{name}("):  # a dataclass's made-up text is none
            silent.append(name)
        if inspect.isclass(thing):
            own = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
            members = {n: getattr(m, "fget", None) or getattr(m, "__func__", m) for n, m in own.items()}
            silent += [f"{name}.{n}" for n, m in members.items() if inspect.isfunction(m) and not m.__doc__]
    assert not silent, silent


def test_the_letters_are_those_of_the_package():
    legend = lawm_core.__doc__.split("Letters in the names of tensors: ")[1].split("`state_BTND`")[0]
    letters = re.findall(r"^\| ([A-Z](?:, [A-Z])*) \|", PAGES["api.md"], re.MULTILINE)
    assert sorted(", ".join(letters).split(", ")) == sorted(set(re.findall(r"\b[A-Z]\b", legend.replace("T - 1", ""))))


# ---- the site -------------------------------------------------------------------------------------------------------


def build_site(folder: Path) -> Path:
    """Builds the site as `make docs` does, a few seconds; any warning fails it."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built."""
    return build_site(tmp_path_factory.mktemp("site"))


class Fetched(HTMLParser):
    """What a browser fetches for a page without being asked, and the names that the page can be entered by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses, self.anchors = [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.addresses += [found[name] for name in FETCHED & set(found)]
        if tag == "link":
            self.addresses.append(found["href"])
        self.anchors += [found["id"]] if found.get("id") else []


def test_the_site_fetches_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for address in Fetched(page.read_text(encoding="utf-8")).addresses:
            assert "//" not in address, f"{page.name}: {address}"
            home = site if address.startswith("/") else page.parent  # 404.html is shown at any depth
            assert (home / address.lstrip("/").partition("?")[0]).exists(), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        addresses = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", sheet.read_text(encoding="utf-8"))
        assert not [a for both in addresses for a in both if "//" in a and not a.startswith("data:")], sheet.name


def test_every_public_name_can_be_linked_to(site):
    anchors = Fetched((site / "api.html").read_text(encoding="utf-8")).anchors
    assert not [name for name in lawm_core.__all__ if f"lawm_core.{name}" not in anchors]
