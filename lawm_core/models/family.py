"""One bottleneck family: an inverse dynamics model, its bottleneck and the world model trained with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lawm_core.models.bottlenecks import BottleneckConfig, BottleneckOutput, NoisyConfig, build_bottleneck
from lawm_core.models.flow_world_model import FlowWorldModel, FlowWorldModelConfig
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import (
    FlowInverseDynamics,
    FlowInverseDynamicsConfig,
    InverseDynamics,
    InverseDynamicsConfig,
)
from lawm_core.models.sampler import ActionSampler, SamplerConfig
from lawm_core.models.world_model import WorldModel, WorldModelConfig

INVERSE_DYNAMICS: dict[type, type[nn.Module]] = {
    InverseDynamicsConfig: InverseDynamics, FlowInverseDynamicsConfig: FlowInverseDynamics,
}  # fmt: skip
WORLD_MODELS: dict[type, type[nn.Module]] = {WorldModelConfig: WorldModel, FlowWorldModelConfig: FlowWorldModel}


@dataclass(frozen=True, kw_only=True)
class FamilyConfig:
    """Sizes of the parts."""

    bottleneck: BottleneckConfig = field(default_factory=NoisyConfig)
    inverse_dynamics: InverseDynamicsConfig | FlowInverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)
    world_model: WorldModelConfig | FlowWorldModelConfig = field(default_factory=WorldModelConfig)
    sampler: SamplerConfig | None = None  # none: actions can be sampled from the bottleneck's prior alone


class Family(nn.Module):
    """Infers latent actions, rolls the world forward under them and makes new ones; everything works on states."""

    def __init__(self, config: FamilyConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config = config
        width = config.bottleneck.action_width
        self.bottleneck = build_bottleneck(config.bottleneck)
        inverse_dynamics, world_model = config.inverse_dynamics, config.world_model
        self.inverse_dynamics = INVERSE_DYNAMICS[type(inverse_dynamics)](inverse_dynamics, encoder, self.bottleneck)
        self.world_model = WORLD_MODELS[type(world_model)](world_model, encoder, self.bottleneck)
        self.sampler = ActionSampler(config.sampler, encoder.tokens, encoder.width, width) if config.sampler else None

    def infer(self, state_BTND: Tensor, capacity_B: Tensor, flow_BU2HW: Tensor | None = None) -> BottleneckOutput:
        """Latent actions between consecutive states, and their cost; sampled in training mode.

        flow_BU2HW: the flow between the states, for families that do not find it themselves.
        """
        seen = (state_BTND,) if flow_BU2HW is None else (state_BTND, flow_BU2HW)
        return self.bottleneck(self.inverse_dynamics(*seen, capacity_B), capacity_B)

    @torch.no_grad()
    def start_from(self, other: Family) -> None:
        """Takes over what another family of the same sizes has learned about motion and the world.

        Left fresh: the bottleneck, the sampler and the dial's gains, which are each family's own. Of the rows of
        inverse dynamics' last layer, those that both have are taken.
        """
        taken = dict(other.learned())
        for name, own in self.learned():
            rows = slice(min(len(own), len(taken[name]))) if own.ndim else ...
            own[rows] = taken[name][rows]

    def learned(self) -> Iterator[tuple[str, Tensor]]:
        """Names and weights of what does not belong to a bottleneck."""
        for part in ("inverse_dynamics", "world_model"):
            named = getattr(self, part).named_parameters(prefix=part)
            yield from ((name, weight) for name, weight in named if not name.endswith("gain_KA"))
