"""Does the repository start as a Space does, and how soon does its page have a result?

    python benchmarks/space.py [--python python3.12] [--torch 2.11.0] [--out FILE]

A copy of the tree as git has it; a fresh environment with requirements.txt alone; then, without a network, with the
tree read-only, two processors and a home of its own, `python app/main.py` from the tree's root. The page is asked for
until it comes with its first result, then latent actions are asked for as a script would. What this machine does not
allow (a network of its own, giving up root's rights) is left out, and the figures say so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT = 7860
PROCESSORS, START_SECONDS = 2, 180.0
ADDRESS = f"http://127.0.0.1:{PORT}"


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to make the environment with")
    parser.add_argument("--torch", help="another version of torch than requirements.txt has, as ZeroGPU may need")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inside", type=Path, metavar="RESULT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        given.inside.write_text(json.dumps(use_page()))
        return
    with tempfile.TemporaryDirectory(prefix="space-") as place:
        figures = measure(Path(place), given.python, given.torch)
    sys.path.insert(0, str(ROOT))
    from benchmarks.telling import tell

    tell(figures, given.out)


def measure(place: Path, python: str, torch: str | None) -> dict[str, object]:
    """All of it, in a folder that is thrown away."""
    tree, home, result = place / "space", place / "home", place / "result.json"
    copy_tree(tree)
    start = time.monotonic()
    subprocess.run([python, "-m", "venv", str(place / "venv")], check=True)
    own = place / "venv" / "bin" / "python"
    wanted = (tree / "requirements.txt").read_text()
    if torch:
        wanted = "\n".join(f"torch=={torch}" if line.startswith("torch==") else line for line in wanted.splitlines())
    (place / "requirements.txt").write_text(wanted)
    subprocess.run([own, "-m", "pip", "install", "--quiet", "-r", place / "requirements.txt"], check=True)
    installed = time.monotonic() - start
    home.mkdir()
    before = contents(tree)
    lock(tree)
    try:
        alone = apart(
            [str(own), str(tree / "benchmarks" / "space.py"), "--inside", str(result)],
            {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "SPACE_ID": "someone/space"}
            | {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(PORT), "PYTHONDONTWRITEBYTECODE": "1"},
            tree,
        )
    finally:
        lock(tree, locked=False)
    changed = contents(tree) != before
    found = {"interpreter": python_version(own), "install, s": installed, **json.loads(result.read_text())}
    return found | {"files written into the tree": changed, "without a network": alone}


def python_version(python: Path) -> str:
    """Of an interpreter and its torch."""
    code = "import platform, torch; print(platform.python_version(), 'with torch', torch.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def copy_tree(tree: Path) -> None:
    """What git has, and what it would take up: no environment, no caches, no runs."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listing.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


def contents(tree: Path) -> set[Path]:
    """Every file and folder."""
    return set(tree.rglob("*"))


def lock(tree: Path, locked: bool = True) -> None:
    """Takes the right to write from everything, or gives it back."""
    for path in (tree, *contents(tree)):
        path.chmod((path.stat().st_mode & ~0o222) if locked else (path.stat().st_mode | 0o200))


def apart(command: list[str], environment: dict[str, str], cwd: Path) -> bool:
    """Runs a command with two processors, without root's right to write everywhere, and with nothing but itself on its
    network; whether the last could be had.
    """
    root = os.geteuid() == 0
    humble = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if root else []
    alone = ["unshare", "--net"] if root else ["unshare", "--net", "--map-root-user"]
    alone += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    humble, alone = (prefix if allowed(prefix) else [] for prefix in (humble, alone))
    processors = {*sorted(os.sched_getaffinity(0))[:PROCESSORS]}
    share = lambda: os.sched_setaffinity(0, processors)
    subprocess.run([*alone, *humble, *command], env=environment, cwd=cwd, check=True, preexec_fn=share)
    return bool(alone)


def allowed(prefix: list[str]) -> bool:
    """Whether commands may be run so."""
    try:
        return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


# ---- inside ---------------------------------------------------------------------------------------------------------


def use_page() -> dict[str, object]:
    """Starts the app, waits for its page with a result, asks for a transfer; what that took."""
    start, log = time.monotonic(), Path(os.environ["HOME"]) / "app.log"
    with log.open("w") as written:
        app = subprocess.Popen([sys.executable, "app/main.py"], stdout=written, stderr=subprocess.STDOUT)
    try:
        frames = wait_for_result(app, log)
        shown = time.monotonic() - start
        from gradio_client import Client

        sources = [clip["file"] for clip in json.loads(Path("assets/gallery/gallery.json").read_text())["clips"]]
        start = time.monotonic()
        actions = Client(ADDRESS, verbose=False).predict(source=sources[0], family="noisy", api_name="/infer_actions")
        answered = time.monotonic() - start
        status = Path(f"/proc/{app.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return {
            "page with a result, s": shown,
            "frames of that result": frames,
            "actions asked for by a script": len(actions),
            "their answer, s": answered,
            "most memory, MiB": peak / 1024,
        }
    finally:
        app.terminate()
        app.wait(30)


def wait_for_result(app: subprocess.Popen, log: Path) -> int:
    """Until the page comes with a transfer's frames in it; how many there are."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and app.poll() is None:
        try:
            with urllib.request.urlopen(f"{ADDRESS}/config", timeout=5) as answer:
                config = json.loads(answer.read())
        except OSError:
            time.sleep(0.1)
            continue
        for component in config["components"]:
            if component["props"].get("elem_id") == "lanes" and (value := component["props"].get("value")):
                return int(value["frames"])
        raise RuntimeError("the page came without a result")
    raise RuntimeError(f"the app did not start:\n{log.read_text()[-3000:]}")


if __name__ == "__main__":
    main()
