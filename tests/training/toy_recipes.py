"""Recipes and data sets that tests find by their import paths, `tests.training.toy_recipes:NAME`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from lawm_core.data.mixture import VideoDataset
from lawm_core.model import ModelConfig
from lawm_core.training.recipes import TrainingRecipe, nano
from tests.conftest import tiny_config
from tests.training.toy_stages import SCENES


def tiny_recipe() -> TrainingRecipe:
    """All stages of the recipe nano, for a tiny model and with tiny batches."""
    recipe = nano()
    model = tiny_config(families=tuple(recipe.model.families), picture_size=64)
    stages = {}
    for name, stage in recipe.stages.items():
        scenes = replace(SCENES, frame_size=model.picture_size if name == "decoder" else model.encoder.frame_size)
        batch = replace(stage.batch, clips=4, num_shards=2, frames=3, scenes=scenes)
        stages[name] = replace(stage, batch=batch)
    return replace(recipe, model=model, stages=stages)


def no_recipe() -> ModelConfig:
    """A function that returns something else than a recipe."""
    return tiny_config()


class GreyDataset(VideoDataset):
    """Clips of one grey, at the model's picture size."""

    def __init__(self, config: ModelConfig) -> None:
        self.size = config.picture_size

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        return torch.full((clips, frames, 3, self.size, self.size), 0.25, device=generator.device)

    def stills(self, per_clip: int, size: int) -> Tensor:
        return torch.full((per_clip, 3, size, size), 0.25)


class NoDataset:
    """A class that is no data set."""

    def __init__(self, config: ModelConfig) -> None:
        pass
