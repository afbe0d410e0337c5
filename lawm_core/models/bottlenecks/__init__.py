"""Bottlenecks limit the information in a latent action [LAWM §2]; capacity in [0, 1] sets how much.

The family *noisy* limits it by a KL divergence from a standard normal, *sparse* by an energy, and *discrete* by a
codebook. Two reference lines bound what a family can achieve: *deterministic* (actions of zeros) and *unconstrained*.
"""

from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckConfig, BottleneckOutput
from lawm_core.models.bottlenecks.discrete import DiscreteBottleneck, DiscreteConfig
from lawm_core.models.bottlenecks.noisy import NoisyBottleneck, NoisyConfig
from lawm_core.models.bottlenecks.references import DeterministicConfig, ReferenceBottleneck, UnconstrainedConfig
from lawm_core.models.bottlenecks.sparse import SparseBottleneck, SparseConfig

__all__ = [
    "Bottleneck", "BottleneckConfig", "BottleneckOutput", "DeterministicConfig", "DiscreteBottleneck", "DiscreteConfig",
    "NoisyBottleneck", "NoisyConfig", "ReferenceBottleneck", "SparseBottleneck", "SparseConfig", "UnconstrainedConfig",
]  # fmt: skip
