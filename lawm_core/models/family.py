"""One bottleneck family: an inverse dynamics model, its bottleneck and the world model trained with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from lawm_core.models.bottlenecks import BottleneckOutput, NoisyBottleneck, NoisyConfig
from lawm_core.models.dial import dial_settings
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from lawm_core.models.world_model import WorldModel, WorldModelConfig


@dataclass(frozen=True, kw_only=True)
class FamilyConfig:
    """Sizes of the three parts."""

    bottleneck: NoisyConfig = field(default_factory=NoisyConfig)
    inverse_dynamics: InverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)


class Family(nn.Module):
    """Infers latent actions and rolls the world forward under them; everything works on states."""

    def __init__(self, config: FamilyConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.bottleneck = NoisyBottleneck(config.bottleneck)
        self.inverse_dynamics = InverseDynamics(
            config.inverse_dynamics, encoder, self.bottleneck.raw_width, config.bottleneck.action_width
        )
        first_trust_K = self.bottleneck.first_trust(dial_settings())
        self.world_model = WorldModel(config.world_model, encoder, config.bottleneck.action_width, first_trust_K)

    def infer(self, state_BTND: Tensor, capacity_B: Tensor) -> BottleneckOutput:
        """Latent actions between consecutive states, and their cost; sampled in training mode."""
        return self.bottleneck(self.inverse_dynamics(state_BTND, capacity_B), capacity_B)
