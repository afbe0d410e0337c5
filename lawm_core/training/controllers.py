"""Training of a robot's controllers for a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.data.lerobot import LabelConfig
from lawm_core.models.controller import ACTION_ONLY, ControllerConfig
from lawm_core.runtime import pick_device
from lawm_core.simulation.robots import ROBOTS
from lawm_core.training.controller_loss import (
    ControllerLoss,
    ControllerLossConfig,
    LabelledBatchConfig,
    LabelledSource,
)
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import Deadline, ExecutionConfig, Trainer, TrainerConfig

LIMIT_QUANTILE = 0.995  # fraction of the actions inside the measured limits of a robot that is not simulated


@dataclass(frozen=True, kw_only=True)
class LabelledRunConfig:
    """Config of a training on robot episodes: of controllers or of baselines.

    robot: name of the robot. data: folder of a LeRobotDataset. labels: interpretation of its actions; None for the
    defaults of `LabelConfig`. cache: folder for decoded episodes. steps: training steps; None for the default of the
    training. minutes: time limit of all its stages together; None for no limit. resume: continue from the last
    checkpoints. device, precision: `auto` or a name, see `pick_device` and `ExecutionConfig`. show_progress: show a
    progress bar.
    """

    robot: str
    data: str | Path
    labels: LabelConfig | None = None
    cache: str | Path = "cache"
    steps: int | None = None
    minutes: float | None = None
    resume: bool = False
    device: str = "auto"
    precision: str = "auto"
    show_progress: bool = True


def describe_robot(robot: str, dataset: EpisodeDataset, kind: str = "flow") -> ControllerConfig:
    """Return the config of a robot's controllers for a data set.

    Units and limits of the actions of simulated robots are known. For other robots, limits are measured in the data and
    units are empty. kind: kind of controller, see `ControllerConfig`. Raises ValueError if the data set's action
    dimensions differ from those of the simulated robot.
    """
    dims = ROBOTS[robot][0].action_dims if robot in ROBOTS else ()
    if dims and tuple(dim.name for dim in dims) != dataset.names:
        raise ValueError(
            f"actions of {robot} must be {', '.join(dim.name for dim in dims)}; the data set has "
            f"{', '.join(dataset.names)}. Choose another robot name or another data set."
        )
    quantile_R = torch.quantile(dataset.actions().abs(), LIMIT_QUANTILE, dim=0)
    return ControllerConfig(
        names=dataset.names,
        units=tuple(dim.unit for dim in dims) or ("",) * len(dataset.names),
        limits=tuple(dim.limit for dim in dims) or tuple(quantile_R.tolist()),
        mean=tuple(round(m, 6) for m in dataset.actions().mean(dim=0).tolist()),
        std=tuple(round(s, 6) for s in dataset.std_R.tolist()),
        kind=kind,
    )


def mirrored_dims(robot: str) -> tuple[int, ...] | None:
    """Return the indices of a simulated robot's action dimensions that change their sign when the image is mirrored;
    None for other robots.
    """
    if robot not in ROBOTS:
        return None
    return tuple(index for index, dim in enumerate(ROBOTS[robot][0].action_dims) if dim.mirrored)


def train_controllers(
    out: str | Path, config: LabelledRunConfig, families: Sequence[str] | None = None, action_only: bool = False
) -> dict[str, float]:
    """Train a robot's controllers for the model in OUT/model and save the model there.

    The first family's controller is trained for `config.steps` steps (2000 by default). Those of the other families
    start from its weights and are trained for a third of the steps. The loss is the paper's [LAWM §3], plus that of the
    predicted flow.

    families: names of the families to train for; None for all. action_only: also train controllers that do not see the
    state, for comparison; their robot is named ROBOT_action_only. Returns moving averages of the distances at the end
    of the training, by ROBOT-FAMILY (see `ControllerLoss.losses`).
    """
    out, device = Path(out), pick_device(config.device)
    model = load_model(out / "model", device=device, trust_code=True)
    home = build_episodes(config.data, config.cache, model.frames_per_second, model.frame_size, config.labels)
    dataset, robot = EpisodeDataset(home, "train"), config.robot
    torch.manual_seed(0)
    kinds = {robot: "flow"} | ({robot + ACTION_ONLY: "action"} if action_only else {})
    for name, kind in kinds.items():
        description = describe_robot(robot, dataset, kind)
        if not config.resume or model.config.robots.get(name) != description:
            model.add_robot(name, description)
    first, *others = families or model.family_names
    source = LabelledSource(LabelledBatchConfig(mirrored_dims=mirrored_dims(robot)), dataset, device, seed=0)
    distances, deadline, steps = {}, Deadline(config.minutes), config.steps or 2000
    for chosen, count in (((first,), steps), (tuple(others), -(-steps // 3))):
        if not chosen:
            break
        loss = ControllerLoss(model, ControllerLossConfig(robots=tuple(kinds), families=chosen))
        loss.trained().requires_grad_(True)
        optimizer = OptimizerConfig(adam_rate=1e-3, muon_rate=0.01, warm_up=0.1)
        execution = ExecutionConfig(precision=config.precision)
        trainer_config = TrainerConfig(steps=count, optimizer=optimizer, execution=execution)
        trainer = Trainer(loss, source, trainer_config, out / f"controller-{robot}-{chosen[0]}")
        if config.resume:
            trainer.resume()
        if trainer.step == 0:
            for name in kinds:
                trained = None if chosen == (first,) else model.at(first).controller(name)
                for family in chosen:
                    bound = model.at(family)
                    bound.controller(name).start_from(bound.family, trained)
        last = trainer.run(deadline.minutes_left(), config.show_progress)
        distances |= {name: last[name] for name in loss.controllers if name in last}
        loss.trained().requires_grad_(False)
        save_model(model, out / "model")
        if trainer.step < count:
            break
    return distances
