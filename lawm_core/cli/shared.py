"""Functions that several commands share: options, checks, progress, and loading of models and clips.

Nothing heavy is imported at the top, so that usage errors are reported before torch is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lawm_core.cli.arguments import capacity, device
from lawm_core.model_folders import check_model

if TYPE_CHECKING:
    from lawm_core.model import LatentActionModel, ModelConfig
    from lawm_core.types import Clip

AddCommand = Callable[[str, Callable, str], argparse.ArgumentParser]  # name, function to run, description


# ---- options --------------------------------------------------------------------------------------------------------


def add_model_options(parser: argparse.ArgumentParser, device_option: bool = True) -> None:
    """Add --model, --family, --capacity, --device and --trusted."""
    parser.add_argument("--model", help="name of a shipped model or a folder (default: the first of `lawm models`)")
    parser.add_argument("--family", help="bottleneck family (default: the model's first)")
    parser.add_argument("--capacity", type=capacity, default=1.0, help="capacity of actions, 0 to 1 (default 1)")
    if device_option:
        parser.add_argument("--device", type=device, default="auto", help="cpu, cuda or auto (default auto)")
    parser.add_argument(
        "--trusted", action="store_true", help="decode videos without the sandbox: only for files of known origin"
    )


def add_precision_option(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Add --precision."""
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bf16"), default=default,
        help="precision of matrix products and convolutions; auto is LAWM_PRECISION if set, else the faster one here "
        f"(default {default})",
    )  # fmt: skip


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Add --actions and --camera, for data sets given by --labels."""
    parser.add_argument(
        "--actions", choices=("auto", "delta", "absolute", "state"), default="auto",
        help="actions in --labels are changes (delta) or targets (absolute), or are replaced by changes of the state; "
        "auto, the default, decides by their names",
    )  # fmt: skip
    parser.add_argument("--camera", help="name of the camera in --labels to use (default: the first)")


# ---- checks ---------------------------------------------------------------------------------------------------------


def check_files(*paths: Path) -> None:
    """Raise ValueError for the first path that is not a file."""
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}.")


def check_folders(*paths: Path | None) -> None:
    """Raise ValueError for the first path that is not a folder; None is skipped."""
    for path in paths:
        if path is not None and not path.is_dir():
            raise ValueError(f"{path}: {'is not a folder' if path.exists() else 'no such folder'}.")


def check_model_options(options: argparse.Namespace) -> None:
    """Raise CheckpointError for an unknown model, ValueError for an unknown family."""
    check_model(options.model, (options.family,) if options.family else ())


# ---- progress -------------------------------------------------------------------------------------------------------


def show_progress(fraction: float, what: str) -> None:
    """Print progress on one line of stderr."""
    print(f"\r{fraction:4.0%}  {what:<60}", end="" if fraction < 1 else "\n", file=sys.stderr, flush=True)


def report_skipped(refused: Mapping[str, str]) -> None:
    """Print on stderr which videos were skipped and why."""
    for name, reason in refused.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)


# ---- models and clips -----------------------------------------------------------------------------------------------


def open_model(options: argparse.Namespace) -> LatentActionModel:
    """Load the model that the options name, on their device and in their precision."""
    from lawm_core.checkpoint import load_model
    from lawm_core.runtime import pick_device

    # Commands without the option only infer actions, which is always done in float32.
    precision = getattr(options, "precision", "auto")
    return load_model(options.model, device=pick_device(options.device), precision=precision)


def open_model_and_clips(
    options: argparse.Namespace, *parts: tuple[Path, float]
) -> tuple[LatentActionModel, list[Clip]]:
    """Load the model and read clips at the same time. parts: path of each video, and start of the clip in seconds."""
    from lawm_core.checkpoint import read_config
    from lawm_core.model_folders import find_model

    with ThreadPoolExecutor(len(parts)) as threads:
        config = read_config(find_model(options.model))
        clips = [threads.submit(open_clip, path, start, options, config) for path, start in parts]
        model = open_model(options)
        return model, [clip.result() for clip in clips]


def open_clip(path: Path, start_seconds: float, options: argparse.Namespace, config: ModelConfig) -> Clip:
    """Read a clip at a model's rate and size."""
    from lawm_core.video.decode_types import DecodeLimits
    from lawm_core.video.files import read_clip

    return read_clip(
        path,
        frames_per_second=config.frames_per_second,
        size=config.decoder.picture_size,
        num_frames=options.frames,
        start_seconds=start_seconds,
        limits=DecodeLimits.unattended(),
        trusted=options.trusted,
        min_frames=1,  # enough for a target
    )


def let_threads_sleep() -> None:
    """Let waiting OpenMP threads sleep; must be called before torch is imported.

    Spinning threads make a command ten times slower on a busy machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
