"""The house's own laws: layers, the map in the README, and commands that run."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = [p for room in ("lawm_core", "app") for p in sorted((ROOT / room).rglob("*.py"))]

# Left may import right (and its own layer), never the reverse.
LAYERS = [
    ["app"],
    ["lawm_core.cli", "lawm_core.commands", "lawm_core.arguments", "lawm_core.__main__"],
    ["lawm_core.training", "lawm_core.evaluation"],
    ["lawm_core.checkpoint"],
    ["lawm_core.model"],
    ["lawm_core.models", "lawm_core.worlds", "lawm_core.planning"],
    ["lawm_core.video"],
    [
        "lawm_core.contracts",
        "lawm_core.runtime",
        "lawm_core.saving",
        "lawm_core.schema",
        "lawm_core.shares",
        "lawm_core.hub",
        "lawm_core.model_folders",
        "lawm_core.sketch",
    ],
]
# Packages that only some rooms may know.
ONLY = {
    "gradio": "app.",
    "plotly": ("app.", "lawm_core.evaluation.report"),
    "spaces": ("app.main", "app.zero"),
    "umap": "lawm_core.evaluation.projection",
    "cuml": "lawm_core.evaluation.projection",
    "mujoco": "lawm_core.worlds.simulator",
    "huggingface_hub": "lawm_core.hub",
    "evo": "lawm_core.evaluation.trajectories",
    "pyarrow": (
        "lawm_core.worlds.lerobot",
        "lawm_core.worlds.recorder",
        "lawm_core.worlds.shard",
        "lawm_core.evaluation.extraction",
        "lawm_core.evaluation.rows",
        "lawm_core.evaluation.places",
    ),
    "ray": "lawm_core.evaluation.extraction",
}
# What would run code that lies in a file, and words that allow it.
RUNNERS = {"eval", "exec", "compile", "torch.load", "os.system", "yaml.load", "__import__"}
RUNNING = {"allow_pickle=True", "shell=True", "trust_remote_code=True"}
# Start-up and the child that decodes must not pay for these.
READING = ("child", "containers", "decode", "decord_reader", "info", "timeline")
WRITTEN_ALONE = {f"lawm_core.video.{name}": {"torch"} for name in READING}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def syntax(path: Path) -> ast.Module:
    """Return a file's syntax tree; each file is parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports(path: Path) -> set[str]:
    """Return every module that a file imports, and every name that it imports from one."""
    found = set()
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room they enter"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> int | None:
    for depth, rooms in enumerate(LAYERS):
        if any(name == room or name.startswith(room + ".") for room in rooms):
            return depth
    return None


def test_layers_import_downwards_only():
    wrong = []
    for path in CODE:
        name, own = module_name(path), layer(module_name(path))
        if own is None:
            if name != "lawm_core":  # which re-exports from every package
                wrong.append(f"{name} is in no layer")
            continue
        for used in imports(path):
            if used == "lawm_core" or used.startswith(("lawm_core.", "app.")):
                other = layer(used)
                if other is None and own > 0:
                    wrong.append(f"{name} imports {used} through the package's public names")
                elif other is not None and other < own:
                    wrong.append(f"{name} may not import {used}")
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_stay_in_their_rooms():
    wrong = []
    for path in CODE:
        name, roots = module_name(path), {found.split(".")[0] for found in imports(path)}
        outside = {package for package, home in ONLY.items() if not name.startswith(home)}
        wrong += [f"{name} may not import {root}" for root in roots & (outside | WRITTEN_ALONE.get(name, set()))]
    assert not wrong, "\n".join(wrong)


def test_the_page_uses_public_names_only():
    import lawm_core

    public = {f"lawm_core.{name}" for name in lawm_core.__all__}
    pages = [path for path in CODE if path.is_relative_to(ROOT / "app")]
    inside = {module_name(path): {n for n in imports(path) if n.startswith("lawm_core.")} - public for path in pages}
    assert pages and not any(inside.values()), {name: found for name, found in inside.items() if found}


def test_every_browser_test_is_marked_so_that_others_run_without_chromium():
    """Every test file of tests/browser/ marks all its tests, and no other file drives a browser."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    unmarked, strays = [], []
    for path in files:
        in_folder = path.parent.name == "browser"
        marks = [ast.unparse(node) for node in syntax(path).body if isinstance(node, ast.Assign)]
        if in_folder and not any(re.match(r"pytestmark = .*pytest\.mark\.browser\b", mark) for mark in marks):
            unmarked.append(path.name)
        if not in_folder and any(name.startswith(("playwright", "tests.browser")) for name in imports(path)):
            strays.append(path.name)
    assert any(path.parent.name == "browser" for path in files)
    assert not unmarked, f"these need `pytestmark = pytest.mark.browser`: {unmarked}"
    assert not strays, f"these belong in tests/browser/: {strays}"


def test_parts_of_the_slow_tests_are_all_of_them_once():
    from tests.conftest import is_in_part

    node_ids = [f"tests/test_toy.py::test_toy[{i}]" for i in range(90)]
    for parts in (1, 2, 3):
        found = [sum(is_in_part(node_id, part, parts) for part in range(1, parts + 1)) for node_id in node_ids]
        assert found == [1] * len(node_ids)
        assert all(any(is_in_part(node_id, part, parts) for node_id in node_ids) for part in range(1, parts + 1))


def test_importing_the_core_touches_nothing():
    code = (
        "import sys, os; before = set(os.listdir('.')); import lawm_core; "
        "heavy = {'torch', 'numpy', 'gradio', 'umap', 'plotly', 'torchmetrics', 'decord', 'av', 'mujoco', 'pyarrow'}; "
        "heavy &= set(sys.modules); "
        "assert not heavy, heavy; "
        "assert set(os.listdir('.')) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_public_name_is_listed_before_it_is_used_and_is_not_a_module():
    code = (
        "import lawm_core, sys, types; listed = dir(lawm_core); assert 'torch' not in sys.modules; "
        "assert set(lawm_core.__all__) <= set(listed); "
        "things = {name: getattr(lawm_core, name) for name in lawm_core.__all__}; "
        "assert not [name for name, thing in things.items() if isinstance(thing, types.ModuleType)]; "
        "assert all(vars(lawm_core)[name] is thing for name, thing in things.items()); "
        "from lawm_core import transfer, film; assert callable(transfer) and callable(film); "
        "assert not hasattr(lawm_core, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_names_for_type_checkers_are_those_of_the_interpreter():
    import lawm_core

    tree = ast.parse((ROOT / "lawm_core" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {alias.name: line.module for line in block.body for alias in line.names}
    assert shown == lawm_core._MODULE_OF and sorted(shown) == sorted(lawm_core.__all__)
    folders = {path.stem for path in (ROOT / "lawm_core").iterdir()}
    assert not folders & set(shown), "importing the module would replace the name"


# ---- README ---------------------------------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_path_in_the_readme_exists():
    map_block = README.split("<!-- map -->")[1]
    paths = re.findall(r"^\s*`?([\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|txt|toml))`?\s{2,}", map_block, re.MULTILINE)
    linked = [p for p in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in p]
    assert len(paths) > 20 and linked
    missing = [p for p in {*paths, *linked} if not (ROOT / p).exists()]
    assert not missing, missing


def commands_in(text: str) -> list[str]:
    """The lines of a page's blocks for a shell."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [
        line.strip() for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")
    ]


def test_every_command_in_the_readme_is_one_we_have():
    commands = commands_in(README)
    assert commands and not [command for command in commands if not have_command(command)]


def have_command(command: str) -> bool:
    """make targets exist, and every lawm_core command line parses; what they do is tested in their own rooms."""
    words = shlex.split(command, comments=True)
    runs = lambda *line: subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    if words[0] == "make":
        return runs("make", "--dry-run", *words[1:])
    if "lawm_core" in words:  # by itself or under torchrun
        from lawm_core.cli import build_parser

        begun = words[0] in {".venv/bin/python", "torchrun"} and words[words.index("lawm_core") - 1] == "-m"
        try:
            return begun and bool(build_parser().parse_args(words[words.index("lawm_core") + 1 :]).run)
        except SystemExit:  # argparse has printed what is wrong
            return False
    if words[1:5] == ["-m", "pip", "install", "-r"]:
        return (ROOT / words[5]).is_file()
    if words[1:3] == ["-m", "app"]:
        return runs(sys.executable, "-m", "app", "--help")
    if words[0] == "docker":
        return (ROOT / "Dockerfile").is_file()
    if words[0] in {".venv/bin/python", "python"}:
        return (ROOT / words[1]).exists()
    return words[0] in {"git", "cd"}


def test_files_from_elsewhere_are_data_and_never_code():
    """Nothing here unpickles, evaluates or runs what a file says."""
    wrong = []
    for path in CODE:
        calls = [node for node in ast.walk(syntax(path)) if isinstance(node, ast.Call)]
        found = {ast.unparse(call.func) for call in calls} & RUNNERS
        found |= {ast.unparse(keyword) for call in calls for keyword in call.keywords} & RUNNING
        found |= imports(path) & {"pickle", "dill", "joblib", "marshal", "shelve"}
        wrong += [f"{module_name(path)}: {what}" for what in found]
    assert not wrong, "\n".join(wrong)


def test_no_shard_is_large_and_all_together_are_small():
    sizes = [p.stat().st_size for p in (ROOT / "checkpoints").rglob("*.safetensors")]
    assert sizes and max(sizes) <= 16 * 2**20 and sum(sizes) <= 48 * 2**20
