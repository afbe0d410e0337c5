"""Training recipes: functions that return the config of a model and of its training stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.model import REFERENCES, LatentActionModel, ModelConfig
from lawm_core.models.action_sampler import SamplerConfig
from lawm_core.models.attention import BlockConfig
from lawm_core.models.bottlenecks import (
    BottleneckConfig,
    DeterministicConfig,
    DiscreteConfig,
    NoisyConfig,
    SparseConfig,
    UnconstrainedConfig,
)
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.flow_reader import FlowReaderConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.models.vjepa2 import VITL, VJepa2Config
from lawm_core.models.world_model import WorldModelConfig
from lawm_core.registry import import_object
from lawm_core.training.batches import PairBatchConfig
from lawm_core.training.decoder_loss import DecoderLoss, DecoderLossConfig
from lawm_core.training.encoder_losses import (
    MaskedLoss,
    MaskedLossConfig,
    ReconstructionLoss,
    ReconstructionLossConfig,
)
from lawm_core.training.flow_reader_loss import FlowReaderLoss
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.losses import Loss
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.sampler_loss import SamplerLoss
from lawm_core.training.trainer import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Config of a training stage.

    batch, trainer: configs of its batches and of its trainer. loss: builds its loss for a model. start: called with the
    model before the training, for example to copy weights; None for nothing. If a run is resumed, its checkpoint is
    loaded after that.

    feature_batches: how many batches of features are computed, cached and then repeated, for stages that use the
    encoder and flow reader only frozen (see `FeatureSource`). With 0, every step draws a new batch.
    """

    batch: PairBatchConfig
    trainer: TrainerConfig
    loss: Callable[[LatentActionModel], Loss]
    start: Callable[[LatentActionModel], None] | None = None
    feature_batches: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """Config of a model and of its training stages, in the order in which they are trained.

    pretrained_encoder: folder or Hub repository with the encoder's weights; empty if the recipe trains the encoder.
    """

    model: ModelConfig
    stages: dict[str, StageConfig] = field(default_factory=dict)
    pretrained_encoder: str = ""


# Two coefficients, horizontal and vertical, for each of 16 x 16 cosines. They keep at least three quarters of the
# motion that is lost with 8 x 8 (see the model card). Most of the coefficients are small, so the bottlenecks below
# count noise in them as more costly than by default, or add less of it.
ACTION_WIDTH = 2 * 16**2
BOTTLENECKS: dict[str, BottleneckConfig] = {
    "noisy": NoisyConfig(action_width=ACTION_WIDTH, beta_low_capacity=0.5, noise_cost=5e-2),
    "sparse": SparseConfig(action_width=ACTION_WIDTH, noise=0.02, noise_cost=0.1),
    "discrete": DiscreteConfig(action_width=ACTION_WIDTH),
    "deterministic": DeterministicConfig(action_width=ACTION_WIDTH),
    "unconstrained": UnconstrainedConfig(action_width=ACTION_WIDTH),
}
FAMILIES = tuple(name for name in BOTTLENECKS if name not in REFERENCES)


def build_families(names: tuple[str, ...], sizes: FamilyConfig) -> dict[str, FamilyConfig]:
    """Return a config for each family in `names`, all with the given sizes. Reference lines have no sampler."""
    return {
        name: replace(sizes, bottleneck=BOTTLENECKS[name], sampler=None if name in REFERENCES else sizes.sampler)
        for name in names
    }


def latent_action_stages(
    names: tuple[str, ...],
    batch: PairBatchConfig,
    first: TrainerConfig,
    others: TrainerConfig,
    feature_batches: int,
    from_scratch: bool = False,
) -> dict[str, StageConfig]:
    """Return a stage lam-NAME for each family in `names`.

    first, others: trainer configs of the first family and of the other ones. The other families start from the first
    one's weights, or untrained if `from_scratch` is True. feature_batches: see `StageConfig`.
    """

    def stage(index: int, name: str) -> StageConfig:
        """Return the stage of family number `index`."""
        return StageConfig(
            batch=batch,
            trainer=others if index else first,
            loss=lambda model: LatentActionLoss(model, LatentActionLossConfig(family=name)),
            start=None if from_scratch or not index else lambda model: model.at(name).family.start_from(
                model.at(names[0]).family
            ),
            feature_batches=feature_batches,
        )  # fmt: skip

    return {f"lam-{name}": stage(index, name) for index, name in enumerate(names)}


def sampler_stages(
    names: tuple[str, ...], batch: PairBatchConfig, trainer: TrainerConfig, feature_batches: int
) -> dict[str, StageConfig]:
    """Return a stage sampler-NAME for each family in `names` that has a sampler.

    batch, trainer, feature_batches: the same for all stages, see `StageConfig`.
    """

    def stage(name: str) -> StageConfig:
        loss = lambda model: SamplerLoss(model, name)
        return StageConfig(batch=batch, trainer=trainer, loss=loss, feature_batches=feature_batches)

    return {f"sampler-{name}": stage(name) for name in names if name not in REFERENCES}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Numbers in which recipes that train their own encoder differ.

    encoder, flow, first_family, other_families, decoder, sampler: training steps of these stages. clips, frames: size
    of a batch of families and samplers; the batches of other stages are derived from it. feature_batches: see
    `StageConfig`.
    """

    encoder: int
    flow: int
    first_family: int
    other_families: int
    decoder: int
    sampler: int
    clips: int
    frames: int = 6
    feature_batches: int = 0


def standard_recipe(model: ModelConfig, schedule: Schedule) -> TrainingRecipe:
    """Return the recipe of a model that trains its own encoder.

    Its stages are the encoder, the flow reader, each family, the decoder, and each sampler.
    """
    adamw = OptimizerConfig(adam_rate=2e-3, weight_decay=0.01)
    scenes = SyntheticConfig(frame_size=model.encoder.frame_size, object_share=0.9, pan=0.08, move=0.08)
    names, clips, grid = tuple(model.families), schedule.clips, model.encoder.map_size
    pairs = PairBatchConfig(
        clips=clips, num_shards=4, frames=schedule.frames, cross_pair_fraction=0.35, scenes=scenes,
        motion_grid=grid // 2, figure_fraction=0.3,
    )  # fmt: skip
    rate = lambda muon, adam: OptimizerConfig(muon_rate=muon, adam_rate=adam)
    return TrainingRecipe(
        model=model,
        stages={
            "encoder": StageConfig(
                batch=PairBatchConfig(
                    clips=max(8, clips // 2 // 4 * 4), num_shards=4, frames=2, synthetic_fraction=0.25, scenes=scenes
                ),
                trainer=TrainerConfig(steps=schedule.encoder, optimizer=adamw),
                loss=lambda model: ReconstructionLoss(model, ReconstructionLossConfig()),
            ),
            "flow": StageConfig(
                batch=replace(
                    pairs, clips=16, frames=4, cross_pair_fraction=0.0, motion_grid=grid, figure_fraction=0.25
                ),
                trainer=TrainerConfig(steps=schedule.flow, optimizer=adamw),
                loss=FlowReaderLoss,
            ),
            **latent_action_stages(
                names,
                pairs,
                TrainerConfig(steps=schedule.first_family, optimizer=rate(0.012, 8e-4)),
                TrainerConfig(steps=schedule.other_families, optimizer=rate(0.008, 6e-4)),
                schedule.feature_batches,
            ),
            "decoder": StageConfig(
                batch=PairBatchConfig(
                    clips=max(4, clips // 4), num_shards=2, frames=8, synthetic_fraction=0.25, motion_grid=grid,
                    figure_fraction=0.5, scenes=replace(scenes, frame_size=model.picture_size),
                ),
                trainer=TrainerConfig(steps=schedule.decoder, optimizer=adamw),
                loss=lambda model: DecoderLoss(model, DecoderLossConfig()),
            ),
            **sampler_stages(
                names,
                pairs,
                TrainerConfig(
                    steps=schedule.sampler, optimizer=OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)
                ),
                schedule.feature_batches,
            ),
        },
    )  # fmt: skip


def nano256(names: tuple[str, ...] = FAMILIES) -> TrainingRecipe:
    """Return the recipe of the shipped model. It encodes 128 px as 64 tokens per frame, decodes 256 px, and trains on
    two CPU cores.
    """
    sizes = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(depth=1, readout=8),
        world_model=WorldModelConfig(place_width=8),
        sampler=SamplerConfig(width=192, depth=2),
    )
    model = ModelConfig(
        name="nano256",
        encoder=ConvEncoderConfig(frame_size=128, patch_size=16, width=256, subpatches=8),
        families=build_families(names, sizes),
    )
    schedule = Schedule(
        encoder=600, flow=1500, first_family=1600, other_families=600, decoder=1000, sampler=800, clips=12,
        feature_batches=600,
    )  # fmt: skip
    return standard_recipe(model, schedule)


def nano256_references() -> TrainingRecipe:
    """Return the recipe of nano256 with the noisy family and both reference lines, for evaluation."""
    return nano256(("noisy", *REFERENCES))


def nano256_masked() -> TrainingRecipe:
    """Return the recipe of nano256 with an encoder that is trained by masked latent prediction alone.

    It serves to compare losses of the encoder.
    """
    return with_encoder_loss(nano256(), lambda model: MaskedLoss(model, MaskedLossConfig()))


def nano256_mixed() -> TrainingRecipe:
    """Return the recipe of nano256 with an encoder that is trained by masked latent prediction and reconstruction.

    It serves to compare losses of the encoder.
    """
    return with_encoder_loss(nano256(), lambda model: MaskedLoss(model, MaskedLossConfig(reconstruction=3.0)))


def with_encoder_loss(recipe: TrainingRecipe, loss: Callable[[LatentActionModel], Loss]) -> TrainingRecipe:
    """Return a copy of a recipe with another loss in its encoder stage."""
    return replace(recipe, stages=recipe.stages | {"encoder": replace(recipe.stages["encoder"], loss=loss)})


def nano() -> TrainingRecipe:
    """Return the recipe of a small model for experiments. It encodes 64 px as 64 tokens per frame, decodes 128 px, and
    trains on two CPU cores.
    """
    sizes = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(depth=1, readout=8),
        world_model=WorldModelConfig(place_width=8),
        sampler=SamplerConfig(width=192, depth=2),
    )
    model = ModelConfig(name="nano", decoder=DecoderConfig(picture_size=128), families=build_families(FAMILIES, sizes))
    schedule = Schedule(
        encoder=600, flow=1000, first_family=1600, other_families=600, decoder=1000, sampler=800, clips=16,
        feature_batches=600,
    )  # fmt: skip
    return standard_recipe(model, schedule)


def lite() -> TrainingRecipe:
    """Return the recipe of a model for one GPU. It encodes 128 px as 256 tokens per frame and decodes 256 px."""
    block = BlockConfig(width=320, heads=8)
    sizes = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(block=block, depth=4),
        world_model=WorldModelConfig(block=block, motion_depth=3, correction_depth=4),
        sampler=SamplerConfig(),
    )
    model = ModelConfig(
        name="lite",
        encoder=ConvEncoderConfig(frame_size=128, channels=64, depth=3),
        flow=FlowReaderConfig(channels=48, coarse_channels=64),
        decoder=DecoderConfig(block=BlockConfig(width=256, heads=8), depth=3, channels=96, conv_depth=4),
        families=build_families(tuple(BOTTLENECKS), sizes),
    )
    schedule = Schedule(
        encoder=4000,
        flow=6000,
        first_family=12_000,
        other_families=5000,
        decoder=4000,
        sampler=6000,
        clips=64,
        frames=8,
    )
    return standard_recipe(model, schedule)


def large() -> TrainingRecipe:
    """Return a recipe at the scale and with the schedules of the paper [LAWM §3], for many GPUs.

    It uses V-JEPA 2-L at 256 px, 16 frames at 4 per second, and a world model and a decoder of the size of ViT-L. As in
    the paper, real clips are predicted with their own actions and are not recoloured. Only the flow reader is also
    trained on synthetic pairs.
    """
    block = BlockConfig(width=1024, heads=16)
    # A token of V-JEPA 2 is one sub-patch, so flow has the resolution of tokens.
    sizes = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(block=block, depth=8, flow_patches=1),
        world_model=WorldModelConfig(block=block, motion_depth=12, correction_depth=12, window=16, flow_patches=1),
        sampler=SamplerConfig(),
    )
    names, scenes = tuple(BOTTLENECKS), SyntheticConfig(frame_size=256)
    real = PairBatchConfig(
        clips=512, num_shards=64, frames=16, synthetic_fraction=0.0, recolor_fraction=0.0, scenes=scenes, motion_grid=32
    )
    paper = OptimizerConfig(muon_rate=0.02, adam_rate=6.25e-4, weight_decay=0.04, warm_up=0.1)
    adamw = OptimizerConfig(adam_rate=1e-3, weight_decay=0.01)
    trainer = lambda steps, optimizer: TrainerConfig(steps=steps, optimizer=optimizer, save_every=500)
    return TrainingRecipe(
        model=ModelConfig(
            name="large",
            frames_per_second=4.0,
            encoder=VJepa2Config(),
            flow=FlowReaderConfig(channels=256, coarse_channels=128),
            decoder=DecoderConfig(block=block, depth=24, channels=256, conv_depth=2, window=16),
            families=build_families(names, sizes),
        ),
        stages={
            "flow": StageConfig(
                batch=replace(real, frames=4, synthetic_fraction=0.5, cross_pair_fraction=0.0),
                trainer=trainer(10_000, adamw),
                loss=FlowReaderLoss,
            ),
            **latent_action_stages(
                names, replace(real, clips=1024), trainer(30_000, paper), trainer(30_000, paper), 0, from_scratch=True
            ),
            "decoder": StageConfig(
                batch=real,
                trainer=trainer(
                    90_000, OptimizerConfig(muon_rate=0.02, adam_rate=3e-4, weight_decay=0.01, warm_up=12 / 90)
                ),
                loss=lambda model: DecoderLoss(model, DecoderLossConfig()),
            ),
            **sampler_stages(names, replace(real, clips=1024), trainer(10_000, adamw), 0),
        },
        pretrained_encoder=VITL,
    )


def find_recipe(name: str) -> TrainingRecipe:
    """Return the recipe with this name, or the one at the import path `package.module:function`.

    Raises ValueError if there is none.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if ":" not in name:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)} or package.module:function, got {name!r}.")
    function = import_object(name)
    recipe = function() if callable(function) else function
    if not isinstance(recipe, TrainingRecipe):
        raise ValueError(f"{name} must return a TrainingRecipe, got {type(recipe).__name__}.")
    return recipe


RECIPES: dict[str, Callable[[], TrainingRecipe]] = {
    "nano256": nano256, "nano": nano, "lite": lite, "large": large, "nano256_references": nano256_references,
    "nano256_masked": nano256_masked, "nano256_mixed": nano256_mixed,
}  # fmt: skip
