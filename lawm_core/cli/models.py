"""Commands `models`, `pack` and `push`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lawm_core.cli.shared import AddCommand
from lawm_core.hub import parse, push_model
from lawm_core.model_folders import check_model


def add_commands(add: AddCommand) -> None:
    """Add the commands and their options."""
    add("models", run_models, "List the shipped models as JSON, the default first.")

    pack = add("pack", run_pack, "Copy a trained model with weights in half precision, for publishing.")
    pack.add_argument("model", help="model folder, for example RUN/model")
    pack.add_argument("out", type=Path, help="new folder, for example checkpoints/NAME")

    push = add("push", run_push, "Upload a model with its card to the Hugging Face Hub.")
    push.add_argument("model", help="name of a shipped model or a folder, with a card.md")
    push.add_argument("address", help="hub:owner/name or hub:owner/name@revision")
    push.add_argument("--private", action="store_true", help="if the repository is new, make it private")


def run_models(options: argparse.Namespace) -> None:
    """Print name, size, frame rate and families of each shipped model."""
    from lawm_core.checkpoint import load_model
    from lawm_core.model_folders import list_models

    rows = []
    for name in list_models():
        model = load_model(name)
        rows.append(
            {
                "name": name,
                "parameters": model.parameter_count(),
                "frame_size": model.frame_size,
                "picture_size": model.picture_size,
                "frames_per_second": model.frames_per_second,
                "families": list(model.family_names),
            }
        )
    print(json.dumps(rows, indent=1))


def run_pack(options: argparse.Namespace) -> None:
    """Write a model's files in half precision."""
    check_model(options.model)
    from lawm_core.checkpoint import load_model, save_model

    folder = save_model(load_model(options.model), options.out, half=True)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(json.dumps({"out": str(folder), "bytes": size}))


def run_push(options: argparse.Namespace) -> None:
    """Upload a model after checking that it loads, and print its URL."""
    check_model(options.model)
    parse(options.address)
    from lawm_core.checkpoint import load_model
    from lawm_core.model_folders import find_model

    folder = find_model(options.model)
    load_model(folder)
    print(json.dumps({"page": push_model(folder, options.address, options.private)}))
