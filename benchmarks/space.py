"""Check that the repository starts as a Hugging Face Space, and measure how fast; see `devtools/space_copy.py`.

    python benchmarks/space.py [--python python3.12] [--torch 2.11.0] [--out FILE]

First installs the packages of requirements.txt into a new environment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.results import write_results
from devtools.space_copy import measure_space


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environment")
    parser.add_argument("--torch", help="version of torch to install instead of the one in requirements.txt")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="space-") as folder:
        results = measure_space(Path(folder), options.python, options.torch)
    write_results(results, options.out)


if __name__ == "__main__":
    main()
