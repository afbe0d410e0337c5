"""How every benchmark tells what it has found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch


def tell(figures: dict[str, object], out: Path | None) -> None:
    """Prints a line a figure, and writes them all where a file is given."""
    print_table(figures)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def print_table(figures: dict[str, object]) -> None:
    """A line a figure."""
    width = max(map(len, figures)) + 2
    for name, value in figures.items():
        print(f"{name:<{width}} {value:,.4g}" if isinstance(value, float) else f"{name:<{width}} {value}")


def describe_machine() -> dict[str, object]:
    """What figures were measured on: processor, cores this process may use, memory, GPU, versions."""
    machine = {
        "processor": processor_name(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(),
        "memory, GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def processor_name() -> str:
    """As the system calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
