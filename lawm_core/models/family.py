"""A family: a bottleneck, with the inverse dynamics and the world model that are trained with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.action_sampler import ActionSampler, SamplerConfig
from lawm_core.models.bottlenecks import BottleneckConfig, BottleneckOutput, NoisyConfig
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from lawm_core.models.world_model import WorldModel, WorldModelConfig


@dataclass(frozen=True, kw_only=True)
class FamilyConfig:
    """Configs of the parts of a family.

    sampler: if it is None, actions can only be sampled from the bottleneck's prior.
    """

    bottleneck: BottleneckConfig = field(default_factory=NoisyConfig)
    inverse_dynamics: InverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    sampler: SamplerConfig | None = None


class Family(nn.Module):
    """The networks that infer latent actions, predict states under them, and sample new actions.

    They work on the states of an encoder, not on frames.
    """

    def __init__(self, config: FamilyConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config = config
        self.bottleneck = config.bottleneck.build()
        self.inverse_dynamics = InverseDynamics(config.inverse_dynamics, encoder, self.bottleneck)
        self.world_model = WorldModel(config.world_model, encoder, self.bottleneck)
        action_width = config.bottleneck.action_width
        self.sampler = ActionSampler(config.sampler, encoder, action_width) if config.sampler else None

    @property
    def action_width(self) -> int:
        """A, the number of dimensions of a latent action."""
        return self.config.bottleneck.action_width

    def infer(
        self, state_BTND: Tensor, flow_BU2HW: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH
    ) -> BottleneckOutput:
        """Return the latent actions between consecutive states and their cost. In training mode, they can be random.

        flow_BU2HW: backward flow between consecutive states, in frame widths.
        """
        return self.bottleneck(self.inverse_dynamics(state_BTND, flow_BU2HW, capacity_B), capacity_B, batch_slice)

    @torch.no_grad()
    def start_from(self, other: Family) -> None:
        """Copy the weights of another family's inverse dynamics and world model, which must have the same sizes.

        The bottleneck, the sampler and all `CapacityGain` parameters are not copied. The last layer of inverse dynamics
        can have more rows in one family than in the other; only the rows that both have are copied.
        """
        weights = dict(other.shared_weights())
        for name, own in self.shared_weights():
            rows = slice(min(len(own), len(weights[name]))) if own.ndim else ...
            own[rows] = weights[name][rows]

    def shared_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and value of each parameter that families can share: all but `CapacityGain` parameters."""
        for part in ("inverse_dynamics", "world_model"):
            named = getattr(self, part).named_parameters(prefix=part)
            yield from ((name, weight) for name, weight in named if not name.endswith("gain_KA"))
