"""A training run in a folder OUT: OUT/model is the model trained so far, OUT/STAGE has the checkpoints of a stage."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from lawm_core.checkpoint import init_from, load_model, save_model
from lawm_core.data.clip_dataset import ClipDataset, open_dataset
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.data.mixture import MixedDataset, VideoDataset
from lawm_core.model import LatentActionModel
from lawm_core.registry import import_object
from lawm_core.runtime import main_process_first, pick_device, world_size
from lawm_core.training.batches import PairSource
from lawm_core.training.features import FeatureSource
from lawm_core.training.recipes import TrainingRecipe, find_recipe
from lawm_core.training.trainer import ExecutionConfig, Trainer


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a training run needs besides a recipe.

    data: folder of videos or shards, or import path `package.module:Class` of a `VideoDataset`, which is called with
    the model's config. With None and no robot_video, training uses synthetic pairs alone. cache: folder for decoded
    videos. robot_video: LeRobotDataset folders whose videos are used without labels; they are a fraction
    `robot_fraction` of the real clips, or all of them if `data` is None.

    pretrained_encoder: folder or Hub repository of encoder weights that replaces the recipe's; None for the recipe's.
    init_from: folder of a saved model, from which a new model copies all parts that fit (see `checkpoint.init_from`).
    execution: how steps are computed. show_progress: show progress bars. Raises ValueError if robot_fraction is not in
    (0, 1].
    """

    data: str | Path | None = None
    cache: str | Path = "cache"
    robot_video: Sequence[str | Path] = ()
    robot_fraction: float = 0.3
    pretrained_encoder: str | None = None
    init_from: str | Path | None = None
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    show_progress: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.robot_fraction <= 1:
            raise ValueError(f"robot_fraction must be in (0, 1], got {self.robot_fraction:g}.")


class TrainingRun:
    """A training run: the stages of one recipe, trained on one data set, in one folder."""

    def __init__(
        self, recipe: str, out: str | Path, config: RunConfig | None = None, device: str | torch.device = "auto"
    ) -> None:
        """Open the data set. No model is built yet.

        recipe: name or import path, see `find_recipe`. out: folder of the run. Raises ValueError if there is no such
        recipe, or if a pretrained encoder is given to a recipe that trains its own.
        """
        self.recipe: TrainingRecipe = find_recipe(recipe)
        self.config, self.out, self.device = config or RunConfig(), Path(out), pick_device(device)
        if self.config.pretrained_encoder and not self.recipe.pretrained_encoder:
            raise ValueError(
                f"recipe {recipe!r} trains its own encoder and takes no pretrained one, got "
                f"{self.config.pretrained_encoder!r}. Leave pretrained_encoder out, or use another recipe."
            )
        with main_process_first():  # rank 0 decodes videos into the cache, the others read it
            self.dataset = self._open_data()

    def stages(self, name: str = "all", family: str | None = None) -> list[str]:
        """Return the names of matching stages of the recipe, in order.

        name: first part of a stage's name, such as `lam` in `lam-noisy`; `all` for every stage. family: second part,
        such as `noisy`; None for every family. Raises ValueError if no stage matches, or if the batch of one cannot be
        split over the ranks and micro-batches.
        """
        found = [
            stage
            for stage in self.recipe.stages
            if name in ("all", stage.partition("-")[0]) and family in (None, stage.partition("-")[2] or None)
        ]
        if not found:
            of = f" of family {family!r}" if family else ""
            raise ValueError(
                f"stage {name!r}{of} is not in this recipe; its stages are {', '.join(self.recipe.stages)}."
            )
        for stage in found:  # so that an error comes before any stage is trained
            self.recipe.stages[stage].batch.check_divisible(world_size() * self.config.execution.grad_accum_steps)
        return found

    def train(
        self, stage: str, minutes: float | None = None, steps: int | None = None, resume: bool = False
    ) -> dict[str, float]:
        """Train one stage, starting from the run's saved model, and save the model again.

        minutes: time limit; None for no limit. steps: number of steps; None for the recipe's. resume: continue from the
        stage's last checkpoint. Returns `step`, the step that the training has reached, and moving averages of the
        losses.
        """
        plan = self.recipe.stages[stage]
        trainer_config = dataclasses.replace(
            plan.trainer, steps=steps or plan.trainer.steps, execution=self.config.execution
        )
        model, dataset = self._open_model(), self.dataset and self.dataset.resized(plan.batch.scenes.frame_size)
        source = PairSource(plan.batch, dataset, self.device, trainer_config.seed)
        if plan.feature_batches:
            source = FeatureSource(source, model, self.out, plan.feature_batches)
        if plan.start:
            plan.start(model)
        trainer = Trainer(plan.loss(model), source, trainer_config, self.out / stage)
        if resume:
            trainer.resume()
        losses = trainer.run(minutes, self.config.show_progress)
        save_model(model, self.out / "model")
        return {"step": trainer.step, **losses}

    def is_finished(self, stage: str, step: float, steps: int | None = None) -> bool:
        """Return whether a stage that has reached `step` is complete.

        steps: its number of steps; None for the recipe's.
        """
        return step >= (steps or self.recipe.stages[stage].trainer.steps)

    def _open_model(self) -> LatentActionModel:
        """Return the run's saved model, ready to be trained, or a new one if there is none."""
        if (self.out / "model" / "config.json").is_file():
            return load_model(self.out / "model", device=self.device, trust_code=True).requires_grad_(True)
        torch.manual_seed(0)
        model = LatentActionModel(self.recipe.model)
        if source := self.config.pretrained_encoder or self.recipe.pretrained_encoder:
            load = getattr(model.encoder, "load_pretrained", None)
            if load is None:
                raise ValueError(
                    f"the encoder {self.recipe.model.encoder.kind!r} cannot load pretrained weights, got {source!r}. "
                    "Use a recipe whose encoder can, such as large."
                )
            load(source)
        if self.config.init_from:
            init_from(model, self.config.init_from)
        return model.to(self.device)

    def _open_data(self) -> VideoDataset | None:
        """Return a data set of all real clips, or None if there are none.

        It holds the training split of videos, shards and episodes, and all clips of a `VideoDataset` given by import
        path.
        """
        data, config = self.config.data, self.config
        dataset = None
        if isinstance(data, str) and ":" in data and not Path(data).exists():
            dataset = import_object(data)(self.recipe.model)
            if not isinstance(dataset, VideoDataset):
                raise ValueError(f"{data} must return a VideoDataset, got {type(dataset).__name__}.")
        elif data:
            dataset = self._open_videos(data)
        if not config.robot_video:
            return dataset
        model = self.recipe.model
        robots = [
            EpisodeDataset(build_episodes(folder, config.cache, model.frames_per_second, model.picture_size), "train")
            for folder in config.robot_video
        ]
        weights = [config.robot_fraction / len(robots)] * len(robots)
        if dataset is None:
            return MixedDataset(robots, weights)
        return MixedDataset([dataset, *robots], [1 - config.robot_fraction, *weights])

    def _open_videos(self, folder: str | Path) -> ClipDataset:
        """Return the training split of a folder of videos or shards. Videos are decoded into the cache on first use."""
        model = self.recipe.model
        progress = (
            (lambda videos: tqdm(videos, desc="decoding videos", unit="video")) if self.config.show_progress else None
        )
        dataset = open_dataset(
            folder,
            self.config.cache,
            "train",
            model.frames_per_second,
            model.encoder.frame_size,
            progress,
            model.picture_size,
            with_flow=any(stage.batch.motion_grid for stage in self.recipe.stages.values()),
        )
        for name, reason in dataset.skipped.items():
            print(f"skipped {name}: {reason}", file=sys.stderr)
        return dataset
