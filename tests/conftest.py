"""Small parts that many tests share."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.blocks import BlockConfig
from lawm_core.models.bottlenecks import (
    DeterministicConfig,
    DiscreteConfig,
    NoisyConfig,
    SparseConfig,
    UnconstrainedConfig,
)
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.models.motion import MotionConfig
from lawm_core.models.sampler import SamplerConfig
from lawm_core.models.world_model import WorldModelConfig

TINY_BLOCK = BlockConfig(width=24, heads=2)


TINY_LIMITS = {
    "noisy": NoisyConfig(action_width=8),
    "sparse": SparseConfig(action_width=8, langevin_steps=10),
    "discrete": DiscreteConfig(action_width=8, least_codes=2, most_codes=8),
    "deterministic": DeterministicConfig(action_width=8),
    "unconstrained": UnconstrainedConfig(action_width=8),
}


def tiny_config(window: int = 8, families: tuple[str, ...] = ("noisy",)) -> ModelConfig:
    """A model of a few thousand weights: 32 px, 16 tokens a frame."""
    family = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(
            block=TINY_BLOCK, depth=1, motion=MotionConfig(channels=8, radius=2), readout=4
        ),
        world_model=WorldModelConfig(
            block=TINY_BLOCK, motion_depth=1, correction_depth=1, window=window, place_width=4
        ),
        sampler=SamplerConfig(width=16, depth=1, readout=2, steps=4),
    )
    return ModelConfig(
        name="tiny",
        encoder=EncoderConfig(frame_size=32, width=64, channels=8, depth=1),
        decoder=DecoderConfig(block=TINY_BLOCK, depth=1, channels=8, conv_depth=1, window=window),
        families={name: dataclasses.replace(family, bottleneck=TINY_LIMITS[name]) for name in families},
    )


def shake(module: nn.Module, size: float = 0.1) -> None:
    """Gives every weight some noise, so that layers which start at zero take part."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * size)


def build_tiny_model() -> LatentActionModel:
    """An untrained model in which every part matters."""
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config())
    shake(model)
    return model.eval().requires_grad_(False)


@pytest.fixture
def tiny_model() -> LatentActionModel:
    """An untrained model in which every part matters."""
    return build_tiny_model()


@pytest.fixture
def frames() -> torch.Tensor:
    """frame_BTCHW of two clips of six frames for the tiny model."""
    return torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
