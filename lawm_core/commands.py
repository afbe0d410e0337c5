"""What the commands of `cli.py` do. Each checks what it is given before it imports anything heavy."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lawm_core.hub import parse, push_model
from lawm_core.model_folders import check_model
from lawm_core.video.paths import check_readable, check_writable

if TYPE_CHECKING:
    from lawm_core.contracts import Clip
    from lawm_core.model import LatentActionModel, ModelConfig

GALLERY = Path(__file__).resolve().parent.parent / "assets" / "gallery"


def run_transfer(options: argparse.Namespace) -> None:
    """Writes the four lanes side by side and prints the scores."""
    for path in (options.source, options.target):
        check_readable(path)
    check_writable(options.out)
    check_folders(options.scores and options.scores.parent)
    check_model_options(options)
    if options.context >= options.frames:
        raise ValueError(
            f"context_frames came as {options.context}; needed: 1 to {options.frames - 1}, fewer than the frames."
        )
    let_threads_sleep()
    from lawm_core.evaluation.recipe import film
    from lawm_core.evaluation.transfer import transfer
    from lawm_core.video.files import write_clip

    pieces = ((options.source, options.source_start), (options.target, options.target_start))
    model, (source, target) = open_model_and_clips(options, *pieces)
    result = transfer(
        model, source, target, family=options.family, capacity=options.capacity, context_frames=options.context
    )
    write_clip(options.out, film(result, source, target), model.frames_per_second)
    report = {
        "model": model.name,
        "family": result.family,
        "capacity": result.capacity,
        "frames": len(source.frame_TCHW),
        "frames_per_second": model.frames_per_second,
        "source": source.name,
        "source_start_seconds": options.source_start,
        "target": target.name,
        "target_start_seconds": options.target_start,
        "context_frames": result.context_frames,
        "scores": result.scores,
    }
    text = json.dumps(report, indent=1)
    if options.scores:
        options.scores.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else describe_transfer(options.out, report))


def describe_transfer(out: Path, report: dict) -> str:
    """A result in lines for people."""
    scores = report["scores"]
    return (
        f"{out}: {report['frames']} frames of {report['target']} under what happens in {report['source']}\n"
        f"{report['model']}, {report['family']}, capacity {report['capacity']:g}\n"
        f"source explained {scores['prediction_gain']:.0%}, effect on the target {scores['action_effect']:.1%} of the "
        f"range, error after reading actions back {scores['cycle_ratio']:.2f} times"
    )


def run_actions(options: argparse.Namespace) -> None:
    """Saves action_UA with the settings that made it."""
    check_readable(options.video)
    check_model_options(options)
    let_threads_sleep()
    import numpy as np
    import torch

    model, (clip,) = open_model_and_clips(options, (options.video, options.start))
    family = options.family or model.families[0]
    with torch.inference_mode():
        state_BTND = model.encode(clip.frame_TCHW[None].to(model.device))
        action_UA = model.infer_actions(state_BTND, family=family, capacity=options.capacity)[0]
    settings = {
        "model": model.name,
        "family": family,
        "capacity": options.capacity,
        "video": clip.name,
        "start_seconds": options.start,
        "frames_per_second": model.frames_per_second,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("wb") as out:
        np.savez_compressed(out, action_UA=action_UA.cpu().numpy(), settings=json.dumps(settings))
    print(json.dumps({**settings, "actions": list(action_UA.shape), "out": str(options.out)}))


def run_replay(options: argparse.Namespace) -> None:
    """Writes the recipe's film."""
    check_files(options.recipe)
    check_folders(*options.videos)
    check_writable(options.out)
    if options.model:
        check_model(options.model)
    from lawm_core.checkpoint import fingerprint, load_model
    from lawm_core.evaluation.recipe import Recipe, explain_inexact, replay
    from lawm_core.runtime import pick_device
    from lawm_core.video.files import write_clip

    recipe = Recipe.from_json(options.recipe.read_text(encoding="utf-8"))
    name = options.model or recipe.model
    folders = [*options.videos, options.recipe.parent, GALLERY, GALLERY / "lent"]
    model = load_model(name, device=pick_device(options.device))
    result, frame_TCHW = replay(model, fingerprint(name), recipe, folders)
    write_clip(options.out, frame_TCHW, model.frames_per_second)
    if inexact := explain_inexact(recipe, model.device):
        print(f"lawm: {inexact}", file=sys.stderr)
    report = {"out": str(options.out), "frames": len(frame_TCHW), "scores": result.scores, "exact": inexact is None}
    print(json.dumps(report))


def tell_left_out(refused: Mapping[str, str]) -> None:
    """Name on stderr what was not used, and why."""
    for name, why in refused.items():
        print(f"left out {name}: {why}", file=sys.stderr)


def run_library(options: argparse.Namespace) -> None:
    """Builds a library with progress; a build that was stopped goes on."""
    check_folders(options.folder)
    check_model_options(options)
    from lawm_core.evaluation.librarian import build_library
    from lawm_core.evaluation.library import LibraryConfig

    model = open_model(options)
    config = LibraryConfig(family=options.family or model.families[0], capacity=options.capacity, frames=options.frames)
    progress = None if options.quiet else show_progress
    library = build_library(model, options.folder, options.out, config, options.model, progress, options.trusted)
    tell_left_out(library.index.refused)
    print(json.dumps({"out": str(options.out), "clips": len(library.index.clips), "actions": len(library)}))


def run_extract(options: argparse.Namespace) -> None:
    """Rows of all videos; where it is asked for, the map of them or of a sample, and the places of the others on it."""
    check_folders(options.folder)
    check_model_options(options)
    from lawm_core.checkpoint import load_model
    from lawm_core.evaluation.extraction import ExtractionConfig, extract
    from lawm_core.evaluation.library import LibraryConfig
    from lawm_core.evaluation.overview import demand_points, library_of
    from lawm_core.evaluation.places import place_all

    family = options.family or load_model(options.model).families[0]
    what = LibraryConfig(family=family, capacity=options.capacity, frames=options.frames)
    config = ExtractionConfig(
        what=what, models=options.models, processors=options.processors, gpus=options.gpus, trusted=options.trusted
    )
    if options.library:
        demand_points(options.points)  # before hours of extraction rather than after them
    clips, refused = extract(options.folder, options.out, options.model, config, options.address)
    tell_left_out(refused)
    told = {"clips": clips, "refused": len(refused)}
    if options.library:
        library = library_of(
            options.out, options.folder, options.library, options.model, options.points, options.trusted
        )
        told |= {"actions": len(library), "placed": place_all(options.out, library) - len(library)}
    print(json.dumps({"out": str(options.out), **told}))


def run_models(options: argparse.Namespace) -> None:
    """Prints name, size, rate and families of each shipped model."""
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
                "frames_per_second": model.frames_per_second,
                "families": list(model.families),
            }
        )
    print(json.dumps(rows, indent=1))


def run_shards(options: argparse.Namespace) -> None:
    """Writes what is missing; says what there is."""
    check_folders(options.folder)
    from lawm_core.training.recipes import find_recipe
    from lawm_core.worlds.clips import cache_config
    from lawm_core.worlds.shard_writer import ShardConfig, write_shards
    from lawm_core.worlds.shards import read_about

    model = find_recipe(options.recipe).model
    footage = cache_config(model.frames_per_second, model.encoder.frame_size)
    config = ShardConfig(footage=footage, clips=options.clips, workers=options.workers, trusted=options.trusted)
    told = write_shards(options.folder, options.out, config, None if options.quiet else show_progress)
    tell_left_out((read_about(options.out) or {}).get("refused", {}))
    print(json.dumps({"out": str(options.out), **told}))


def run_train(options: argparse.Namespace) -> None:
    """One stage or the whole chain."""
    check_folders(options.data, options.labels, options.start_from, *options.robot_video)
    if options.stage in ("controller", "baselines"):
        return run_train_labelled(options)
    from lawm_core.runtime import joined_ranks, pick_device, rank
    from lawm_core.training.runs import TrainingRun
    from lawm_core.training.trainer import Deadline, ExecutionConfig

    with joined_ranks(pick_device(options.device)) as device:
        run = TrainingRun(
            recipe=options.recipe,
            data=options.data,
            out=options.out,
            cache=options.cache,
            device=device,
            show=not options.quiet,
            robot_video=options.robot_video,
            robot_share=options.robot_share,
            backbone=options.backbone,
            start=options.start_from,
            execution=ExecutionConfig(
                parallel=options.parallel,
                precision=options.precision,
                pieces=options.pieces,
                passes=options.passes,
                recompute=options.recompute,
                compiled=options.compile,
            ),
        )
        deadline = Deadline(options.minutes)
        for stage in run.stages(options.stage, options.family):
            losses = run.train(stage, minutes=deadline.minutes_left(), steps=options.steps, resume=options.resume)
            if rank() == 0:
                print(json.dumps({"stage": stage, **losses}))
            if not run.finished(stage, losses["step"], options.steps):
                break


def run_train_labelled(options: argparse.Namespace) -> None:
    """Controllers of one robot for OUT/model; or its baselines, on the encoder of OUT/model, into OUT/baselines."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))  # as `runtime.launched_ranks` has it, without torch
    if options.pieces or options.passes > 1 or options.recompute or options.compile or ranks > 1:
        raise ValueError("controllers and baselines are small: they train in one process, as they are, saved whole.")
    if not (options.robot and options.labels):
        raise ValueError(f"train {options.stage} needs --robot NAME and --labels FOLDER.")
    check_model(options.out / "model", (options.family,) if options.family else ())
    from lawm_core.checkpoint import load_model
    from lawm_core.training.baselines import train_baselines
    from lawm_core.training.controllers import train_controllers
    from lawm_core.worlds.lerobot import LabelConfig

    labels = LabelConfig(actions=options.actions, camera=options.camera)

    if options.stage == "baselines":
        told = train_baselines(
            options.out / "baselines",
            options.robot,
            options.labels,
            load_model(options.out / "model"),
            options.cache,
            minutes=options.minutes,
            resume=options.resume,
            device=options.device,
            show=not options.quiet,
            precision=options.precision,
            labels=labels,
            **({"world_steps": options.steps, "policy_steps": options.steps} if options.steps else {}),
        )
        print(json.dumps({"stage": f"baselines-{options.robot}", **told}))
        return
    told = train_controllers(
        options.out,
        options.robot,
        options.labels,
        options.cache,
        families=[options.family] if options.family else None,
        kinds=("places", "action") if options.action_only else ("places",),
        minutes=options.minutes,
        resume=options.resume,
        device=options.device,
        show=not options.quiet,
        precision=options.precision,
        labels=labels,
        **({"steps": options.steps} if options.steps else {}),
    )
    for name, distance in told.items():
        print(json.dumps({"stage": f"controller-{name}", "distance": distance}))


def run_gallery(options: argparse.Namespace) -> None:
    """Gets what is missing and says what is there; ValueError where some clip could not be had."""
    from lawm_core.video.listing import LENT, LISTING, clips_here, pull, read_listing

    listing, folder = options.listing or LISTING, options.out or LENT
    check_files(listing)
    clips = read_listing(listing)
    if unknown := set(options.only) - {clip.name for clip in clips}:
        raise ValueError(f"{', '.join(sorted(unknown))} is not in {listing}: {', '.join(c.name for c in clips)}.")
    clips = tuple(clip for clip in clips if not options.only or clip.name in options.only)
    failed = {}
    if options.action == "pull":
        here_by_name, most = {}, sum(clip.bytes for clip in clips)

        def progress(name: str, here: int, _: int) -> None:
            here_by_name[name] = here
            show_progress(sum(here_by_name.values()) / most, name)

        failed = pull(clips, folder, None if options.quiet else progress)
    here = clips_here(clips, folder)
    for clip in clips:
        told = {"name": clip.name, "bytes": clip.bytes, "licence": clip.licence, "attribution": clip.attribution}
        print(json.dumps(told | {"here": clip in here}, ensure_ascii=False))
    if failed:
        raise ValueError(f"{len(failed)} of {len(clips)} clips could not be had; " + " ".join(failed.values()))


def run_record(options: argparse.Namespace) -> None:
    """Plays and writes a data set."""
    if options.out.exists():
        raise ValueError(f"{options.out} exists; needed: a folder that does not, for a fresh data set.")
    from lawm_core.worlds.recorder import TASKS, RecorderConfig, record
    from lawm_core.worlds.robots import build_robot

    config = RecorderConfig(
        episodes=options.episodes, frames=options.frames, seed=options.seed, val_share=options.val_share
    )
    world = build_robot(options.robot, options.size, options.rate)
    out = record(world, options.out, config, TASKS[options.robot], None if options.quiet else show_progress)
    print(json.dumps({"out": str(out), "episodes": config.episodes, "frames": config.episodes * config.frames}))


def run_pack(options: argparse.Namespace) -> None:
    """Writes the model's files anew, in half precision."""
    check_model(options.model)
    from lawm_core.checkpoint import load_model, save_model

    folder = save_model(load_model(options.model), options.out, half=True)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(json.dumps({"out": str(folder), "bytes": size}))


def run_push(options: argparse.Namespace) -> None:
    """Uploads a model that loads, and prints its page."""
    check_model(options.model)
    parse(options.address)
    from lawm_core.checkpoint import find_model, load_model

    folder = find_model(options.model)
    load_model(folder)
    print(json.dumps({"page": push_model(folder, options.address, options.private)}))


def run_evaluate(options: argparse.Namespace) -> None:
    """Measures and writes OUT/report.json, .md and .html; a line a figure goes to stdout."""
    check_folders(options.data, options.baselines, *options.labels)
    check_model(options.model, tuple(options.family.split(",")) if options.family else ())
    from lawm_core.checkpoint import fingerprint
    from lawm_core.evaluation.bench import QUICK, SuiteConfig
    from lawm_core.evaluation.pictures import PICTURE_SIZE
    from lawm_core.evaluation.report import read_report, write_report
    from lawm_core.evaluation.suites import run_suites, suites_for
    from lawm_core.training.baselines import load_baselines
    from lawm_core.worlds.clips import open_world

    model = open_model(options)
    config = QUICK if options.quick else SuiteConfig()
    if options.family:
        config = dataclasses.replace(config, families=tuple(options.family.split(",")))
    asked = {"plan_samples": options.plan_samples, "plan_iterations": options.plan_iterations}
    config = dataclasses.replace(config, **{name: count for name, count in asked.items() if count is not None})
    with_pictures = options.suite == "all" or "pictures" in options.suite.split(",")
    size = max(model.picture_size, PICTURE_SIZE if with_pictures else 0)
    world = open_world(
        options.data, options.cache, options.split, model.frames_per_second, model.frame_size, picture_size=size
    )
    labelled = dict(open_labelled(folder, options, model) for folder in options.labels)
    names = suites_for(labelled) if options.suite == "all" else options.suite.split(",")
    rivals = {name: load_baselines(options.baselines, name) for name in labelled if options.baselines}
    about = {"name": model.name, "fingerprint": fingerprint(options.model), "weights": model.parameter_count()}
    if model.precision != "float32":  # reports that do not say were measured in float32
        about["precision"] = model.precision
    tell_left_out(world.refused)
    data = {"split": options.split, "videos": len(world.clips), "frames_per_second": model.frames_per_second}
    if options.add:
        read_report(options.out, {"model": about, "data": data})  # before an hour of measuring, not after it
    start = time.monotonic()
    results = run_suites(model, world, config, names, None if options.quiet else show_progress, labelled, rivals)
    write_report(options.out, about, data, config, results, options.add)
    for suite, result in results.items():
        for score in result.scores:
            if score.step is None:
                print(json.dumps({"suite": suite} | {k: v for k, v in vars(score).items() if v is not None}))
    print(f"{time.monotonic() - start:.0f} s; the report is in {options.out}", file=sys.stderr)


def check_files(*paths: Path) -> None:
    """Raise ValueError for the first path that is no file."""
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}.")


def check_folders(*paths: Path | None) -> None:
    """Raise ValueError for the first path that is no folder; options that were not given are None."""
    for path in paths:
        if path is not None and not path.is_dir():
            raise ValueError(f"{path}: {'is not a folder' if path.exists() else 'no such folder'}.")


def check_model_options(options: argparse.Namespace) -> None:
    """Raise where there is no such model, or where it lacks the family."""
    check_model(options.model, (options.family,) if options.family else ())


def show_progress(fraction: float, what: str) -> None:
    """One line on stderr that is written over."""
    print(f"\r{fraction:4.0%}  {what:<60}", end="" if fraction < 1 else "\n", file=sys.stderr, flush=True)


def open_model(options: argparse.Namespace):
    """The model that the options ask for."""
    from lawm_core.checkpoint import load_model
    from lawm_core.runtime import pick_device

    precision = getattr(options, "precision", "auto")  # commands without the option compute in float32 anyway
    return load_model(options.model, device=pick_device(options.device), precision=precision)


def open_labelled(folder: Path, options: argparse.Namespace, model):
    """The robot whose known actions a folder's are, and its episodes."""
    from lawm_core.worlds.episodes import EpisodeWorld, build_episodes
    from lawm_core.worlds.lerobot import LabelConfig

    progress = None if options.quiet else show_progress
    labels = LabelConfig(actions=options.actions, camera=options.camera)
    home = build_episodes(folder, options.cache, model.frames_per_second, model.picture_size, labels, progress)
    world = EpisodeWorld(home, options.split)
    robots = {name: model.robot(name).names for name in model.robots}
    found = next((name for name, names in robots.items() if names == world.names), None)
    if found is None:
        raise ValueError(f"{folder} has actions {', '.join(world.names)}; the model has controllers for: {robots}.")
    return found, world


def let_threads_sleep() -> None:
    """Before torch is imported: its threads sleep while they wait, and leave processors to what else there is to do.

    They would wait in loops, in which a busy machine takes ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def open_model_and_clips(
    options: argparse.Namespace, *pieces: tuple[Path, float]
) -> tuple[LatentActionModel, list[Clip]]:
    """The model, and videos from these seconds on: they are decoded, by child processes, while its weights are read."""
    from lawm_core.checkpoint import read_config
    from lawm_core.model_folders import find_model

    with ThreadPoolExecutor(len(pieces)) as readers:
        config = read_config(find_model(options.model))
        clips = [readers.submit(open_clip, path, start, options, config) for path, start in pieces]
        model = open_model(options)
        return model, [clip.result() for clip in clips]


def open_clip(path: Path, start_seconds: float, options: argparse.Namespace, config: ModelConfig) -> Clip:
    """A video at a model's rate and size."""
    from lawm_core.video.files import read_clip
    from lawm_core.video.info import DecodeLimits

    return read_clip(
        path,
        frames_per_second=config.frames_per_second,
        size=config.picture_size,
        num_frames=options.frames,
        start_seconds=start_seconds,
        limits=DecodeLimits.unattended(),
        trusted=options.trusted,
        min_frames=1,  # enough for a target
    )
