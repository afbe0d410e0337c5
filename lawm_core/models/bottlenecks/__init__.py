"""Bottlenecks set what a latent action may carry [LAWM §2]; each reads one dial, `capacity` in [0, 1].

Three limit: *noisy* by a divergence from a standard normal, *sparse* by an energy, *discrete* by a codebook. Two are
the lines between which the three move: *deterministic* says nothing, *unconstrained* everything.
"""

from __future__ import annotations

from collections.abc import Callable

from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckOutput
from lawm_core.models.bottlenecks.discrete import DiscreteBottleneck, DiscreteConfig
from lawm_core.models.bottlenecks.noisy import NoisyBottleneck, NoisyConfig
from lawm_core.models.bottlenecks.references import DeterministicConfig, ReferenceBottleneck, UnconstrainedConfig
from lawm_core.models.bottlenecks.sparse import SparseBottleneck, SparseConfig

__all__ = [
    "BUILDERS", "Bottleneck", "BottleneckConfig", "BottleneckOutput", "DeterministicConfig", "DiscreteBottleneck",
    "DiscreteConfig", "NoisyBottleneck", "NoisyConfig", "ReferenceBottleneck", "SparseBottleneck", "SparseConfig",
    "UnconstrainedConfig", "build_bottleneck",
]  # fmt: skip

BottleneckConfig = NoisyConfig | SparseConfig | DiscreteConfig | DeterministicConfig | UnconstrainedConfig

BUILDERS: dict[type, Callable[..., Bottleneck]] = {
    NoisyConfig: NoisyBottleneck,
    SparseConfig: SparseBottleneck,
    DiscreteConfig: DiscreteBottleneck,
    DeterministicConfig: ReferenceBottleneck,
    UnconstrainedConfig: ReferenceBottleneck,
}


def build_bottleneck(config: BottleneckConfig) -> Bottleneck:
    """The bottleneck that a config describes."""
    return BUILDERS[type(config)](config)
