"""python -m lawm_core ...: what can be asked for from a shell, and how; what it does is in `commands.py`.

Usage errors, missing files and unknown names are answered before torch is imported.

Exit codes: 0 done; 2 usage; 3 a video cannot be used; 4 a model cannot be used; 5 stopped by the disk or by numbers
that are no longer finite, with the last save kept; 141 whoever read the output has closed it. Messages go to stderr,
results to stdout.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lawm_core.arguments import (
    HelpfulParser,
    capacity,
    device,
    frame_count,
    not_negative,
    point_count,
    positive,
    positive_int,
    recipe,
    share_above_zero,
    share_below_one,
    suites,
)
from lawm_core.commands import (
    run_actions,
    run_evaluate,
    run_extract,
    run_gallery,
    run_library,
    run_models,
    run_pack,
    run_push,
    run_record,
    run_replay,
    run_shards,
    run_train,
    run_transfer,
)
from lawm_core.contracts import CheckpointError, VideoError

USAGE, BAD_VIDEO, BAD_MODEL, STOPPED, CLOSED_PIPE = 2, 3, 4, 5, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs one command and turns errors meant for people into a line on stderr and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again as it ends
        return CLOSED_PIPE
    except VideoError as error:
        return complain(error, BAD_VIDEO)
    except CheckpointError as error:
        return complain(error, BAD_MODEL)
    except (ValueError, FileNotFoundError) as error:
        return complain(error, USAGE)
    except (FloatingPointError, OSError) as error:
        return complain(error, STOPPED)
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
    parser = HelpfulParser(prog="python -m lawm_core", description="Latent actions from one video, applied to another.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        return added

    add_using(command)
    add_training(command)
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
    one.add_argument("--source-start", type=not_negative, default=0.0, help="second of the source to start from")
    one.add_argument("--target-start", type=not_negative, default=0.0, help="second of the target to start from")
    one.add_argument("--frames", type=frame_count, default=16, help="frames of the source to use (default 16)")
    one.add_argument("--context", type=positive_int, default=1, help="frames of the target that are given (default 1)")
    one.add_argument("--json", action="store_true", help="print scores and settings as JSON")
    one.add_argument("--scores", type=Path, help="also write them to this file, as JSON")
    model_options(one)
    precision_option(one)

    two = command("actions", run_actions, "Infer a video's latent actions and save them as npz.")
    two.add_argument("video", type=Path)
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--start", type=not_negative, default=0.0)
    two.add_argument("--frames", type=frame_count, help="frames to use (default: to the end, at most 600)")
    model_options(two)

    again = command("replay", run_replay, "Make a result anew from the recipe that came with it, to the same bytes.")
    again.add_argument("recipe", type=Path, help="recipe.json, as the page's download has it")
    again.add_argument("--out", type=Path, required=True, help="video with all lanes side by side")
    again.add_argument(
        "--videos", type=Path, action="append", default=[], help="a folder with the recipe's clips; may be repeated"
    )
    again.add_argument("--model", help="a shipped model's name or a model folder (default: the recipe's)")
    again.add_argument("--device", type=device, default="auto")

    lent = command("gallery", run_gallery, "Get the gallery's real clips, which others lend under open licences.")
    lent.add_argument("action", choices=("pull", "list"), help="get those that are missing, or say what there is")
    lent.add_argument("--listing", type=Path, help="a list of clips (default: assets/gallery.toml)")
    lent.add_argument("--out", type=Path, help="where they go (default: assets/gallery/lent, where the page looks)")
    lent.add_argument("--only", action="append", default=[], metavar="NAME", help="this clip alone; may be repeated")
    lent.add_argument("--quiet", action="store_true", help="no progress bar")

    shelf = command("library", run_library, "Lay the latent actions of a folder of videos out as a map.")
    shelf.add_argument("folder", type=Path)
    shelf.add_argument("--out", type=Path, required=True, help="folder of the library, as assets/library")
    shelf.add_argument(
        "--frames", type=frame_count, default=120, help="the most that are taken of one clip (default 120)"
    )
    shelf.add_argument("--quiet", action="store_true", help="no progress")
    model_options(shelf)

    bulk = command("extract", run_extract, "Infer the latent actions of many videos with Ray, to Parquet.")
    bulk.add_argument("folder", type=Path)
    bulk.add_argument("--out", type=Path, required=True, help="the rows; a stopped run goes on there")
    bulk.add_argument(
        "--frames", type=frame_count, default=120, help="the most that are taken of one clip (default 120)"
    )
    bulk.add_argument("--models", type=positive_int, default=1, help="how many infer at once (default 1)")
    bulk.add_argument("--processors", type=positive, default=1.0, help="that each of them takes (default 1)")
    bulk.add_argument("--gpus", type=not_negative, default=0.0, help="that each of them takes (default 0)")
    bulk.add_argument("--address", help="of a Ray cluster, `auto` for this machine's (default: one of its own)")
    bulk.add_argument("--trusted", action="store_true", help="videos of known origin: decoded without the guard")
    bulk.add_argument("--library", type=Path, help="lay what was found out as a map, in this folder")
    bulk.add_argument(
        "--points", type=point_count, default=20_000, help="of the map; others are placed on it (default 20000)"
    )
    bulk.add_argument("--model", help="a shipped model's name or a model folder")
    bulk.add_argument("--family", help="a bottleneck family (default: the model's first)")
    bulk.add_argument("--capacity", type=capacity, default=1.0, help="from 0 to 1 (default 1)")

    command("models", run_models, "List the shipped models as JSON, the default first.")


def add_label_options(command: argparse.ArgumentParser) -> None:
    """What is meant of the data sets that --labels names."""
    command.add_argument(
        "--actions", choices=("auto", "delta", "absolute", "state"), default="auto",
        help="what --labels' actions are: changes, targets, or to be taken from the state (default: by their names)",
    )  # fmt: skip
    command.add_argument("--camera", help="of --labels, the video feature to use (default: the first)")


def add_training(command: Command) -> None:
    """A run, of one process or many."""
    three = command("train", run_train, "Train one stage of a recipe, or all of them, on a folder of videos.")
    three.add_argument(
        "stage", choices=("encoder", "flow", "lam", "decoder", "sampler", "controller", "baselines", "all")
    )
    three.add_argument("--family", help="for lam, sampler, controller: noisy, sparse, ... (default: every one)")
    three.add_argument("--robot", help="for controller and baselines: the robot's name, arm or rover or another")
    three.add_argument("--labels", type=Path, help="for both: its episodes, a LeRobotDataset v3.0 folder")
    add_label_options(three)
    three.add_argument(
        "--action-only", action="store_true",
        help="for controller: also one that sees the action alone, to measure what seeing is worth",
    )  # fmt: skip
    three.add_argument(
        "--recipe", type=recipe, default="nano256", help="nano256, nano, lite or large (default nano256)"
    )
    three.add_argument(
        "--start-from",
        type=Path,
        help="model folder whose encoder and flow reader a fresh model takes over, with decoder and families that fit",
    )
    three.add_argument(
        "--backbone", help="for large: a folder with V-JEPA 2 in transformers' form, or its name on the Hub"
    )
    three.add_argument("--data", type=Path, help="folder of videos or shards (without one: twins alone)")
    three.add_argument("--out", type=Path, required=True, help="folder of the run; the model lies in OUT/model")
    three.add_argument(
        "--robot-video", type=Path, action="append", default=[],
        help="robot video to learn from without its labels, a LeRobotDataset v3.0 folder; may be repeated",
    )  # fmt: skip
    three.add_argument(
        "--robot-share", type=share_above_zero, default=0.3,
        help="of the real clips, from --robot-video (default 0.3)",
    )  # fmt: skip
    three.add_argument(
        "--parallel", choices=("ddp", "fsdp"), default="ddp",
        help="under torchrun: every rank holds the model, or a piece of it (default ddp)",
    )  # fmt: skip
    three.add_argument("--pieces", action="store_true", help="each rank saves its own part of the state")
    three.add_argument(
        "--passes", type=positive_int, default=1, help="less memory: a batch is taken in so many parts (default 1)"
    )
    three.add_argument("--recompute", action="store_true", help="less memory: activations are computed twice")
    three.add_argument("--compile", action="store_true", help="faster after a slow start; needs a C++ compiler on CPUs")
    three.add_argument("--minutes", type=positive, help="stop cleanly after so long in all; --resume goes on later")
    three.add_argument("--steps", type=positive_int, help="instead of the recipe's")
    three.add_argument("--resume", action="store_true", help="go on from the last save of this stage")
    three.add_argument("--cache", type=Path, default=Path("cache"), help="where decoded videos are kept")
    three.add_argument("--device", type=device, default="auto")
    precision_option(three)
    three.add_argument("--quiet", action="store_true", help="no progress bar")


def add_making(command: Command) -> None:
    """What training is given; measuring and shipping what it made."""
    sand = command("shards", run_shards, "Pack a folder of videos into shards, for corpora too large for a cache.")
    sand.add_argument("folder", type=Path)
    sand.add_argument("--out", type=Path, required=True, help="a stopped run goes on there; `train --data` takes it")
    sand.add_argument(
        "--recipe", type=recipe, default="nano256", help="whose rate and size they are made for (default nano256)"
    )
    sand.add_argument("--clips", type=positive_int, default=256, help="videos of a shard (default 256)")
    sand.add_argument("--workers", type=positive_int, default=1, help="shards that are made at once (default 1)")
    sand.add_argument("--trusted", action="store_true", help="videos of known origin: decoded without the guard")
    sand.add_argument("--quiet", action="store_true", help="no progress")

    tape = command("record", run_record, "Record episodes of a simulated robot as a LeRobotDataset v3.0 folder.")
    tape.add_argument("robot", choices=("arm", "rover"))
    tape.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    tape.add_argument("--episodes", type=positive_int, default=600)
    tape.add_argument("--frames", type=frame_count, default=24, help="of each episode (default 24)")
    tape.add_argument(
        "--val-share", type=share_below_one, default=0.1, help="of the episodes, the last ones (default 0.1)"
    )
    tape.add_argument("--size", type=positive_int, default=96, help="pixels a side (default 96)")
    tape.add_argument("--rate", type=positive, default=6.0, help="frames a second (default 6)")
    tape.add_argument("--seed", type=int, default=0, help="of the first episode; the next have the next (default 0)")
    tape.add_argument("--quiet", action="store_true", help="no progress")

    pack = command("pack", run_pack, "Copy a trained model for shipping: the same, in half the bytes.")
    pack.add_argument("model", help="a model folder, as RUN/model")
    pack.add_argument("out", type=Path, help="where to, as checkpoints/NAME")

    up = command("push", run_push, "Upload a model with its card to the Hugging Face Hub.")
    up.add_argument("model", help="a shipped model's name or a model folder, with a card.md")
    up.add_argument("address", help="hub:owner/name, or hub:owner/name@revision")
    up.add_argument("--private", action="store_true", help="where the repository is new")

    four = command("evaluate", run_evaluate, "Measure a model on a folder of videos; writes report.json and .html.")
    four.add_argument("--model", help="a shipped model's name or a model folder")
    four.add_argument("--data", type=Path, required=True)
    four.add_argument("--split", default="val")
    four.add_argument(
        "--suite", type=suites, default="all",
        help="idm,leakage,cycle,twins,locality,sampling,controller,planning_arm,... or all",
    )  # fmt: skip
    four.add_argument(
        "--labels",
        type=Path,
        action="append",
        default=[],
        help="a robot's episodes, for controller and planning; may be repeated",
    )
    add_label_options(four)
    four.add_argument("--baselines", type=Path, help="folder of `train baselines`, for planning suites")
    four.add_argument("--family", help="families to measure, with commas (default: all of the model's)")
    four.add_argument("--quick", action="store_true", help="few clips and settings: a minute or two instead of many")
    four.add_argument("--plan-samples", type=positive_int, help="of a search for a plan (default 300, the paper's)")
    four.add_argument(
        "--plan-iterations", type=positive_int, help="of a search for an arm's plan (default 15, the paper's)"
    )
    four.add_argument("--out", type=Path, default=Path("report"))
    four.add_argument("--add", action="store_true", help="keep the other suites of the report in --out")
    four.add_argument("--cache", type=Path, default=Path("cache"))
    four.add_argument("--device", type=device, default="auto")
    precision_option(four, default="float32")  # figures from different machines can then be compared
    four.add_argument("--quiet", action="store_true", help="no progress")


def precision_option(added: argparse.ArgumentParser, default: str = "auto") -> None:
    """In which precision networks are computed."""
    added.add_argument(
        "--precision", choices=("auto", "float32", "bf16"), default=default,
        help="of matrix products and convolutions; auto: LAWM_PRECISION if set, else the faster one on this machine "
        f"(default {default})",
    )  # fmt: skip


def model_options(added: argparse.ArgumentParser) -> None:
    """Which model, and its dial."""
    added.add_argument("--model", help="a shipped model's name or a model folder (default: the first of `models`)")
    added.add_argument("--family", help="bottleneck family (default: the model's first)")
    added.add_argument("--capacity", type=capacity, default=1.0, help="what an action may carry, 0 to 1 (default 1)")
    added.add_argument("--device", type=device, default="auto", help="cpu, cuda or auto")
    added.add_argument(
        "--trusted", action="store_true", help="decode videos in this process, without the guard: files of known origin"
    )
