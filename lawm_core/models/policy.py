"""A goal-conditioned policy, which predicts robot actions from a state and a goal, without a world model.

It is a baseline for planning, like NoMaD in the paper [LAWM §4.8].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lawm_core.models.attention import BlockConfig, CrossAttention
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.transformer import FrameTransformer, Mlp


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Sizes of the policy and statistics of its training data.

    steps: K, the number of steps of a plan.
    mean, std: mean and standard deviation of each action dimension in the training data. The network predicts
        standardised actions.
    """

    steps: int = 8
    mean: tuple[float, ...] = (0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0)
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")
        if len(self.mean) != len(self.std) or not self.std or min(self.std) <= 0:
            raise ValueError(
                f"mean and std must have the same length of at least 1, and std must be above 0, "
                f"got mean={self.mean} and std={self.std}."
            )


class GoalPolicy(nn.Module):
    """A transformer over the tokens of state and goal. A learned query for each planned step attends to its output."""

    def __init__(self, config: PolicyConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config = config
        width = config.block.width
        self.register_buffer("mean_R", torch.tensor(config.mean))
        self.register_buffer("std_R", torch.tensor(config.std))
        self.embed = nn.Linear(encoder.width, width)
        self.transformer = FrameTransformer(config.block, config.depth, encoder.grid, causal=False, learned_positions=2)
        self.norm = nn.LayerNorm(width)
        self.query_KD = nn.Parameter(torch.randn(config.steps, width) * 0.02)
        self.cross_attention = CrossAttention(config.block)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, config.block.mlp_ratio * width)
        self.out = nn.Linear(width, len(config.std))

    def forward(self, state_BND: Tensor, goal_BND: Tensor) -> Tensor:
        """Return plan_BKR, robot actions that lead from each state to its goal, in the units of the data."""
        x_B2ND, _ = self.transformer(self.embed(torch.stack((state_BND, goal_BND), dim=1)))
        x_BKD = self.cross_attention(self.query_KD.expand(len(x_B2ND), -1, -1), self.norm(x_B2ND.flatten(1, 2)))
        return self.out(x_BKD + self.mlp(self.mlp_norm(x_BKD))) * self.std_R + self.mean_R
