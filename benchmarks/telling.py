"""How every benchmark tells what it has found: a table for people, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path


def tell(figures: dict[str, object], out: Path | None) -> None:
    """Prints a line a figure, and writes them all where a file is given."""
    width = max(map(len, figures)) + 2
    for name, value in figures.items():
        print(f"{name:<{width}} {value:.3f}" if isinstance(value, float) else f"{name:<{width}} {value}")
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")
