"""Recipes: functions that return everything a stage needs. A run is a recipe's name and a stage's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lawm_core.model import REFERENCES, LatentActionModel, ModelConfig
from lawm_core.models.blocks import BlockConfig
from lawm_core.models.bottlenecks import (
    BottleneckConfig,
    DeterministicConfig,
    DiscreteConfig,
    NoisyConfig,
    SparseConfig,
    UnconstrainedConfig,
)
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.flow_reader import FlowReaderConfig
from lawm_core.models.flow_world_model import FlowWorldModelConfig
from lawm_core.models.inverse_dynamics import FlowInverseDynamicsConfig, InverseDynamicsConfig
from lawm_core.models.motion import MotionConfig
from lawm_core.models.picture_decoder import PictureDecoderConfig
from lawm_core.models.sampler import SamplerConfig
from lawm_core.models.vjepa2 import VITL, VJepa2Config
from lawm_core.models.world_model import WorldModelConfig
from lawm_core.training.batches import BatchConfig
from lawm_core.training.flow_losses import (
    FlowActionConfig,
    FlowActionObjective,
    FlowReaderObjective,
    ReferencePictureConfig,
    ReferencePictureObjective,
)
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
from lawm_core.training.sampler import SamplerObjective, SamplerObjectiveConfig
from lawm_core.training.trainer import TrainerConfig
from lawm_core.worlds.tracks import TwinConfig


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """One stage: what it sees, how long and how fast, and how its objective is built on a model.

    start: done to the model before the first step of a run that is not resumed. feature_batches: for stages on a frozen
    encoder, how many batches are computed once, kept beside the run and repeated; 0 draws every batch anew.
    """

    batch: BatchConfig
    trainer: TrainerConfig
    objective: Callable[[LatentActionModel], Objective]
    start: Callable[[LatentActionModel], None] | None = None
    feature_batches: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model and its stages in order.

    backbone: whose weights a fresh model's encoder takes over, a folder or a repository on the Hub; without one it
    learns its own.
    """

    model: ModelConfig
    stages: dict[str, StageRecipe] = field(default_factory=dict)
    backbone: str = ""


LIMITS: dict[str, BottleneckConfig] = {
    "noisy": NoisyConfig(),
    "sparse": SparseConfig(),
    "discrete": DiscreteConfig(),
    "deterministic": DeterministicConfig(),
    "unconstrained": UnconstrainedConfig(),
}

# 16 x 16 cosines of a flow keep at least three quarters of what 8 x 8 lose (see the card). Most of them are small, so
# they bear less noise.
FLOW_WIDTH = 2 * 16**2
FLOW_LIMITS: dict[str, BottleneckConfig] = {
    "noisy": NoisyConfig(action_width=FLOW_WIDTH, beta_low_capacity=0.5, worth=5e-2),
    "sparse": SparseConfig(action_width=FLOW_WIDTH, noise=0.02, worth=0.1),
    "discrete": DiscreteConfig(action_width=FLOW_WIDTH),
    "deterministic": DeterministicConfig(action_width=FLOW_WIDTH),
    "unconstrained": UnconstrainedConfig(action_width=FLOW_WIDTH),
}
FEATURE_BATCHES = 600  # that families and samplers are trained on again and again


def families(parts: FamilyConfig) -> dict[str, FamilyConfig]:
    """Every family and both reference lines at the same sizes."""
    return {
        name: replace(parts, bottleneck=limit, sampler=None if name in REFERENCES else SamplerConfig())
        for name, limit in LIMITS.items()
    }


def follow_first(name: str) -> Callable[[LatentActionModel], None]:
    """A family starts from what the first one has learned of motion; limits are learned quickly, motion is not."""
    return lambda model: model.member(name).start_from(model.member(None))


def family_stages(
    batch: BatchConfig,
    first: TrainerConfig,
    rest: TrainerConfig,
    sampler: TrainerConfig,
    start_over: bool = False,
) -> tuple[dict[str, StageRecipe], dict[str, StageRecipe]]:
    """lam-NAME for every family, the first from nothing, the rest from the first unless they start over; sampler-NAME
    for those with one.
    """
    lam, samplers = {}, {}
    for i, name in enumerate(LIMITS):
        lam[f"lam-{name}"] = StageRecipe(
            batch=batch,
            trainer=rest if i else first,
            objective=lambda model, name=name: LatentActionObjective(
                model, LatentActionConfig(family=name, cycle=0.3, lean=0.5)
            ),
            start=follow_first(name) if i and not start_over else None,
        )
        if name not in REFERENCES:
            samplers[f"sampler-{name}"] = StageRecipe(
                batch=batch,
                trainer=sampler,
                objective=lambda model, name=name: SamplerObjective(model, SamplerObjectiveConfig(family=name)),
            )
    return lam, samplers


def nano() -> Recipe:
    """64 px, 64 tokens a frame, about 6.5 M weights a family: trains on two cores."""
    plain = OptimizerConfig(adam_rate=2e-3, weight_decay=0.01)
    lam, samplers = family_stages(
        batch=BatchConfig(clips=16, lanes=4, frames=6, across=0.35, twins=TwinConfig(object_share=0.9)),
        first=TrainerConfig(steps=2600, optimizer=OptimizerConfig(muon_rate=0.012, adam_rate=8e-4)),
        rest=TrainerConfig(steps=1200, optimizer=OptimizerConfig(muon_rate=0.008, adam_rate=6e-4)),
        sampler=TrainerConfig(steps=1500, optimizer=OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)),
    )
    return Recipe(
        model=ModelConfig(name="nano", families=families(FamilyConfig())),
        stages={
            "encoder": StageRecipe(
                batch=BatchConfig(clips=16, lanes=4, frames=2, twin_share=0.3),
                trainer=TrainerConfig(steps=900, optimizer=plain),
                objective=lambda model: ReconstructionObjective(model, ReconstructionConfig()),
            ),
            **lam,
            "decoder": StageRecipe(
                batch=BatchConfig(clips=6, lanes=2, frames=8, twin_share=0.4),
                trainer=TrainerConfig(steps=1400, optimizer=plain),
                objective=lambda model: PictureObjective(model, PictureConfig()),
            ),
            **samplers,
        },
    )


def nano256(names: tuple[str, ...] = ("noisy", "sparse", "discrete")) -> Recipe:
    """Sees 128 px as 64 tokens a frame, draws 256 px: trains on two cores. names: of the bottlenecks."""
    plain = OptimizerConfig(adam_rate=2e-3, weight_decay=0.01)
    scenes = TwinConfig(frame_size=128, object_share=0.9, pan=0.08, move=0.08)
    pairs = BatchConfig(clips=12, lanes=4, frames=6, across=0.35, twins=scenes, motion_grid=32, figure_share=0.3)
    parts = FamilyConfig(
        inverse_dynamics=FlowInverseDynamicsConfig(depth=1, readout=8), world_model=FlowWorldModelConfig(place_width=8)
    )
    first = TrainerConfig(steps=1600, optimizer=OptimizerConfig(muon_rate=0.012, adam_rate=8e-4))
    rest = TrainerConfig(steps=600, optimizer=OptimizerConfig(muon_rate=0.008, adam_rate=6e-4))
    limits, sampler = {name: FLOW_LIMITS[name] for name in names}, SamplerConfig(width=192, depth=2)
    lam = {
        f"lam-{name}": StageRecipe(
            batch=pairs,
            trainer=rest if i else first,
            objective=lambda model, name=name: FlowActionObjective(model, FlowActionConfig(family=name)),
            start=follow_first(name) if i else None,
            feature_batches=FEATURE_BATCHES,
        )
        for i, name in enumerate(limits)
    }
    samplers = {
        f"sampler-{name}": StageRecipe(
            batch=pairs,
            feature_batches=FEATURE_BATCHES,
            trainer=TrainerConfig(steps=800, optimizer=OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)),
            objective=lambda model, name=name: SamplerObjective(model, SamplerObjectiveConfig(family=name)),
        )
        for name in limits
        if name not in REFERENCES
    }
    return Recipe(
        model=ModelConfig(
            name="nano256",
            encoder=EncoderConfig(frame_size=128, patch_size=16, width=256, cells=8),
            flow=FlowReaderConfig(),
            decoder=PictureDecoderConfig(),
            families={
                name: replace(parts, bottleneck=limit, sampler=None if name in REFERENCES else sampler)
                for name, limit in limits.items()
            },
        ),
        stages={
            "encoder": StageRecipe(
                batch=BatchConfig(clips=8, lanes=4, frames=2, twin_share=0.25, twins=scenes),
                trainer=TrainerConfig(steps=600, optimizer=plain),
                objective=lambda model: ReconstructionObjective(
                    model, ReconstructionConfig(probe=DecoderConfig(depth=1, channels=32, conv_depth=1))
                ),
            ),
            "flow": StageRecipe(
                batch=BatchConfig(
                    clips=16, lanes=4, frames=4, twin_share=0.5, across=0.0, twins=scenes, motion_grid=64,
                    figure_share=0.25,
                ),
                trainer=TrainerConfig(steps=1500, optimizer=plain),
                objective=FlowReaderObjective,
            ),
            **lam,
            "decoder": StageRecipe(
                batch=BatchConfig(
                    clips=4, lanes=2, frames=8, twin_share=0.25, motion_grid=64, figure_share=0.5,
                    twins=replace(scenes, frame_size=256),
                ),
                trainer=TrainerConfig(steps=1000, optimizer=plain),
                objective=lambda model: ReferencePictureObjective(model, ReferencePictureConfig()),
            ),
            **samplers,
        },
    )  # fmt: skip


def nano256_references() -> Recipe:
    """The reference lines of nano256, noisy first, from which they start: for measuring, not for shipping."""
    return nano256(("noisy", *REFERENCES))


def lite() -> Recipe:
    """128 px, 256 tokens a frame, about 25 M weights a family: for one GPU."""
    block = BlockConfig(width=320, heads=8)
    plain, still = OptimizerConfig(adam_rate=1e-3, weight_decay=0.01), TwinConfig(frame_size=128)
    parts = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(block=block, depth=4, motion=MotionConfig(channels=48, radius=4)),
        world_model=WorldModelConfig(block=block, motion_depth=3, correction_depth=4),
    )
    lam, samplers = family_stages(
        batch=BatchConfig(clips=64, lanes=8, frames=8, across=0.35, twins=replace(still, object_share=0.9)),
        first=TrainerConfig(steps=12000, optimizer=OptimizerConfig(muon_rate=0.012, adam_rate=8e-4)),
        rest=TrainerConfig(steps=5000, optimizer=OptimizerConfig(muon_rate=0.008, adam_rate=6e-4)),
        sampler=TrainerConfig(steps=6000, optimizer=plain),
    )
    return Recipe(
        model=ModelConfig(
            name="lite",
            encoder=EncoderConfig(frame_size=128, channels=64, depth=3),
            decoder=DecoderConfig(block=BlockConfig(width=256, heads=8), depth=3, channels=96, conv_depth=4),
            families=families(parts),
        ),
        stages={
            "encoder": StageRecipe(
                batch=BatchConfig(clips=64, lanes=8, frames=2, twin_share=0.3, twins=still),
                trainer=TrainerConfig(steps=4000, optimizer=plain),
                objective=lambda model: ReconstructionObjective(model, ReconstructionConfig()),
            ),
            **lam,
            "decoder": StageRecipe(
                batch=BatchConfig(clips=32, lanes=8, frames=8, twin_share=0.4, twins=still),
                trainer=TrainerConfig(steps=4000, optimizer=plain),
                objective=lambda model: PictureObjective(model, PictureConfig()),
            ),
            **samplers,
        },
    )


def large() -> Recipe:
    """V-JEPA 2-L at 256 px, 16 frames at 4 a second, a ViT-L world model and decoder: the paper's own scale and
    schedules [LAWM §3], for many GPUs. Real video explains itself, as in the paper: no twins, no other colours.
    """
    block = BlockConfig(width=1024, heads=16)
    parts = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(block=block, depth=8, motion=MotionConfig(channels=128)),
        world_model=WorldModelConfig(block=block, motion_depth=12, correction_depth=12, window=16),
    )
    alone = BatchConfig(
        clips=512, lanes=64, frames=16, twin_share=0.0, recoloured=0.0, twins=TwinConfig(frame_size=256)
    )
    rates = OptimizerConfig(muon_rate=0.02, adam_rate=6.25e-4, weight_decay=0.04, warm_up=0.1)
    plain = OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)
    lam, samplers = family_stages(
        batch=replace(alone, clips=1024),
        first=TrainerConfig(steps=30_000, optimizer=rates, save_every=500),
        rest=TrainerConfig(steps=30_000, optimizer=rates, save_every=500),
        sampler=TrainerConfig(steps=10_000, optimizer=plain, save_every=500),
        start_over=True,
    )
    pictures = OptimizerConfig(muon_rate=0.02, adam_rate=3e-4, weight_decay=0.01, warm_up=12 / 90)
    return Recipe(
        model=ModelConfig(
            name="large",
            frames_per_second=4.0,
            encoder=VJepa2Config(),
            decoder=DecoderConfig(block=block, depth=24, channels=256, conv_depth=2, window=16),
            families=families(parts),
        ),
        stages={
            **lam,
            "decoder": StageRecipe(
                batch=alone,
                trainer=TrainerConfig(steps=90_000, optimizer=pictures, save_every=500),
                objective=lambda model: PictureObjective(model, PictureConfig()),
            ),
            **samplers,
        },
        backbone=VITL,
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


def find_recipe(name: str) -> Recipe:
    """The recipe of this name; ValueError that names those there are."""
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is not one of: {', '.join(RECIPES)}.")
    return RECIPES[name]()


RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": nano, "nano256": nano256, "nano256_references": nano256_references, "lite": lite, "large": large,
    "nano_masked": nano_masked, "nano_mixed": nano_mixed,
}  # fmt: skip
