"""Run the benchmarks of speed and memory one after another; print a table, and write JSON with the machine they ran on.

    python benchmarks [NAME ...] [--out report/bench.json]

Run nothing else at the same time. Each benchmark is also a script with its own options.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.results import describe_machine, print_table

NAMES = ("rollout", "memory", "utilisation", "planning", "transfer", "input", "extraction", "placing", "space", "page")
BARS = {  # required limits, by benchmark and figure: (comparison, limit)
    "rollout": {"times faster": (">=", 4.0), "share of the matrix rate": (">=", 0.6)},
    "memory": {"rollout, power of the horizon": ("<=", 1.2), "one pass, power of the horizon": ("<=", 1.2)},
    "extraction": {"times faster with 2 workers than with 1, once started": (">=", 1.8)},
    "space": {"page with a result, s": ("<=", 60.0)},
    "page": {
        "server ready, s": ("<=", 20.0),
        "page usable, s": ("<=", 3.0),
        "click to frames, p95 s": ("<=", 1.0),
        "hover, p95 s": ("<=", 0.1),
        "capacity to frames, median s": ("<=", 1.5),
        "requests to other servers in a minute": ("<=", 0),
    },
}


def measure(name: str) -> dict[str, object]:
    """Run a benchmark and return its figures, or a note that it failed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / f"{name}.py"), "--out", str(out)]
        if subprocess.run(command, stdout=subprocess.DEVNULL, cwd=ROOT).returncode:
            return {"failed": "see its error output above"}
        return json.loads(out.read_text())


def compare(name: str, figure: str, value: object) -> str:
    """Format a figure, with its limit and whether it is met, if there is one."""
    text = f"{value:,.4g}" if isinstance(value, float) else str(value)
    if (bar := BARS.get(name, {}).get(figure)) is None:
        return text
    sign, limit = bar
    met = value >= limit if sign == ">=" else value <= limit
    return f"{text:<12} {sign} {limit:g}: {'met' if met else 'NOT MET'}"


def main() -> None:
    """Run the benchmarks, print the table and write the JSON file."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run, from {', '.join(NAMES)} (default: all)"
    )
    parser.add_argument("--out", type=Path, default=Path("report/bench.json"))
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}.")
    machine, found = describe_machine(), {}
    for name in options.names or NAMES:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        found[name] = measure(name)
    print_table(machine)
    for name, figures in found.items():
        print(f"\n{name}")
        print_table({figure: compare(name, figure, value) for figure, value in figures.items()})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "figures": found, "bars": BARS}, indent=1) + "\n")
    sys.exit(any("failed" in figures for figures in found.values()))


if __name__ == "__main__":
    main()
