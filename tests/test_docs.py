"""The documentation site: names, paths and commands on its pages exist, and it builds without warnings."""

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
from app.options import parse_options
from lawm_core import model
from lawm_core.cli.main import build_parser
from lawm_core.training import recipes
from tests.test_house import ROOT, commands_in, have_command, shape_letters

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
COMMANDS = [(name, command) for name, text in PAGES.items() for command in commands_in(text)]
FETCHED = {"src", "srcset", "poster", "data"}  # attributes that a browser follows unasked
PATH = re.compile(r"(?:[\w.-]+/)+(?:[\w-]+\.(?:py|md|txt|toml|json|png|gif))?")


def inline_code(text: str) -> list[str]:
    """Return the code between single backticks, which may be wrapped."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def python_blocks(text: str) -> list[str]:
    """Return the Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


# ---- names on the pages ---------------------------------------------------------------------------------------------


def entries_of(nav: list[dict]) -> list[str]:
    """Return the pages of a navigation with sections."""
    pages = [page for entry in nav for page in entry.values()]
    return [name for page in pages for name in (entries_of(page) if isinstance(page, list) else [page])]


def test_every_page_is_in_the_navigation_and_every_entry_exists():
    from docs.carried import CARRIED

    entries = entries_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert set(PAGES) <= set(entries) and len(entries) == len(set(entries))
    assert set(entries) - set(PAGES) <= set(CARRIED)
    assert all((ROOT / name).is_file() for name in CARRIED)


def test_every_link_and_path_on_a_page_exists():
    missing = []
    homes = (ROOT, ROOT / "lawm_core")  # tables of the core omit its name
    for name, text in PAGES.items():
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        missing += [(name, link) for link in links if link and not (ROOT / "docs" / link).exists()]
        paths = [code for code in inline_code(text) if PATH.fullmatch(code) and not code.startswith("runs/")]
        missing += [(name, path) for path in paths if not any((home / path).exists() for home in homes)]
    assert not missing, missing


def test_every_command_on_a_page_exists():
    assert COMMANDS
    wrong = [(name, command) for name, command in COMMANDS if not have_command(command)]
    assert not wrong, wrong


def test_every_option_and_subcommand_in_a_sentence_exists(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    of_app = capsys.readouterr().out
    (commands,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    helps = " ".join([of_app, *(command.format_help() for command in commands.values())])
    known, wrong = set(re.findall(r"--[a-z-]+", helps)), []
    for name, text in PAGES.items():
        for code in inline_code(text):
            command = re.match(r"lawm (\S+)", code)
            if set(re.findall(r"(?<!\S)--[a-z-]+", code)) - known or (
                command and command[1] not in {*commands, "--help"}
            ):
                wrong.append((name, code))
    assert not wrong, wrong


def test_python_on_a_page_parses_and_uses_public_names():
    wrong = []
    for name, text in PAGES.items():
        for block in python_blocks(text):
            nodes = [node for node in ast.walk(ast.parse(block, name)) if isinstance(node, ast.Attribute)]
            used = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "lawm"}
            wrong += [(name, attribute) for attribute in used - set(lawm_core.__all__)]
    assert not wrong, wrong


def test_the_data_flow_on_the_concepts_page_is_that_of_the_model():
    assert python_blocks(PAGES["concepts.md"])[0] in model.__doc__


def test_the_table_of_recipes_is_up_to_date():
    page = PAGES["own_model.md"]
    for name in ("nano256", "nano", "lite", "large"):
        config = recipes.RECIPES[name]().model
        world_model = config.families["noisy"].world_model
        row = (
            f"| `{name}` | {config.encoder.frame_size} px, {config.frames_per_second:g} frames/s | "
            f"{config.encoder.tokens} tokens of {config.encoder.width} | "
            f"{world_model.depth} blocks of {world_model.block.width} |"
        )
        assert row in page
    steps = {name: stage.trainer.steps for name, stage in recipes.nano256().stages.items()}
    stated = dict(re.findall(r"^\| `(\w+)`.*\| (\d+.*?) \|$", page, re.MULTILINE))
    assert stated["encoder"] == str(steps["encoder"]) and stated["decoder"] == str(steps["decoder"])
    assert stated["flow"] == str(steps["flow"])
    assert stated["lam"] == f"{steps['lam-noisy']}, then {steps['lam-sparse']} each"
    assert stated["sampler"] == f"{steps['sampler-noisy']} each"


def test_the_recipe_on_the_page_can_be_built():
    namespace = {}
    exec(python_blocks(PAGES["own_model.md"])[0], namespace)  # a page of this repository
    recipe = namespace["mine"]()
    assert recipe.model.name == "mine" and recipe.stages["lam-noisy"].trainer.steps == 3200
    assert {stage.batch.synthetic_fraction for stage in recipe.stages.values()} == {0.0}
    assert recipe.model.families["noisy"].world_model.depth == 8


# ---- the API page ---------------------------------------------------------------------------------------------------


def test_the_api_page_has_every_public_name_once():
    shown = re.findall(r"^::: lawm_core\.(\w+)$", PAGES["api.md"], re.MULTILINE)
    assert sorted(shown) == sorted(lawm_core.__all__)


def test_every_public_name_has_a_docstring_of_its_own():
    missing = []
    for name in lawm_core.__all__:
        thing = getattr(lawm_core, name)
        if not thing.__doc__ or thing.__doc__.startswith(f"{name}("):  # a dataclass's generated text
            missing.append(name)
        if inspect.isclass(thing):
            own = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
            members = {n: getattr(m, "fget", None) or getattr(m, "__func__", m) for n, m in own.items()}
            missing += [f"{name}.{n}" for n, m in members.items() if inspect.isfunction(m) and not m.__doc__]
    assert not missing, missing


def test_the_table_of_letters_is_the_legend_of_the_package():
    letters = re.findall(r"^\| ([A-Zd](?:, [A-Z])*) \|", PAGES["api.md"], re.MULTILINE)
    assert set(", ".join(letters).split(", ")) == shape_letters()


# ---- the site -------------------------------------------------------------------------------------------------------


def build_site(folder: Path) -> Path:
    """Build the site as `make docs` does; any warning fails the test."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site."""
    return build_site(tmp_path_factory.mktemp("site"))


class Fetched(HTMLParser):
    """Addresses that a browser loads with a page, and the page's anchors."""

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
