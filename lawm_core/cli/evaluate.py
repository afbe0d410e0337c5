"""Command `evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lawm_core.cli.arguments import device, positive_int, suites
from lawm_core.cli.shared import (
    AddCommand,
    add_label_options,
    add_precision_option,
    check_folders,
    open_model,
    report_skipped,
    show_progress,
)
from lawm_core.model_folders import check_model

if TYPE_CHECKING:
    from lawm_core.data.episodes import EpisodeDataset
    from lawm_core.model import LatentActionModel


def add_commands(add: AddCommand) -> None:
    """Add the command and its options."""
    evaluate = add("evaluate", run_evaluate, "Evaluate a model on a folder of videos and write a report.")
    evaluate.add_argument("--model", help="name of a shipped model or a folder")
    evaluate.add_argument("--data", type=Path, required=True, help="folder of videos")
    evaluate.add_argument("--split", default="val", help="split of --data and --labels (default val)")
    evaluate.add_argument(
        "--suite", type=suites, default="all",
        help="suites to run, separated by commas, for example idm,pictures,flow,cycle,planning_arm (default all)",
    )  # fmt: skip
    evaluate.add_argument(
        "--labels", type=Path, action="append", default=[],
        help="LeRobotDataset v3.0 folder with robot episodes for controller and planning suites; can be repeated",
    )  # fmt: skip
    add_label_options(evaluate)
    evaluate.add_argument(
        "--baselines", type=Path, help="folder that `lawm train baselines` has written, for planning suites"
    )
    evaluate.add_argument("--family", help="families to evaluate, separated by commas (default: all)")
    evaluate.add_argument(
        "--quick", action="store_true", help="use few clips and settings, to take minutes instead of hours"
    )
    evaluate.add_argument(
        "--plan-samples", type=positive_int, help="plans that CEM samples per iteration (default 300)"
    )
    evaluate.add_argument("--plan-iterations", type=positive_int, help="iterations of CEM for the arm (default 15)")
    evaluate.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (default report)")
    evaluate.add_argument("--add", action="store_true", help="add to the report in --out instead of replacing it")
    evaluate.add_argument("--cache", type=Path, default=Path("cache"), help="folder of decoded videos (default cache)")
    evaluate.add_argument("--device", type=device, default="auto", help="cpu, cuda or auto (default auto)")
    add_precision_option(evaluate, default="float32")  # so that scores from different machines can be compared
    evaluate.add_argument("--quiet", action="store_true", help="do not show progress")


def run_evaluate(options: argparse.Namespace) -> None:
    """Evaluate, write OUT/report.json, .md and .html, and print one line per score."""
    check_folders(options.data, options.baselines, *options.labels)
    check_model(options.model, tuple(options.family.split(",")) if options.family else ())
    from lawm_core.checkpoint import fingerprint
    from lawm_core.data.clip_dataset import open_dataset
    from lawm_core.evaluation.bench import QUICK, SuiteConfig
    from lawm_core.evaluation.image_quality import PICTURE_SIZE
    from lawm_core.evaluation.report import read_report, write_report
    from lawm_core.evaluation.suites import run_suites, suites_for
    from lawm_core.training.baselines import load_baselines

    model = open_model(options)
    config = QUICK if options.quick else SuiteConfig()
    if options.family:
        config = dataclasses.replace(config, families=tuple(options.family.split(",")))
    given = {"plan_samples": options.plan_samples, "plan_iterations": options.plan_iterations}
    config = dataclasses.replace(config, **{name: count for name, count in given.items() if count is not None})
    with_pictures = options.suite == "all" or "pictures" in options.suite.split(",")
    size = max(model.picture_size, PICTURE_SIZE if with_pictures else 0)
    dataset = open_dataset(
        options.data, options.cache, options.split, model.frames_per_second, model.frame_size, picture_size=size
    )
    labelled = dict(open_labelled(folder, options, model) for folder in options.labels)
    names = suites_for(labelled) if options.suite == "all" else options.suite.split(",")
    baselines = {name: load_baselines(options.baselines, name) for name in labelled if options.baselines}
    about = {"name": model.name, "fingerprint": fingerprint(options.model), "weights": model.parameter_count()}
    if model.precision != "float32":  # the default precision is not recorded
        about["precision"] = model.precision
    report_skipped(dataset.skipped)
    data = {"split": options.split, "videos": len(dataset.clips), "frames_per_second": model.frames_per_second}
    if options.add:
        # A report of another model or other data raises here, before an hour of evaluation.
        read_report(options.out, {"model": about, "data": data})
    start = time.monotonic()
    results = run_suites(model, dataset, config, names, None if options.quiet else show_progress, labelled, baselines)
    write_report(options.out, about, data, config, results, options.add)
    for suite, result in results.items():
        for score in result.scores:
            if score.step is None:
                print(json.dumps({"suite": suite} | {k: v for k, v in vars(score).items() if v is not None}))
    print(f"{time.monotonic() - start:.0f} s; the report is in {options.out}", file=sys.stderr)


def open_labelled(folder: Path, options: argparse.Namespace, model: LatentActionModel) -> tuple[str, EpisodeDataset]:
    """Open a LeRobotDataset folder. Return the name of the model's robot with the same actions, and the episodes.

    Raises ValueError if the model has no controllers for a robot with these actions.
    """
    from lawm_core.data.episodes import EpisodeDataset, build_episodes
    from lawm_core.data.lerobot import LabelConfig

    progress = None if options.quiet else show_progress
    labels = LabelConfig(actions=options.actions, camera=options.camera)
    home = build_episodes(folder, options.cache, model.frames_per_second, model.picture_size, labels, progress)
    dataset = EpisodeDataset(home, options.split)
    robots = {name: model.robot(name).names for name in model.robots}
    robot = next((name for name, names in robots.items() if names == dataset.names), None)
    if robot is None:
        raise ValueError(
            f"{folder} has actions {', '.join(dataset.names)}, but {model.name} has controllers for "
            + ("; ".join(f"{name}: {', '.join(names)}" for name, names in robots.items()) or "no robot")
            + ". Choose episodes of one of these robots, or train controllers first."
        )
    return robot, dataset
