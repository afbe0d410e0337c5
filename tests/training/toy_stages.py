"""Tiny models, batches and losses of every training stage, and the property that every stage has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.model import LatentActionModel
from lawm_core.models.decoder import DecoderConfig
from lawm_core.training.batches import PairBatch, PairBatchConfig, PairSource
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
from lawm_core.training.sampler_loss import SamplerLoss
from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
from tests.conftest import TINY_BLOCK, shake, tiny_config

FAMILIES = ("noisy", "sparse", "discrete")
CPU = torch.device("cpu")
SCENES = SyntheticConfig(frame_size=32, objects=1, background_pixels=48, object_pixels=16)
PAIRS = PairBatchConfig(clips=4, num_shards=4, frames=3, scenes=SCENES, motion_grid=16)
PICTURES = replace(PAIRS, scenes=replace(SCENES, frame_size=64))
PROBE = DecoderConfig(block=TINY_BLOCK, depth=1, channels=8, conv_depth=1)


def masked_loss(model: LatentActionModel, **changes: object) -> MaskedLoss:
    """A masked loss with a tiny predictor."""
    return MaskedLoss(model, MaskedLossConfig(block=TINY_BLOCK, depth=1, **changes))


def latent_action_loss(model: LatentActionModel, family: str) -> LatentActionLoss:
    """The latent-action loss of a family."""
    return LatentActionLoss(model, LatentActionLossConfig(family=family))


LOSSES: dict[str, Callable[[LatentActionModel], Loss]] = {
    "encoder": lambda model: ReconstructionLoss(model, ReconstructionLossConfig(probe=PROBE)),
    "masked": masked_loss,
    "mixed": lambda model: masked_loss(model, reconstruction=1.0, ema_decay=0.5),
    "flow": FlowReaderLoss,
    "noisy": lambda model: latent_action_loss(model, "noisy"),
    "sparse": lambda model: latent_action_loss(model, "sparse"),
    "discrete": lambda model: latent_action_loss(model, "discrete"),
    "decoder": lambda model: DecoderLoss(model, DecoderLossConfig()),
    "sampler": SamplerLoss,
}


def build_model(families: tuple[str, ...] = FAMILIES, shaken: bool = False) -> LatentActionModel:
    """An untrained model that encodes 32 px and decodes 64 px. shaken: noise is added to all weights, so all matter."""
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=families, picture_size=64))
    if shaken:
        shake(model, 0.05)
    return model


def draw(config: PairBatchConfig = PAIRS, seed: int = 0) -> PairBatch:
    """A batch of synthetic pairs."""
    return PairSource(config, None, CPU, seed).draw(0)


def build_trainer(
    folder: Path,
    stage: str = "noisy",
    steps: int = 6,
    loss: Callable[[LatentActionModel], Loss] | None = None,
    execution: dict | None = None,
    **changes: object,
) -> tuple[Trainer, LatentActionModel]:
    """A trainer of a stage and its untrained model. loss: instead of the stage's. changes: of the trainer's config."""
    model = build_model()
    source = PairSource(PICTURES if stage == "decoder" else PAIRS, None, CPU, seed=1)
    execution = ExecutionConfig(**{"precision": "float32"} | (execution or {}))
    config = TrainerConfig(**{"steps": steps, "execution": execution, "save_every": 3} | changes)
    return Trainer((loss or LOSSES[stage])(model), source, config, folder), model


def weights(model: LatentActionModel) -> list[torch.Tensor]:
    """All tensors of a model."""
    return list(model.state_dict().values())


def assert_equal_weights(model: LatentActionModel, other: LatentActionModel) -> None:
    """Fail unless all tensors of two models are bit-identical."""
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(other), strict=True))


def assert_resumes(build: Callable[[str], Trainer], stop_at: int = 3) -> None:
    """Fail unless a run that is stopped and resumed ends with the same weights as one that is not, bit for bit.

    build: returns a trainer of an untrained model in a folder of the given name.
    """
    straight, stopped = build("straight"), build("stopped")
    straight.run(show_progress=False)
    for _ in range(stop_at):
        stopped.train_step()
    stopped.save()
    resumed = build("stopped")
    assert resumed.resume() and resumed.step == stop_at
    resumed.run(show_progress=False)
    pairs = zip(straight.module.state_dict().values(), resumed.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
