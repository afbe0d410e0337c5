"""A run that gives a trained model controllers for a robot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.models.controller import ACTION_ONLY, ControllerConfig
from lawm_core.runtime import pick_device
from lawm_core.training.controller import (
    ControllerObjective,
    ControllerObjectiveConfig,
    LabelledConfig,
    LabelledSource,
)
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import Deadline, ExecutionConfig, Trainer, TrainerConfig
from lawm_core.worlds.episodes import EpisodeWorld, build_episodes
from lawm_core.worlds.lerobot import LabelConfig
from lawm_core.worlds.robots import ROBOTS

LIMIT = 0.995  # of a data set's actions lie within what a page's controls offer, where nobody says more


def describe_robot(robot: str, world: EpisodeWorld, kind: str = "places") -> ControllerConfig:
    """A robot's known actions as its data tell: simulated ones with their units and limits, others by their spread."""
    known = ROBOTS[robot][0].known if robot in ROBOTS else ()
    if known and tuple(k.name for k in known) != world.names:
        raise ValueError(f"{robot} takes {', '.join(k.name for k in known)}; the data has {', '.join(world.names)}.")
    most_K = torch.quantile(world.actions().abs(), LIMIT, dim=0)
    return ControllerConfig(
        names=world.names,
        units=tuple(k.unit for k in known) or ("",) * len(world.names),
        limits=tuple(k.limit for k in known) or tuple(most_K.tolist()),
        mean=tuple(round(m, 6) for m in world.actions().mean(dim=0).tolist()),
        spread=tuple(round(s, 6) for s in world.spread_K.tolist()),
        kind=kind,
    )


def sided(robot: str) -> tuple[int, ...] | None:
    """Which numbers of a simulated robot's actions mean the opposite in a mirror; None where nobody knows."""
    if robot not in ROBOTS:
        return None
    return tuple(k for k, number in enumerate(ROBOTS[robot][0].known) if number.sided)


def train_controllers(
    out: str | Path,
    robot: str,
    data: str | Path,
    cache: str | Path = "cache",
    families: Sequence[str] | None = None,
    kinds: Sequence[str] = ("places",),
    steps: int = 2000,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "auto",
    show: bool = True,
    precision: str = "auto",
    labels: LabelConfig | None = None,
) -> dict[str, float]:
    """Trains a controller for each family and kind on OUT/model and saves the model; the last distances by
    ROBOT-FAMILY.

    The first family's take `steps`; the others start from what those have learned and take a third as many. Kind
    `action`, which sees the action alone and is for measuring, is kept as ROBOT_action_only. The loss is the paper's
    [LAWM §3], and for `places` the expected motion's beside it.
    """
    out, device = Path(out), pick_device(device)
    model = load_model(out / "model", device=device)
    home = build_episodes(data, cache, model.frames_per_second, model.frame_size, labels)
    world = EpisodeWorld(home, "train")
    torch.manual_seed(0)
    names = []
    for kind in kinds:
        name = robot + (ACTION_ONLY if kind == "action" else "")
        config = describe_robot(robot, world, kind)
        if not resume or model.config.robots.get(name) != config:
            model.add_robot(name, config)
        names.append(name)
    first, *others = families or model.families
    source = LabelledSource(LabelledConfig(sided=sided(robot)), world, device, seed=0)
    told, deadline = {}, Deadline(minutes)
    for chosen, count in (((first,), steps), (tuple(others), -(-steps // 3))):
        if not chosen:
            break
        objective = ControllerObjective(model, ControllerObjectiveConfig(robots=tuple(names), families=chosen))
        objective.trained().requires_grad_(True)
        rates = OptimizerConfig(adam_rate=1e-3, muon_rate=0.01, warm_up=0.1)
        plan = TrainerConfig(steps=count, optimizer=rates, execution=ExecutionConfig(precision=precision))
        trainer = Trainer(objective, source, plan, out / f"controller-{robot}-{chosen[0]}")
        if resume:
            trainer.resume()
        if trainer.step == 0:
            for name in names:
                learned = None if chosen == (first,) else model.controllers[name][first]
                for family in chosen:
                    model.controllers[name][family].start_from(model.member(family), learned)
        last = trainer.run(deadline.minutes_left(), show=show)
        told |= {name: last[name] for name in objective.controllers if name in last}
        objective.trained().requires_grad_(False)
        save_model(model, out / "model")
        if trainer.step < count:
            break
    return told
