"""Commands `library` and `extract`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lawm_core.cli.arguments import frame_count, not_negative, point_count, positive, positive_int
from lawm_core.cli.shared import (
    AddCommand,
    add_model_options,
    check_folders,
    check_model_options,
    open_model,
    report_skipped,
    show_progress,
)


def add_commands(add: AddCommand) -> None:
    """Add the commands and their options."""
    library = add("library", run_library, "Build a map of the latent actions of a folder of videos.")
    library.add_argument("folder", type=Path)
    library.add_argument("--out", type=Path, required=True, help="folder of the library")
    library.add_argument(
        "--frames", type=frame_count, default=120, help="maximum number of frames per video (default 120)"
    )
    library.add_argument("--quiet", action="store_true", help="do not show progress")
    add_model_options(library)

    extract = add("extract", run_extract, "Infer the latent actions of many videos with Ray and store them as Parquet.")
    extract.add_argument("folder", type=Path)
    extract.add_argument(
        "--out", type=Path, required=True, help="folder of the Parquet files; an interrupted run continues"
    )
    extract.add_argument(
        "--frames", type=frame_count, default=120, help="maximum number of frames per video (default 120)"
    )
    extract.add_argument("--models", type=positive_int, default=1, help="model processes (default 1)")
    extract.add_argument("--processors", type=positive, default=1.0, help="CPU cores per model process (default 1)")
    extract.add_argument("--gpus", type=not_negative, default=0.0, help="GPUs per model process (default 0)")
    extract.add_argument("--address", help="address of a Ray cluster, or `auto` to find one (default: start one here)")
    extract.add_argument("--library", type=Path, help="also build a map of the actions, and write it to this folder")
    extract.add_argument(
        "--points",
        type=point_count,
        default=20_000,
        help="actions to lay out on the map; others are projected (default 20000)",
    )
    add_model_options(extract, device_option=False)


def run_library(options: argparse.Namespace) -> None:
    """Build a library; an interrupted build continues."""
    check_folders(options.folder)
    check_model_options(options)
    from lawm_core.library.build import build_library
    from lawm_core.library.library import LibraryConfig

    model = open_model(options)
    family = model.at(options.family).name
    config = LibraryConfig(family=family, capacity=options.capacity, frames=options.frames)
    progress = None if options.quiet else show_progress
    library = build_library(model, options.folder, options.out, config, options.model, progress, options.trusted)
    report_skipped(library.index.skipped)
    print(json.dumps({"out": str(options.out), "clips": len(library.index.clips), "actions": len(library)}))


def run_extract(options: argparse.Namespace) -> None:
    """Store the latent actions of all videos and, with --library, build a map of them.

    If there are more actions than --points, the map is built from a sample, and all others are projected onto it.
    """
    check_folders(options.folder)
    check_model_options(options)
    from lawm_core.bulk.corpus_map import build_corpus_map
    from lawm_core.bulk.extraction import ExtractionConfig, extract
    from lawm_core.bulk.map_projection import project_all
    from lawm_core.checkpoint import load_model
    from lawm_core.library.library import LibraryConfig

    family = load_model(options.model).at(options.family).name
    library_config = LibraryConfig(family=family, capacity=options.capacity, frames=options.frames)
    config = ExtractionConfig(
        library=library_config,
        models=options.models,
        processors=options.processors,
        gpus=options.gpus,
        trusted=options.trusted,
    )
    clips, skipped = extract(options.folder, options.out, options.model, config, options.address)
    report_skipped(skipped)
    report = {"clips": clips, "skipped": len(skipped)}
    if options.library:
        library = build_corpus_map(
            options.out, options.folder, options.library, options.model, options.points, options.trusted
        )
        projected = project_all(options.out, library) - len(library)
        report |= {"actions": len(library), "projected": projected}
    print(json.dumps({"out": str(options.out), **report}))
