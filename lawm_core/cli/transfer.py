"""Commands `transfer`, `actions` and `replay`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lawm_core.cli.arguments import device, frame_count, not_negative, positive_int
from lawm_core.cli.shared import (
    AddCommand,
    add_model_options,
    add_precision_option,
    check_files,
    check_folders,
    check_model_options,
    let_threads_sleep,
    open_model_and_clips,
)
from lawm_core.model_folders import check_model
from lawm_core.video.paths import check_readable, check_writable


def add_commands(add: AddCommand) -> None:
    """Add the commands and their options."""
    transfer = add("transfer", run_transfer, "Apply the latent actions of SOURCE to the first frame of TARGET.")
    transfer.add_argument("source", type=Path, help="video to infer actions from")
    transfer.add_argument("target", type=Path, help="video or picture to apply them to")
    transfer.add_argument(
        "--out", type=Path, required=True, help="video with source, target, transfer and control side by side"
    )
    transfer.add_argument("--source-start", type=not_negative, default=0.0, help="start of the source in seconds")
    transfer.add_argument("--target-start", type=not_negative, default=0.0, help="start of the target in seconds")
    transfer.add_argument("--frames", type=frame_count, default=16, help="frames of the source (default 16)")
    transfer.add_argument(
        "--context", type=positive_int, default=1, help="frames of the target that are given (default 1)"
    )
    transfer.add_argument("--json", action="store_true", help="print scores and settings as JSON")
    transfer.add_argument("--scores", type=Path, help="write scores and settings to this file, as JSON")
    add_model_options(transfer)
    add_precision_option(transfer)

    actions = add("actions", run_actions, "Infer the latent actions of a video and save them as npz.")
    actions.add_argument("video", type=Path)
    actions.add_argument("--out", type=Path, required=True, help="npz file with action_UA and the settings")
    actions.add_argument("--start", type=not_negative, default=0.0, help="start in seconds")
    actions.add_argument("--frames", type=frame_count, help="frames to use (default: to the end, at most 600)")
    add_model_options(actions)

    replay = add("replay", run_replay, "Compute a saved result again from its replay spec, byte for byte.")
    replay.add_argument("spec", type=Path, help="the file replay.json that was downloaded with a result")
    replay.add_argument("--out", type=Path, required=True, help="video with all panels side by side")
    replay.add_argument(
        "--videos",
        type=Path,
        action="append",
        default=[],
        help="folder that contains the clips of the spec; can be repeated",
    )
    replay.add_argument("--model", help="name of a shipped model or a folder (default: the model of the spec)")
    replay.add_argument("--device", type=device, default="auto", help="cpu, cuda or auto (default auto)")


def run_transfer(options: argparse.Namespace) -> None:
    """Write source, target, transfer and control side by side and print the scores."""
    for path in (options.source, options.target):
        check_readable(path)
    check_writable(options.out)
    check_folders(options.scores and options.scores.parent)
    check_model_options(options)
    if options.context >= options.frames:
        raise ValueError(f"--context must be in [1, {options.frames - 1}], below --frames, got {options.context}.")
    let_threads_sleep()
    from lawm_core.transfer.replay import montage
    from lawm_core.transfer.transfer import transfer_actions
    from lawm_core.video.files import write_clip

    parts = ((options.source, options.source_start), (options.target, options.target_start))
    model, (source, target) = open_model_and_clips(options, *parts)
    result = transfer_actions(
        model,
        source,
        target,
        family=options.family,
        capacity=options.capacity,
        context_frames=options.context,
        scores=True,
    )
    write_clip(options.out, montage(result, source, target), model.frames_per_second)
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
    """Return a summary of a result in three lines."""
    scores = report["scores"]
    return (
        f"{out}: {report['frames']} frames of {report['target']} with the motion of {report['source']}\n"
        f"{report['model']}, {report['family']}, capacity {report['capacity']:g}\n"
        f"explained motion {100 * scores['prediction_gain']:.0f} % (100 % is perfect), "
        f"mean pixel change {100 * scores['action_effect']:.1f} % of the pixel range, "
        f"cycle error {scores['cycle_ratio']:.2f} x (1: nothing lost)"
    )


def run_actions(options: argparse.Namespace) -> None:
    """Infer the latent actions of a video, and save them with the settings that they depend on."""
    check_readable(options.video)
    check_model_options(options)
    let_threads_sleep()
    import numpy as np
    import torch

    model, (clip,) = open_model_and_clips(options, (options.video, options.start))
    bound = model.at(options.family, options.capacity)
    with torch.inference_mode():
        action_UA = bound.infer_actions(model.encode(clip.frame_TCHW[None].to(model.device)))[0]
    settings = {
        "model": model.name,
        "family": bound.name,
        "capacity": options.capacity,
        "video": clip.name,
        "start_seconds": options.start,
        "frames_per_second": model.frames_per_second,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("wb") as out:
        np.savez_compressed(out, action_UA=action_UA.cpu().numpy(), settings=np.array(json.dumps(settings)))
    print(json.dumps({**settings, "actions": list(action_UA.shape), "out": str(options.out)}))


def run_replay(options: argparse.Namespace) -> None:
    """Compute the result of a replay spec again and write its video."""
    check_files(options.spec)
    check_folders(*options.videos)
    check_writable(options.out)
    if options.model:
        check_model(options.model)
    from lawm_core.checkpoint import fingerprint, load_model
    from lawm_core.data.gallery import GALLERY
    from lawm_core.runtime import pick_device
    from lawm_core.transfer.replay import ReplaySpec, explain_inexact, replay
    from lawm_core.video.files import write_clip

    spec = ReplaySpec.from_json(options.spec.read_text(encoding="utf-8"))
    name = options.model or spec.model
    folders = [*options.videos, options.spec.parent, GALLERY, GALLERY / "external"]
    model = load_model(name, device=pick_device(options.device))
    result, frame_TCHW = replay(model, fingerprint(name), spec, folders)
    write_clip(options.out, frame_TCHW, model.frames_per_second)
    if inexact := explain_inexact(spec, model.device):
        print(f"lawm: {inexact}", file=sys.stderr)
    report = {"out": str(options.out), "frames": len(frame_TCHW), "scores": result.scores, "exact": inexact is None}
    print(json.dumps(report))
