"""Commands `gallery`, `shards` and `record`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lawm_core.cli.arguments import fraction_below_one, frame_count, positive, positive_int, recipe
from lawm_core.cli.shared import AddCommand, check_files, check_folders, report_skipped, show_progress


def add_commands(add: AddCommand) -> None:
    """Add the commands and their options."""
    gallery = add("gallery", run_gallery, "Download the openly licensed sample clips.")
    gallery.add_argument("action", choices=("pull", "list"), help="download missing clips, or list them")
    gallery.add_argument("--listing", type=Path, help="TOML list of clips (default: assets/gallery.toml)")
    gallery.add_argument("--out", type=Path, help="folder of the clips (default: the folder that the page reads)")
    gallery.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="use only this clip; can be repeated"
    )
    gallery.add_argument("--quiet", action="store_true", help="do not show progress")

    shards = add("shards", run_shards, "Pack a folder of videos into shards, for data sets too large for a cache.")
    shards.add_argument("folder", type=Path)
    shards.add_argument(
        "--out", type=Path, required=True, help="folder for `train --data`; an interrupted run continues"
    )
    shards.add_argument(
        "--recipe",
        type=recipe,
        default="nano256",
        help="training recipe, for its frame rate and frame size (default nano256)",
    )
    shards.add_argument("--clips", type=positive_int, default=256, help="videos per shard (default 256)")
    shards.add_argument("--workers", type=positive_int, default=1, help="shards written in parallel (default 1)")
    shards.add_argument(
        "--trusted", action="store_true", help="decode videos without the sandbox: only for files of known origin"
    )
    shards.add_argument("--quiet", action="store_true", help="do not show progress")

    record = add("record", run_record, "Record episodes of a simulated robot as a LeRobotDataset v3.0 folder.")
    record.add_argument("robot", choices=("arm", "rover"))
    record.add_argument("--out", type=Path, required=True, help="folder to write, which must not exist")
    record.add_argument("--episodes", type=positive_int, default=600, help="number of episodes (default 600)")
    record.add_argument("--frames", type=frame_count, default=24, help="frames per episode (default 24)")
    record.add_argument(
        "--val-fraction", type=fraction_below_one, default=0.1,
        help="fraction of episodes, the last ones, that form the validation split (default 0.1)",
    )  # fmt: skip
    record.add_argument("--size", type=positive_int, default=96, help="height and width in pixels (default 96)")
    record.add_argument("--rate", type=positive, default=6.0, help="frames per second (default 6)")
    record.add_argument("--seed", type=int, default=0, help="seed of episode 0; episode i uses seed + i (default 0)")
    record.add_argument("--quiet", action="store_true", help="do not show progress")


def run_gallery(options: argparse.Namespace) -> None:
    """Download missing clips if requested, and list all clips. Raises ValueError if a clip could not be downloaded."""
    from lawm_core.data.gallery import EXTERNAL, LISTING, download_gallery, downloaded_clips, read_gallery

    listing, folder = options.listing or LISTING, options.out or EXTERNAL
    check_files(listing)
    clips = read_gallery(listing)
    names = [clip.name for clip in clips]
    if unknown := sorted(set(options.only) - set(names)):
        raise ValueError(f"--only must be one of {', '.join(names)}, got {', '.join(unknown)}.")
    clips = tuple(clip for clip in clips if not options.only or clip.name in options.only)
    failed = {}
    if options.action == "pull":
        done_by_name, total = {}, sum(clip.bytes for clip in clips)

        def progress(name: str, done: int, _: int) -> None:
            done_by_name[name] = done
            show_progress(sum(done_by_name.values()) / total, name)

        failed = download_gallery(clips, folder, None if options.quiet else progress)
    present = downloaded_clips(clips, folder)
    for clip in clips:
        row = {"name": clip.name, "bytes": clip.bytes, "licence": clip.licence, "attribution": clip.attribution}
        print(json.dumps(row | {"downloaded": clip in present}, ensure_ascii=False))
    if failed:
        raise ValueError(f"{len(failed)} of {len(clips)} clips could not be downloaded. " + " ".join(failed.values()))


def run_shards(options: argparse.Namespace) -> None:
    """Write the shards that are missing and print the counts of the whole folder."""
    check_folders(options.folder)
    from lawm_core.bulk.shard_writer import ShardConfig, write_shards
    from lawm_core.data.clip_dataset import cache_config
    from lawm_core.data.shards import read_metadata
    from lawm_core.training.recipes import find_recipe

    model = find_recipe(options.recipe).model
    frames = cache_config(model.frames_per_second, model.encoder.frame_size, model.picture_size)
    config = ShardConfig(frames=frames, clips_per_shard=options.clips, workers=options.workers, trusted=options.trusted)
    counts = write_shards(options.folder, options.out, config, None if options.quiet else show_progress)
    report_skipped((read_metadata(options.out) or {}).get("skipped", {}))
    print(json.dumps({"out": str(options.out), **counts}))


def run_record(options: argparse.Namespace) -> None:
    """Simulate episodes and write a data set."""
    if options.out.exists():
        raise ValueError(f"{options.out} exists; --out must be a new folder.")
    from lawm_core.simulation.recorder import TASKS, RecorderConfig, record
    from lawm_core.simulation.robots import build_robot

    config = RecorderConfig(
        episodes=options.episodes, frames=options.frames, seed=options.seed, val_fraction=options.val_fraction
    )
    simulator = build_robot(options.robot, options.size, options.rate)
    out = record(simulator, options.out, config, TASKS[options.robot], None if options.quiet else show_progress)
    print(json.dumps({"out": str(out), "episodes": config.episodes, "frames": config.episodes * config.frames}))
