"""Project-wide properties: layers, terms, shapes, docstrings, packaging, and documented commands and paths."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import lawm_core

ROOT = Path(__file__).resolve().parent.parent
CODE = [path for package in ("lawm_core", "app") for path in sorted((ROOT / package).rglob("*.py"))]
ALL_CODE = [
    path
    for folder in ("lawm_core", "app", "devtools", "benchmarks", "tests", "docs", "assets")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

# A layer may import from itself and from the layers below it.
LAYERS = [
    ["app"],
    ["lawm_core.cli", "lawm_core.__main__"],
    ["lawm_core.bulk"],
    ["lawm_core.evaluation", "lawm_core.training"],
    ["lawm_core.transfer", "lawm_core.library", "lawm_core.dragging"],
    ["lawm_core.checkpoint"],
    ["lawm_core.model"],
    ["lawm_core.planning"],
    ["lawm_core.simulation"],
    ["lawm_core.data"],
    ["lawm_core.models"],
    ["lawm_core.video"],
    [
        "lawm_core.types",
        "lawm_core.runtime",
        "lawm_core.registry",
        "lawm_core.schema",
        "lawm_core.atomic_files",
        "lawm_core.batch_slice",
        "lawm_core.hub",
        "lawm_core.model_folders",
        "lawm_core.meta_init",
    ],
]
# Packages that only some modules may import.
ONLY = {
    "gradio": "app.",
    "plotly": ("app.", "lawm_core.evaluation.report_page"),
    "spaces": ("app.main", "app.zerogpu"),
    "umap": "lawm_core.library.projection",
    "cuml": "lawm_core.library.projection",
    "mujoco": "lawm_core.simulation.simulator",
    "huggingface_hub": "lawm_core.hub",
    "evo": "lawm_core.evaluation.trajectories",
    "transformers": "lawm_core.models.vjepa2",
    "cv2": "lawm_core.data.teacher_flow",
    "pyarrow": ("lawm_core.data.", "lawm_core.simulation.recorder", "lawm_core.bulk."),
    "ray": "lawm_core.bulk.extraction",
}
# Calls that run code from a file, and arguments that allow it.
RUNNERS = {"eval", "exec", "compile", "torch.load", "os.system", "yaml.load", "__import__"}
RUNNING = {"allow_pickle=True", "shell=True", "trust_remote_code=True"}
# The decoder process must start without these.
READING = ("decoder_process", "containers", "decode", "decode_types", "decord_reader", "timeline")
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
            assert node.level == 0, f"{path}: relative imports hide their package"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> int | None:
    for depth, packages in enumerate(LAYERS):
        if any(name == package or name.startswith(package + ".") for package in packages):
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


def test_heavy_packages_are_imported_in_their_modules_only():
    wrong = []
    for path in CODE:
        name, roots = module_name(path), {found.split(".")[0] for found in imports(path)}
        outside = {package for package, modules in ONLY.items() if not name.startswith(modules)}
        wrong += [f"{name} may not import {root}" for root in roots & (outside | WRITTEN_ALONE.get(name, set()))]
    assert not wrong, "\n".join(wrong)


def test_the_page_uses_public_names_only():
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
        "from lawm_core import panels, montage; assert callable(panels) and callable(montage); "
        "assert not hasattr(lawm_core, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_names_for_type_checkers_are_those_of_the_interpreter():
    tree = ast.parse((ROOT / "lawm_core" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {alias.name: line.module for line in block.body for alias in line.names}
    assert shown == lawm_core._MODULE_OF and sorted(shown) == sorted(lawm_core.__all__)
    folders = {path.stem for path in (ROOT / "lawm_core").iterdir()}
    assert not folders & set(shown), "importing the module would replace the name"


# ---- documented paths and commands -----------------------------------------------------------------------------------

README, CONTRIBUTING = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))


def test_every_path_in_readme_and_contributing_exists():
    tree = CONTRIBUTING.split("<!-- map -->")[1]
    paths = re.findall(r"^\s*([\w./-]+/[\w./-]*|[\w-]+\.py)\s{2,}", tree, re.MULTILINE)
    paths += [code for code in re.findall(r"`([\w./-]+(?:/|\.py))`", CONTRIBUTING) if "/" in code]
    links = [link.partition("#")[0] for text in (README, CONTRIBUTING) for link in re.findall(r"\]\(([^)]+)\)", text)]
    links = [link for link in links if link and "://" not in link]
    assert len(paths) > 30 and len(links) > 20
    missing = [path for path in {*paths, *links} if not (ROOT / path).exists()]
    assert not missing, missing


def test_every_package_is_on_the_map():
    tree = CONTRIBUTING.split("<!-- map -->")[1]
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "lawm_core").glob("*/__init__.py")}
    assert packages and not [str(path) for path in packages if f"{path}/" not in tree]


def test_readme_is_short():
    assert len(README.splitlines()) <= 120


def commands_in(text: str) -> list[str]:
    """Return the commands in the shell blocks of a page."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [
        line.strip() for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")
    ]


def test_every_command_in_readme_and_contributing_exists():
    commands = commands_in(README) + commands_in(CONTRIBUTING)
    assert commands and not [command for command in commands if not have_command(command)]


def have_command(command: str) -> bool:
    """Return whether make targets and files exist and every `lawm` command line parses. Other tests run them."""
    words = shlex.split(command, comments=True)
    runs = lambda *line: subprocess.run(line, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
    if words[0] == "make":
        return runs("make", "--dry-run", *words[1:])
    if words[0] == "lawm":
        return parses(words[1:])
    if words[0] == "torchrun":
        return words[words.index("lawm_core") - 1] == "-m" and parses(words[words.index("lawm_core") + 1 :])
    if words[:2] == ["pip", "install"]:
        extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", words[2])
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return bool(extras) and set((extras[1] or "app").split(",")) <= set(project["optional-dependencies"])
    if words[1:3] == ["-m", "app"]:
        from app.options import parse_options

        return bool(parse_options(words[3:]))
    if words[0] == "docker":
        return (ROOT / "Dockerfile").is_file()
    if words[0] in {".venv/bin/python", "python"}:
        return (ROOT / words[1]).exists()
    return words[0] in {"git", "cd", "pre-commit"}


def parses(arguments: list[str]) -> bool:
    """Return whether the command line parser accepts arguments; it prints what is wrong."""
    from lawm_core.cli.main import build_parser

    try:
        return bool(build_parser().parse_args(arguments).run)
    except SystemExit:
        return False


# ---- terms, shapes, docstrings ---------------------------------------------------------------------------------------

# Words of earlier versions with a standard term instead, see docs/concepts.md#glossary. The changelog maps old to new.
RETIRED = re.compile(
    r"(?<![\w-])(told|lent|dials?|lanes?|twins?|footage|hallways?|shelf|rooms?|slowness|settles?|loudness|anew|whoever"
    r"|nobody|alike|foretells?|foretold|had from|gone on with|goes on with|known actions?|let it happen"
    r"|FlowWorldModel|FlowInverseDynamics|PictureDecoder|MotionReader|PlaceReader|LayerPast|RollingPast|TwinWorld|TwinConfig"
    r"|GoalState|DrawnAhead|ListedClip|WithoutWeights|carried_share)(?![\w-])",
    re.IGNORECASE,
)
TEXTS = [
    path
    for folder in ("lawm_core", "app", "devtools", "benchmarks", "tests", "docs", "assets", ".")
    for path in sorted((ROOT / folder).glob("*" if folder == "." else "**/*"))
    if path.suffix in {".py", ".md", ".js", ".html", ".toml", ".txt", ".yml", ".cff"} or path.name == "Makefile"
] + sorted((ROOT / "checkpoints").rglob("*.md"))
OLD_NAMES = {"CHANGELOG.md", "test_house.py"}  # files that list retired words


def test_texts_and_names_use_no_retired_word():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in TEXTS
        if path.name not in OLD_NAMES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in RETIRED.finditer(line)
    ]
    assert len(TEXTS) > 200 and not found, "\n".join(found)


SHAPE = re.compile(r"[a-z]\w*?_([A-Z0-9][A-Zd0-9]*)")


def test_shape_suffixes_use_letters_of_the_legend_only():
    legend = shape_letters()
    wrong = []
    for path in ALL_CODE:
        nodes = list(ast.walk(syntax(path)))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        suffixes = {name: match[1] for name in names if (match := SHAPE.fullmatch(name)) and name != "do_GET"}
        wrong += [f"{module_name(path)}: {name}" for name, s in suffixes.items() if set(re.sub(r"\d", "", s)) - legend]
    assert not wrong, "\n".join(wrong)


def shape_letters() -> set[str]:
    """Return the letters that the docstring of `lawm_core` gives a meaning."""
    legend = lawm_core.__doc__.split("Shape suffixes of tensors: ")[1].split("`state_BTND`")[0]
    return set(re.findall(r"\b([A-Zd])\b", legend.replace("T - 1", "")))


def test_every_public_name_has_a_docstring():
    missing = []
    for path in CODE:
        missing += [] if ast.get_docstring(syntax(path)) else [module_name(path)]
        missing += [f"{module_name(path)}.{name}" for name in undocumented(syntax(path))]
    assert not missing, "\n".join(missing)


def undocumented(parent: ast.Module | ast.ClassDef, prefix: str = "") -> list[str]:
    """Return public classes, functions and methods without a docstring. Overridden methods inherit theirs."""
    overrides = {"forward", "backward"} | ({"trained"} if isinstance(parent, ast.ClassDef) else set())
    missing = []
    for node in parent.body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and node.name not in (overrides if prefix else ()):
            missing.append(prefix + node.name)
        missing += undocumented(node, f"{prefix}{node.name}.") if isinstance(node, ast.ClassDef) else []
    return missing


# ---- packaging and files ---------------------------------------------------------------------------------------------


def test_benchmarks_and_tests_do_not_import_each_other():
    forbidden = {"benchmarks": ("tests",), "tests": ("benchmarks",), "devtools": ("tests", "benchmarks")}
    wrong = [
        f"{module_name(path)} imports {other}"
        for path in ALL_CODE
        for other in forbidden.get(path.relative_to(ROOT).parts[0], ())
        if imported(other, path)
    ]
    assert not wrong, "\n".join(wrong)


def imported(package: str, path: Path) -> bool:
    """Return whether a file imports from a package."""
    return any(name == package or name.startswith(f"{package}.") for name in imports(path))


def test_every_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {module_name(path) for path in CODE if path.name == "__init__.py"}
    assert {name for name in settings["packages"] if name != "lawm_core.checkpoints"} == packages


def test_no_code_from_files_is_run():
    """No module unpickles, evaluates or runs the content of a file."""
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


def test_no_file_is_long():
    long = {module_name(path): lines for path in CODE if (lines := len(path.read_text().splitlines())) > 400}
    assert not long, long
