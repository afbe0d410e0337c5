"""The page's command line, read and checked before torch and Gradio are imported."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import lawm_core as lawm

NAME = "LAWM Explorer"
ROOT = Path(__file__).resolve().parent.parent
KEEP_SECONDS = 3600
USAGE = 2
BAD_MODEL = 4  # exit status


def answer_early() -> None:
    """Exit here where the command line asks for help or cannot be followed: nobody waits seconds for a typing error."""
    options = read_options(None)
    if str(options.model).startswith("hub:"):
        return  # looked for once, by who loads it: what lies on the Hub may change
    try:
        lawm.find_model(options.model)
    except lawm.CheckpointError as error:
        print(f"lawm-explorer: {error}", file=sys.stderr)
        sys.exit(BAD_MODEL)


def is_announced() -> bool:
    """Whether the environment says that this is a Space with ZeroGPU, as `spaces` reads it."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """What the command line says; the environment gives the defaults, as on a Space."""
    parser = argparse.ArgumentParser(prog="python -m app", description=f"{NAME}: a web page.")
    environment = os.environ.get
    parser.add_argument(
        "--model", default=environment("LAWM_MODEL"), help="a shipped model's name, a folder, or hub:owner/name"
    )
    parser.add_argument("--host", default=environment("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=port, default=environment("GRADIO_SERVER_PORT", "7860"))
    gallery = environment("LAWM_GALLERY", ROOT / "assets" / "gallery")
    parser.add_argument("--gallery", type=Path, default=gallery, help="a folder with clips and gallery.json")
    library = environment("LAWM_LIBRARY", ROOT / "assets" / "library")
    parser.add_argument("--library", type=Path, default=library, help="a folder that `lawm_core library` made")
    keep = environment("LAWM_KEEP", str(KEEP_SECONDS))
    parser.add_argument(
        "--keep", type=seconds, default=keep, help="seconds that uploads and results stay (default 3600)"
    )
    parser.add_argument(
        "--behind-proxy", action="store_true", default=bool(environment("SPACE_ID")),
        help="believe X-Forwarded-For: only where a proxy sets it (default: on a Space)",
    )  # fmt: skip
    parser.add_argument("--mcp", action="store_true", help="also answer as a server of the Model Context Protocol")
    return parser.parse_args(arguments)


def port(text: str) -> int:
    """A TCP port."""
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"port must be in [1, 65535], got {text}.")
    return value


def seconds(text: str) -> int:
    """A whole number of seconds, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1 second, got {text}.")
    return value
