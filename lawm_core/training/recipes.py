"""Recipes: functions that return everything a stage needs. A run is a recipe's name and a stage's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.blocks import BlockConfig
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.models.motion import MotionConfig
from lawm_core.models.world_model import WorldModelConfig
from lawm_core.training.batches import BatchConfig
from lawm_core.training.losses import (
    LatentActionConfig,
    LatentActionObjective,
    Objective,
    PictureConfig,
    PictureObjective,
    ReconstructionConfig,
    ReconstructionObjective,
)
from lawm_core.training.masked import MaskedConfig, MaskedObjective
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """One stage: what it sees, how long and how fast, and how its objective is built on a model."""

    batch: BatchConfig
    trainer: TrainerConfig
    objective: Callable[[LatentActionModel], Objective]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model and its stages in order."""

    model: ModelConfig
    stages: dict[str, StageRecipe] = field(default_factory=dict)


def nano() -> Recipe:
    """64 px, 64 tokens a frame, about 5.5 M weights: trains on two cores."""
    return Recipe(
        model=ModelConfig(name="nano"),
        stages={
            "encoder": StageRecipe(
                batch=BatchConfig(clips=16, frames=2, twin_share=0.3),
                trainer=TrainerConfig(steps=900, optimizer=OptimizerConfig(adam_rate=2e-3, weight_decay=0.01)),
                objective=lambda model: ReconstructionObjective(model, ReconstructionConfig()),
            ),
            "lam": StageRecipe(
                batch=BatchConfig(clips=16, frames=6),
                trainer=TrainerConfig(steps=2600, optimizer=OptimizerConfig(muon_rate=0.012, adam_rate=8e-4)),
                objective=lambda model: LatentActionObjective(model, LatentActionConfig()),
            ),
            "decoder": StageRecipe(
                batch=BatchConfig(clips=6, frames=8, twin_share=0.4),
                trainer=TrainerConfig(steps=1400, optimizer=OptimizerConfig(adam_rate=2e-3, weight_decay=0.01)),
                objective=lambda model: PictureObjective(model, PictureConfig()),
            ),
        },
    )


def lite() -> Recipe:
    """128 px, 256 tokens a frame, about 25 M weights: for one GPU."""
    block = BlockConfig(width=320, heads=8)
    model = ModelConfig(
        name="lite",
        encoder=EncoderConfig(frame_size=128, channels=64, depth=3),
        decoder=DecoderConfig(block=BlockConfig(width=256, heads=8), depth=3, channels=96, conv_depth=4),
        families={
            "noisy": FamilyConfig(
                inverse_dynamics=InverseDynamicsConfig(
                    block=block, depth=4, motion=MotionConfig(channels=48, radius=4)
                ),
                world_model=WorldModelConfig(block=block, motion_depth=3, correction_depth=4),
            )
        },
    )
    return Recipe(
        model=model,
        stages={
            "encoder": StageRecipe(
                batch=BatchConfig(clips=64, frames=2, twin_share=0.3),
                trainer=TrainerConfig(steps=4000, optimizer=OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)),
                objective=lambda model: ReconstructionObjective(model, ReconstructionConfig()),
            ),
            "lam": StageRecipe(
                batch=BatchConfig(clips=64, frames=8),
                trainer=TrainerConfig(steps=12000, optimizer=OptimizerConfig(adam_rate=1e-3)),
                objective=lambda model: LatentActionObjective(model, LatentActionConfig()),
            ),
            "decoder": StageRecipe(
                batch=BatchConfig(clips=32, frames=8, twin_share=0.4),
                trainer=TrainerConfig(steps=4000, optimizer=OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)),
                objective=lambda model: PictureObjective(model, PictureConfig()),
            ),
        },
    )


def nano_masked() -> Recipe:
    """nano with an encoder of masked latent prediction alone, to compare objectives."""
    return with_encoder(nano(), lambda model: MaskedObjective(model, MaskedConfig()))


def nano_mixed() -> Recipe:
    """nano with an encoder of masked latent prediction and reconstruction, to compare objectives."""
    return with_encoder(nano(), lambda model: MaskedObjective(model, MaskedConfig(reconstruction=3.0)))


def with_encoder(recipe: Recipe, objective: Callable[[LatentActionModel], Objective]) -> Recipe:
    """The recipe with another objective for its encoder."""
    stage = replace(recipe.stages["encoder"], objective=objective)
    return replace(recipe, stages=recipe.stages | {"encoder": stage})


RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": nano, "lite": lite, "nano_masked": nano_masked, "nano_mixed": nano_mixed,
}  # fmt: skip
