"""Output of benchmarks: a table to read, JSON for programs, and a description of the machine."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch


def write_results(results: dict[str, object], out: Path | None) -> None:
    """Print the results, one per line, and write them to a JSON file if one is given."""
    print_table(results)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def print_table(results: dict[str, object]) -> None:
    """Print the results, one per line, with aligned values."""
    width = max(map(len, results)) + 2
    for name, value in results.items():
        print(f"{name:<{width}} {value:,.4g}" if isinstance(value, float) else f"{name:<{width}} {value}")


def percentile(values: list[float], fraction: float) -> float:
    """Return the value below which this fraction of the values lies."""
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))]


def describe_machine() -> dict[str, object]:
    """Return a description of this machine: processor, usable cores, threads, memory, versions, and GPU if any."""
    machine = {
        "processor": processor_name(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(),
        "memory, GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def processor_name() -> str:
    """Return the name of the processor, or its architecture if the name is unknown."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
