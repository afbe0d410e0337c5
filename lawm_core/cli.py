"""python -m lawm_core ...: the main job, the models, training and measuring, from a shell.

Exit codes: 0 done; 2 usage; 3 a video cannot be used; 4 a model cannot be used. Messages go to stderr, results to
stdout.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lawm_core.contracts import CheckpointError, Clip, VideoError

GALLERY = Path(__file__).resolve().parent.parent / "assets" / "gallery"
USAGE, BAD_VIDEO, BAD_MODEL = 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs one command and turns errors meant for people into a line on stderr and an exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except VideoError as error:
        return complain(error, BAD_VIDEO)
    except CheckpointError as error:
        return complain(error, BAD_MODEL)
    except (ValueError, FileNotFoundError) as error:
        return complain(error, USAGE)
    except KeyboardInterrupt:
        return 130
    return 0


def complain(error: Exception, code: int) -> int:
    """One line for people."""
    print(f"lawm: {error}", file=sys.stderr)
    return code


Command = Callable[[str, Callable, str], argparse.ArgumentParser]  # name, what it runs, about


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m lawm_core", description="Latent actions from one video, applied to another."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        return added

    add_using(command)
    add_making(command)
    return parser


def add_using(command: Command) -> None:
    """What a finished model is used for."""
    one = command("transfer", run_transfer, "Apply SOURCE's latent actions to TARGET's first frame.")
    one.add_argument("source", type=Path)
    one.add_argument("target", type=Path)
    one.add_argument(
        "--out", type=Path, required=True, help="video with source, target, transfer and control side by side"
    )
    one.add_argument("--start", type=float, default=0.0, help="second of both videos to start from")
    one.add_argument("--frames", type=int, default=16, help="frames of the source to use (default 16)")
    one.add_argument("--context", type=int, default=1, help="frames of the target that are given (default 1)")
    one.add_argument("--json", type=Path, help="also write the scores and settings here")
    model_options(one)

    two = command("actions", run_actions, "Infer a video's latent actions and save them as npz.")
    two.add_argument("video", type=Path)
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--start", type=float, default=0.0)
    two.add_argument("--frames", type=int, help="frames to use (default: to the end, at most 600)")
    model_options(two)

    again = command("replay", run_replay, "Make a result anew from the recipe that came with it, to the same bytes.")
    again.add_argument("recipe", type=Path, help="recipe.json, as the page's download has it")
    again.add_argument("--out", type=Path, required=True, help="video with all lanes side by side")
    again.add_argument(
        "--videos", type=Path, action="append", default=[], help="a folder with the recipe's clips; may be repeated"
    )
    again.add_argument("--model", help="a shipped model's name or a model folder (default: the recipe's)")
    again.add_argument("--device", default="auto")

    shelf = command("library", run_library, "Lay the latent actions of a folder of videos out as a map.")
    shelf.add_argument("folder", type=Path)
    shelf.add_argument("--out", type=Path, required=True, help="folder of the library, as assets/library")
    shelf.add_argument("--frames", type=int, default=120, help="the most that are taken of one clip (default 120)")
    shelf.add_argument("--quiet", action="store_true", help="no progress")
    model_options(shelf)

    command("models", run_models, "List the shipped models as JSON, the default first.")


def add_making(command: Command) -> None:
    """Training, measuring, shipping."""
    three = command("train", run_train, "Train one stage of a recipe, or all of them, on a folder of videos.")
    three.add_argument("stage", choices=("encoder", "lam", "decoder", "sampler", "controller", "baselines", "all"))
    three.add_argument("--family", help="for lam, sampler, controller: noisy, sparse, ... (default: every one)")
    three.add_argument("--robot", help="for controller and baselines: the robot's name, arm or rover or another")
    three.add_argument("--labels", type=Path, help="for both: its episodes, a LeRobotDataset v3.0 folder")
    three.add_argument("--recipe", default="nano", help="nano or lite")
    three.add_argument("--data", type=Path, help="folder of videos (without one: twins alone)")
    three.add_argument("--out", type=Path, required=True, help="folder of the run; the model lies in OUT/model")
    three.add_argument(
        "--robots", type=Path, action="append", default=[],
        help="robot video to learn from without its labels, a LeRobotDataset v3.0 folder; may be repeated",
    )  # fmt: skip
    three.add_argument("--robot-share", type=float, default=0.3, help="of the real clips, from --robots (default 0.3)")
    three.add_argument("--minutes", type=float, help="stop cleanly after so long in all; --resume goes on later")
    three.add_argument("--steps", type=int, help="instead of the recipe's")
    three.add_argument("--resume", action="store_true", help="go on from the last save of this stage")
    three.add_argument("--cache", type=Path, default=Path("cache"), help="where decoded videos are kept")
    three.add_argument("--device", default="auto")
    three.add_argument("--quiet", action="store_true", help="no progress bar")

    tape = command("record", run_record, "Record episodes of a simulated robot as a LeRobotDataset v3.0 folder.")
    tape.add_argument("robot", choices=("arm", "rover"))
    tape.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    tape.add_argument("--episodes", type=int, default=600)
    tape.add_argument("--frames", type=int, default=24, help="of each episode (default 24)")
    tape.add_argument("--size", type=int, default=96, help="pixels a side (default 96)")
    tape.add_argument("--rate", type=float, default=6.0, help="frames a second (default 6)")
    tape.add_argument("--seed", type=int, default=0, help="of the first episode; the next have the next (default 0)")
    tape.add_argument("--quiet", action="store_true", help="no progress")

    pack = command("pack", run_pack, "Copy a trained model for shipping: the same, in half the bytes.")
    pack.add_argument("model", help="a model folder, as RUN/model")
    pack.add_argument("out", type=Path, help="where to, as checkpoints/NAME")

    four = command("evaluate", run_evaluate, "Measure a model on a folder of videos; writes report.json and .html.")
    four.add_argument("--model", help="a shipped model's name or a model folder")
    four.add_argument("--data", type=Path, required=True)
    four.add_argument("--split", default="val")
    four.add_argument(
        "--suite", default="all", help="idm,leakage,cycle,twins,locality,sampling,controller,planning_arm,... or all"
    )
    four.add_argument(
        "--labels", type=Path, action="append", default=[], help="a robot's episodes, for controller; may be repeated"
    )
    four.add_argument("--baselines", type=Path, help="folder of `train baselines`, for planning suites")
    four.add_argument("--family", help="families to measure, with commas (default: all of the model's)")
    four.add_argument("--quick", action="store_true", help="few clips and settings: a minute or two instead of many")
    four.add_argument("--out", type=Path, default=Path("report"))
    four.add_argument("--cache", type=Path, default=Path("cache"))
    four.add_argument("--device", default="auto")
    four.add_argument("--quiet", action="store_true", help="no progress")


def model_options(added: argparse.ArgumentParser) -> None:
    """Which model, and its dial."""
    added.add_argument("--model", help="a shipped model's name or a model folder (default: the first of `models`)")
    added.add_argument("--family", help="bottleneck family (default: the model's first)")
    added.add_argument("--capacity", type=float, default=1.0, help="what an action may carry, 0 to 1 (default 1)")
    added.add_argument("--device", default="auto", help="cpu, cuda or auto")


# ---- commands; heavy imports wait until one runs --------------------------------------------------------------------


def run_transfer(options: argparse.Namespace) -> None:
    """Writes the four lanes side by side and prints the scores."""
    from lawm_core.evaluation.recipe import film
    from lawm_core.evaluation.transfer import transfer
    from lawm_core.video.files import write_clip

    model = open_model(options)
    source, target = (open_clip(p, options, model, options.frames) for p in (options.source, options.target))
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
        "start_seconds": options.start,
        "source": source.name,
        "target": target.name,
        "context_frames": result.context_frames,
        "scores": result.scores,
    }
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def run_actions(options: argparse.Namespace) -> None:
    """Saves action_UA with the settings that made it."""
    import numpy as np
    import torch

    model = open_model(options)
    clip = open_clip(options.video, options, model, options.frames)
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
    from lawm_core.checkpoint import fingerprint, load_model
    from lawm_core.evaluation.recipe import Recipe, replay
    from lawm_core.runtime import pick_device
    from lawm_core.video.files import write_clip

    recipe = Recipe.from_json(options.recipe.read_text(encoding="utf-8"))
    name = options.model or recipe.model
    folders = [*options.videos, options.recipe.parent, GALLERY]
    model = load_model(name, device=pick_device(options.device))
    result, frame_TCHW = replay(model, fingerprint(name), recipe, folders)
    write_clip(options.out, frame_TCHW, model.frames_per_second)
    print(json.dumps({"out": str(options.out), "frames": len(frame_TCHW), "scores": result.scores}))


def run_library(options: argparse.Namespace) -> None:
    """Builds a library with progress; a build that was stopped goes on."""
    from lawm_core.evaluation.librarian import build_library
    from lawm_core.evaluation.library import LibraryConfig

    model = open_model(options)
    config = LibraryConfig(family=options.family or model.families[0], capacity=options.capacity, frames=options.frames)
    progress = None if options.quiet else show_progress
    library = build_library(model, options.folder, options.out, config, options.model, progress)
    for name, why in library.index.refused.items():
        print(f"left out {name}: {why}", file=sys.stderr)
    print(json.dumps({"out": str(options.out), "clips": len(library.index.clips), "actions": len(library)}))


def run_models(options: argparse.Namespace) -> None:
    """Prints name, size, rate and families of each shipped model."""
    from lawm_core.checkpoint import list_models, load_model

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


def run_train(options: argparse.Namespace) -> None:
    """One stage or the whole chain."""
    if options.stage in ("controller", "baselines"):
        return run_train_labelled(options)
    from lawm_core.training.runs import TrainingRun

    run = TrainingRun(
        recipe=options.recipe,
        data=options.data,
        out=options.out,
        cache=options.cache,
        device=options.device,
        show=not options.quiet,
        robots=options.robots,
        robot_share=options.robot_share,
    )
    deadline = time.monotonic() + 60 * options.minutes if options.minutes is not None else None
    for stage in run.stages(options.stage, options.family):
        minutes = max(0.0, deadline - time.monotonic()) / 60 if deadline is not None else None
        losses = run.train(stage, minutes=minutes, steps=options.steps, resume=options.resume)
        print(json.dumps({"stage": stage, **losses}))
        if not run.finished(stage, losses["step"], options.steps):
            break


def run_train_labelled(options: argparse.Namespace) -> None:
    """Controllers of one robot for OUT/model; or its baselines, on the encoder of OUT/model, into OUT/baselines."""
    from lawm_core.checkpoint import load_model
    from lawm_core.training.baselines import train_baselines
    from lawm_core.training.controllers import train_controllers

    if not (options.robot and options.labels):
        raise ValueError(f"train {options.stage} needs --robot NAME and --labels FOLDER.")
    if options.stage == "baselines":
        told = train_baselines(
            options.out / "baselines",
            options.robot,
            options.labels,
            load_model(options.out / "model"),
            options.cache,
            resume=options.resume,
            device=options.device,
            show=not options.quiet,
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
        minutes=options.minutes,
        resume=options.resume,
        device=options.device,
        show=not options.quiet,
        **({"steps": options.steps} if options.steps else {}),
    )
    for name, distance in told.items():
        print(json.dumps({"stage": f"controller-{name}", "distance": distance}))


def run_record(options: argparse.Namespace) -> None:
    """Plays and writes a data set."""
    from lawm_core.worlds.recorder import TASKS, RecorderConfig, record
    from lawm_core.worlds.robots import build_robot

    config = RecorderConfig(episodes=options.episodes, frames=options.frames, seed=options.seed)
    world = build_robot(options.robot, options.size, options.rate)
    out = record(world, options.out, config, TASKS[options.robot], None if options.quiet else show_progress)
    print(json.dumps({"out": str(out), "episodes": config.episodes, "frames": config.episodes * config.frames}))


def run_pack(options: argparse.Namespace) -> None:
    """Writes the model's files anew, in half precision."""
    from lawm_core.checkpoint import load_model, save_model

    folder = save_model(load_model(options.model), options.out, half=True)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(json.dumps({"out": str(folder), "bytes": size}))


def run_evaluate(options: argparse.Namespace) -> None:
    """Measures and writes OUT/report.json and OUT/report.html; a line a figure goes to stdout."""
    from lawm_core.checkpoint import fingerprint
    from lawm_core.evaluation.bench import QUICK, SuiteConfig
    from lawm_core.evaluation.report import write_report
    from lawm_core.evaluation.suites import run_suites, suites_for
    from lawm_core.training.baselines import load_baselines
    from lawm_core.worlds.clips import open_world

    model = open_model(options)
    config = QUICK if options.quick else SuiteConfig()
    if options.family:
        config = dataclasses.replace(config, families=tuple(options.family.split(",")))
    world = open_world(options.data, options.cache, options.split, model.frames_per_second, model.frame_size)
    labelled = dict(open_labelled(folder, options, model) for folder in options.labels)
    names = suites_for(labelled) if options.suite == "all" else options.suite.split(",")
    rivals = {name: load_baselines(options.baselines, name) for name in labelled if options.baselines}
    start = time.monotonic()
    results = run_suites(model, world, config, names, None if options.quiet else show_progress, labelled, rivals)
    about = {"name": model.name, "fingerprint": fingerprint(options.model), "weights": model.parameter_count()}
    data = {"split": options.split, "videos": len(world.clips), "frames_per_second": model.frames_per_second}
    write_report(options.out, about, data, config, results)
    for suite, result in results.items():
        for score in result.scores:
            if score.step is None:
                print(json.dumps({"suite": suite} | {k: v for k, v in vars(score).items() if v is not None}))
    print(f"{time.monotonic() - start:.0f} s; the report is in {options.out}", file=sys.stderr)


def show_progress(fraction: float, what: str) -> None:
    """One line on stderr that is written over."""
    print(f"\r{fraction:4.0%}  {what:<60}", end="" if fraction < 1 else "\n", file=sys.stderr, flush=True)


def open_model(options: argparse.Namespace):
    """The model that the options ask for."""
    from lawm_core.checkpoint import load_model
    from lawm_core.runtime import pick_device

    return load_model(options.model, device=pick_device(options.device))


def open_labelled(folder: Path, options: argparse.Namespace, model):
    """The robot whose known actions a folder's are, and its episodes."""
    from lawm_core.worlds.episodes import EpisodeWorld, build_episodes

    progress = None if options.quiet else show_progress
    home = build_episodes(folder, options.cache, model.frames_per_second, model.frame_size, progress=progress)
    world = EpisodeWorld(home, options.split)
    robots = {name: config.names for name, config in model.config.robots.items()}
    found = next((name for name, names in robots.items() if names == world.names), None)
    if found is None:
        raise ValueError(f"{folder} has actions {', '.join(world.names)}; the model has controllers for: {robots}.")
    return found, world


def open_clip(path: Path, options: argparse.Namespace, model, frames: int | None) -> Clip:
    """A video at the model's rate and size."""
    from lawm_core.video.files import read_clip

    return read_clip(
        path,
        frames_per_second=model.frames_per_second,
        size=model.frame_size,
        num_frames=frames,
        start_seconds=options.start,
    )
