"""A training run in a folder: OUT/model is the model so far, OUT/<stage> what each stage needs to resume."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from lawm_core.checkpoint import load_model, save_model, start_from
from lawm_core.model import LatentActionModel
from lawm_core.runtime import first_rank_first, pick_device, ranks
from lawm_core.training.batches import PairSource
from lawm_core.training.features import FeatureSource
from lawm_core.training.recipes import Recipe, find_recipe
from lawm_core.training.trainer import ExecutionConfig, Trainer
from lawm_core.worlds.clips import ClipWorld, open_world
from lawm_core.worlds.episodes import EpisodeWorld, build_episodes
from lawm_core.worlds.mixture import MixedWorld, VideoWorld


class TrainingRun:
    """The stages of one recipe on one folder of videos (or on twins alone), in one folder."""

    def __init__(
        self,
        recipe: str,
        data: str | Path | None,
        out: str | Path,
        cache: str | Path = "cache",
        device: str = "auto",
        show: bool = True,
        robot_video: Sequence[str | Path] = (),
        robot_share: float = 0.3,
        backbone: str | None = None,
        start: str | Path | None = None,
        execution: ExecutionConfig | None = None,
    ) -> None:
        """robot_video: LeRobotDataset folders whose video, without its labels, joins `data`; together they give
        `robot_share` of the real clips. backbone: a folder or a repository on the Hub, instead of the recipe's.
        start: a folder whose parts a fresh model takes over (`checkpoint.start_from`).
        execution: how steps are computed, for all stages.
        """
        self.recipe: Recipe = find_recipe(recipe)
        self.backbone = self.recipe.backbone if backbone is None else backbone
        self.start = start
        if backbone and not self.recipe.backbone:
            raise ValueError(f"recipe {recipe!r} learns its own encoder; --backbone is for those that take one over.")
        self.out, self.device, self.show = Path(out), pick_device(device), show
        self.execution = execution or ExecutionConfig()
        with first_rank_first():  # which decodes what the cache does not hold
            self.world: VideoWorld | None = self._open_world(data, cache) if data else None
            if robot_video:
                self.world = self._add_robots(robot_video, cache, robot_share)

    def stages(self, name: str = "all", family: str | None = None) -> list[str]:
        """The recipe's stages in order: all, or those of one name, for one family or for every one that has it.

        Raises ValueError that names the stages there are.
        """
        found = [
            stage
            for stage in self.recipe.stages
            if name in ("all", stage.partition("-")[0]) and family in (None, stage.partition("-")[2] or None)
        ]
        if not found:
            of = f" of family {family!r}" if family else ""
            raise ValueError(f"stage {name!r}{of} is not in this recipe; it has: {', '.join(self.recipe.stages)}.")
        for stage in found:  # now, and not when the stages before it are done
            self.recipe.stages[stage].batch.demand_shared(ranks() * self.execution.passes)
        return found

    def train(
        self, stage: str, minutes: float | None = None, steps: int | None = None, resume: bool = False
    ) -> dict[str, float]:
        """Trains one stage on the model of the stages before it and saves the model; returns the last losses."""
        plan = self.recipe.stages[stage]
        steps = steps or plan.trainer.steps
        config = dataclasses.replace(plan.trainer, steps=steps, execution=self.execution)
        model = self._open_model()
        world = self.world.resized(plan.batch.twins.frame_size) if isinstance(self.world, ClipWorld) else self.world
        source = PairSource(plan.batch, world, self.device, config.seed)
        if plan.feature_batches:
            source = FeatureSource(source, model, self.out, plan.feature_batches)
        if plan.start:
            plan.start(model)
        trainer = Trainer(plan.objective(model), source, config, self.out / stage)
        if resume:
            trainer.resume()
        losses = trainer.run(minutes, show=self.show)
        save_model(model, self.out / "model")
        return {"step": trainer.step, **losses}

    def finished(self, stage: str, step: float, steps: int | None = None) -> bool:
        """Whether a stage that has come to `step` is done, or was stopped on its way."""
        return step >= (steps or self.recipe.stages[stage].trainer.steps)

    def _open_model(self) -> LatentActionModel:
        """The run's model so far, or a fresh one, ready to be trained."""
        if (self.out / "model" / "config.json").is_file():
            return load_model(self.out / "model", device=self.device).requires_grad_(True)
        torch.manual_seed(0)
        model = LatentActionModel(self.recipe.model)
        if self.backbone:
            model.encoder.start_from(self.backbone)
        if self.start:
            start_from(model, self.start)
        return model.to(self.device)

    def _open_world(self, data: str | Path, cache: str | Path) -> ClipWorld:
        """The training split of a folder, decoded once."""
        model = self.recipe.model
        wrap = (lambda videos: tqdm(videos, desc="decoding", unit="video")) if self.show else None
        grids = [stage.batch.motion_grid for stage in self.recipe.stages.values()]
        world = open_world(
            data,
            cache,
            "train",
            model.frames_per_second,
            model.encoder.frame_size,
            wrap,
            model.picture_size,
            any(grids),
        )
        for name, why in world.refused.items():
            print(f"left out {name}: {why}", file=sys.stderr)
        return world

    def _add_robots(self, folders: Sequence[str | Path], cache: str | Path, share: float) -> VideoWorld:
        """The robots' training episodes beside the videos, or alone where there are none."""
        if not 0 < share <= 1:
            raise ValueError(f"the robots' share came as {share:g}; needed: above 0, at most 1.")
        rate, size = self.recipe.model.frames_per_second, self.recipe.model.encoder.frame_size
        worlds = [EpisodeWorld(build_episodes(folder, cache, rate, size), "train") for folder in folders]
        shares = [share / len(worlds)] * len(worlds)
        if self.world is None:
            return MixedWorld(worlds, shares)
        return MixedWorld([self.world, *worlds], [1 - share, *shares])
