"""The page's command line, parsed and checked before torch and Gradio are imported."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import lawm_core as lawm

NAME = "LAWM Explorer"
PROGRAM = "lawm-explorer"
ROOT = Path(__file__).resolve().parent.parent
KEEP_SECONDS = 3600
USAGE, BAD_MODEL = 2, 4  # exit statuses


def check_early() -> None:
    """Answer --help, or exit with a message if an option is invalid, before imports that take seconds."""
    options = parse_options(None)
    if str(options.model).startswith("hub:"):
        return  # the Hub is asked only once, when the model is loaded, because its files may change in between
    try:
        lawm.find_model(options.model)
    except lawm.CheckpointError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        sys.exit(BAD_MODEL)


def is_zerogpu() -> bool:
    """Return whether the environment says that this is a Space with ZeroGPU, by the same rule as `spaces`."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line. Defaults come from environment variables, with which a Space is configured."""
    parser = argparse.ArgumentParser(prog="python -m app", description=f"{NAME}: serve the web page.")
    environment = os.environ.get
    parser.add_argument(
        "--model", default=environment("LAWM_MODEL"), help="name of a shipped model, a folder, or hub:owner/name"
    )
    parser.add_argument("--host", default=environment("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=port, default=environment("GRADIO_SERVER_PORT", "7860"))
    gallery = environment("LAWM_GALLERY", ROOT / "assets" / "gallery")
    parser.add_argument("--gallery", type=Path, default=gallery, help="folder with clips and a gallery.json")
    library = environment("LAWM_LIBRARY", ROOT / "assets" / "library")
    parser.add_argument("--library", type=Path, default=library, help="folder built by `lawm library`")
    keep = environment("LAWM_KEEP", str(KEEP_SECONDS))
    parser.add_argument(
        "--keep", type=seconds, default=keep, help=f"seconds to keep uploads and results (default {KEEP_SECONDS})"
    )
    parser.add_argument(
        "--behind-proxy", action="store_true", default=bool(environment("SPACE_ID")),
        help="trust X-Forwarded-For; use only behind a proxy that sets it (default: on a Space)",
    )  # fmt: skip
    parser.add_argument("--mcp", action="store_true", help="also serve the Model Context Protocol")
    return parser.parse_args(arguments)


def port(text: str) -> int:
    """Parse a TCP port."""
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"port must be in [1, 65535], got {text}.")
    return value


def seconds(text: str) -> int:
    """Parse a whole number of seconds, at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 second, got {text}.")
    return value
