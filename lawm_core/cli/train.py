"""Command `train`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lawm_core.cli.arguments import device, fraction_above_zero, positive, positive_int, recipe
from lawm_core.cli.shared import AddCommand, add_label_options, add_precision_option, check_folders
from lawm_core.model_folders import check_model

STAGES = ("encoder", "flow", "lam", "decoder", "sampler", "controller", "baselines", "all")


def add_commands(add: AddCommand) -> None:
    """Add the command and its options."""
    train = add("train", run_train, "Train one stage of a recipe, or all of them.")
    train.add_argument("stage", choices=STAGES)
    train.add_argument("--out", type=Path, required=True, help="folder of the run; the model is saved in OUT/model")
    train.add_argument(
        "--recipe", type=recipe, default="nano256",
        help="nano256, nano, lite, large or package.module:function (default nano256)",
    )  # fmt: skip
    train.add_argument(
        "--data", help="folder of videos or shards, or package.module:Class (default: synthetic pairs alone)"
    )
    train.add_argument(
        "--family", help="family to train in lam, sampler and controller: noisy, sparse, discrete (default: all)"
    )
    train.add_argument("--steps", type=positive_int, help="number of steps (default: that of the recipe)")
    train.add_argument("--minutes", type=positive, help="time limit; continue later with --resume")
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint of this stage")
    train.add_argument("--cache", type=Path, default=Path("cache"), help="folder of decoded videos (default cache)")
    train.add_argument(
        "--init-from", type=Path,
        help="model folder from which a new model copies encoder and flow reader, and also decoder and "
        "families if their shapes match",
    )  # fmt: skip
    train.add_argument(
        "--pretrained-encoder",
        help="for the recipe large: V-JEPA 2 as a transformers folder or a name on the Hugging Face Hub",
    )
    train.add_argument(
        "--robot-video", type=Path, action="append", default=[],
        help="LeRobotDataset folder whose video joins --data, without labels; can be repeated",
    )  # fmt: skip
    train.add_argument(
        "--robot-fraction", type=fraction_above_zero, default=0.3,
        help="fraction of real clips that come from --robot-video (default 0.3)",
    )  # fmt: skip
    train.add_argument("--robot", help="for controller and baselines: name of the robot, for example arm or rover")
    train.add_argument("--labels", type=Path, help="for controller and baselines: LeRobotDataset v3.0 folder")
    add_label_options(train)
    train.add_argument(
        "--action-only",
        action="store_true",
        help="for controller: also train one that does not see the state, for comparison",
    )
    train.add_argument(
        "--parallel", choices=("ddp", "fsdp"), default="ddp",
        help="under torchrun: replicate or shard the model (default ddp)",
    )  # fmt: skip
    train.add_argument("--sharded-checkpoint", action="store_true", help="each rank saves its own shard of the state")
    train.add_argument(
        "--grad-accum-steps", type=positive_int, default=1, help="micro-batches per step, to save memory (default 1)"
    )
    train.add_argument("--activation-checkpointing", action="store_true", help="recompute activations, to save memory")
    train.add_argument(
        "--compile", action="store_true", help="use torch.compile for blocks; on CPUs this needs a C++ compiler"
    )
    train.add_argument("--device", type=device, default="auto", help="cpu, cuda or auto (default auto)")
    add_precision_option(train)
    train.add_argument("--quiet", action="store_true", help="do not show progress")


def run_train(options: argparse.Namespace) -> None:
    """Train one stage or all of them, and print the final losses of each."""
    data = None if options.data and ":" in options.data and not Path(options.data).exists() else options.data
    check_folders(data and Path(data), options.labels, options.init_from, *options.robot_video)
    if options.stage in ("controller", "baselines"):
        return run_train_labelled(options)
    from lawm_core.runtime import pick_device, process_group, rank
    from lawm_core.training.run import RunConfig, TrainingRun
    from lawm_core.training.trainer import Deadline, ExecutionConfig

    config = RunConfig(
        data=options.data,
        cache=options.cache,
        robot_video=options.robot_video,
        robot_fraction=options.robot_fraction,
        pretrained_encoder=options.pretrained_encoder,
        init_from=options.init_from,
        show_progress=not options.quiet,
        execution=ExecutionConfig(
            parallel=options.parallel,
            precision=options.precision,
            sharded_checkpoint=options.sharded_checkpoint,
            grad_accum_steps=options.grad_accum_steps,
            activation_checkpointing=options.activation_checkpointing,
            compile=options.compile,
        ),
    )
    with process_group(pick_device(options.device)) as device:
        run = TrainingRun(options.recipe, options.out, config, device)
        deadline = Deadline(options.minutes)
        for stage in run.stages(options.stage, options.family):
            losses = run.train(stage, minutes=deadline.minutes_left(), steps=options.steps, resume=options.resume)
            if rank() == 0:
                print(json.dumps({"stage": stage, **losses}))
            if not run.is_finished(stage, losses["step"], options.steps):
                break


def run_train_labelled(options: argparse.Namespace) -> None:
    """Train a robot's controllers and add them to OUT/model, or train its baselines on the encoder of OUT/model.

    Baselines are saved in OUT/baselines.
    """
    from os import environ

    distributed = int(environ.get("WORLD_SIZE", "1")) > 1
    if distributed or options.sharded_checkpoint or options.grad_accum_steps > 1:
        raise ValueError(
            f"{options.stage} trains in one process; omit torchrun, --sharded-checkpoint and --grad-accum-steps."
        )
    if options.activation_checkpointing or options.compile:
        raise ValueError(f"{options.stage} takes neither --activation-checkpointing nor --compile.")
    if not (options.robot and options.labels):
        raise ValueError(f"train {options.stage} needs --robot NAME and --labels FOLDER.")
    check_model(options.out / "model", (options.family,) if options.family else ())
    from lawm_core.checkpoint import load_model
    from lawm_core.data.lerobot import LabelConfig
    from lawm_core.training.baselines import train_baselines
    from lawm_core.training.controllers import LabelledRunConfig, train_controllers

    config = LabelledRunConfig(
        robot=options.robot,
        data=options.labels,
        labels=LabelConfig(actions=options.actions, camera=options.camera),
        cache=options.cache,
        steps=options.steps,
        minutes=options.minutes,
        resume=options.resume,
        device=options.device,
        precision=options.precision,
        show_progress=not options.quiet,
    )
    if options.stage == "baselines":
        losses = train_baselines(options.out / "baselines", config, load_model(options.out / "model"))
        print(json.dumps({"stage": f"baselines-{options.robot}", **losses}))
        return
    families = [options.family] if options.family else None
    for name, distance in train_controllers(options.out, config, families, options.action_only).items():
        print(json.dumps({"stage": f"controller-{name}", "distance": distance}))
