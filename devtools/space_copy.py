"""Start a copy of the repository as a Hugging Face Space does, and measure the start.

The copy has the files that git has, and a new environment with the packages of requirements.txt only. In it, `python
app/main.py` runs without a network, with read-only files, two CPU cores and an empty home folder. The page is requested
until it has its first result; then latent actions are requested through the API. If this machine does not allow to
isolate the network or to drop root's capabilities, that step is skipped; the results say whether there was a network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT = 7860
CORES, START_SECONDS = 2, 180.0
ADDRESS = f"http://127.0.0.1:{PORT}"


def measure_space(folder: Path, python: str, torch: str | None = None) -> dict[str, object]:
    """Start a copy in `folder` and return the measurements by name.

    python: interpreter of the new environment. torch: version to install instead of that in requirements.txt.
    """
    tree, home, result = folder / "space", folder / "home", folder / "result.json"
    copy_tree(tree)
    start = time.monotonic()
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    own_python = folder / "venv" / "bin" / "python"
    requirements = (tree / "requirements.txt").read_text()
    if torch:
        lines = requirements.splitlines()
        requirements = "\n".join(f"torch=={torch}" if line.startswith("torch==") else line for line in lines)
    (folder / "requirements.txt").write_text(requirements)
    subprocess.run([own_python, "-m", "pip", "install", "--quiet", "-r", folder / "requirements.txt"], check=True)
    installed = time.monotonic() - start
    home.mkdir()
    before = contents(tree)
    set_writable(tree, False)
    try:
        is_offline = run_isolated(
            [str(own_python), str(tree / "devtools" / "space_copy.py"), str(result)],
            {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "SPACE_ID": "someone/space"}
            | {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(PORT), "PYTHONDONTWRITEBYTECODE": "1"},
            tree,
        )
    finally:
        set_writable(tree, True)
    changed = contents(tree) != before
    found = {"interpreter": python_version(own_python), "install, s": installed, **json.loads(result.read_text())}
    return found | {"files written to the tree": changed, "without a network": is_offline}


def python_version(python: Path) -> str:
    """Return the versions of an interpreter and its torch."""
    code = "import platform, torch; print(platform.python_version(), 'with torch', torch.__version__)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def copy_tree(tree: Path) -> None:
    """Copy the files of the repository that git tracks or would add, including changes that are not committed."""
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
    """Return all files and folders below a folder."""
    return set(tree.rglob("*"))


def set_writable(tree: Path, writable: bool) -> None:
    """Set or clear the owner's write permission of a folder and everything in it."""
    for path in (tree, *contents(tree)):
        path.chmod((path.stat().st_mode | 0o200) if writable else (path.stat().st_mode & ~0o222))


def run_isolated(command: list[str], environment: dict[str, str], cwd: Path) -> bool:
    """Run a command on CORES cores, without a network and without root's right to write to read-only files.

    Returns whether the network could be disabled.
    """
    is_root = os.geteuid() == 0
    unprivileged = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if is_root else []
    offline = ["unshare", "--net"] if is_root else ["unshare", "--net", "--map-root-user"]
    offline += ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    unprivileged, offline = (prefix if is_allowed(prefix) else [] for prefix in (unprivileged, offline))
    cores = {*sorted(os.sched_getaffinity(0))[:CORES]}
    limit_cores = lambda: os.sched_setaffinity(0, cores)
    subprocess.run([*offline, *unprivileged, *command], env=environment, cwd=cwd, check=True, preexec_fn=limit_cores)
    return bool(offline)


def is_allowed(prefix: list[str]) -> bool:
    """Return whether this machine allows to run commands with a prefix."""
    try:
        return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


# ---- in the copy ----------------------------------------------------------------------------------------------------


def use_page() -> dict[str, object]:
    """Start the app, wait for its first result, request latent actions, and return the measurements by name."""
    start, log = time.monotonic(), Path(os.environ["HOME"]) / "app.log"
    with log.open("w") as file:
        app = subprocess.Popen([sys.executable, "app/main.py"], stdout=file, stderr=subprocess.STDOUT)
    try:
        frames = wait_for_result(app, log)
        shown = time.monotonic() - start
        from gradio_client import Client

        clips = json.loads(Path("assets/gallery/gallery.json").read_text())["clips"]
        start = time.monotonic()
        client = Client(ADDRESS, verbose=False)
        actions = client.predict(source=clips[0]["file"], family="noisy", api_name="/infer_actions")
        answered = time.monotonic() - start
        status = Path(f"/proc/{app.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return {
            "page with a result, s": shown,
            "frames of the result": frames,
            "actions from the API": len(actions),
            "API response, s": answered,
            "peak memory, MiB": peak / 1024,
        }
    finally:
        app.terminate()
        app.wait(30)


def wait_for_result(app: subprocess.Popen, log: Path) -> int:
    """Wait until the page has a result and return its number of frames."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and app.poll() is None:
        try:
            with urllib.request.urlopen(f"{ADDRESS}/config", timeout=5) as response:
                config = json.loads(response.read())
        except OSError:
            time.sleep(0.1)
            continue
        for component in config["components"]:
            if component["props"].get("elem_id") == "panels" and (value := component["props"].get("value")):
                return int(value["frames"])
        raise RuntimeError("the page has no result: its component `panels` is missing or empty.")
    raise RuntimeError(f"the app exited, or was not ready within {START_SECONDS:g} s:\n{log.read_text()[-3000:]}")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(use_page()))
