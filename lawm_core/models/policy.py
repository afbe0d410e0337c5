"""A goal-conditioned policy: from a picture and a goal straight to actions, without a world model.

A yardstick for planning, in the role that NoMaD has in the paper [LAWM §4.8].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, CrossAttention, Mlp, grid_rotary
from lawm_core.models.geometry import FrameGeometry


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """steps: of a plan. mean, spread: of each number of an action in the data, the unit in which plans are learned."""

    steps: int = 8
    mean: tuple[float, ...] = (0.0, 0.0)
    spread: tuple[float, ...] = (1.0, 1.0)
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 3

    def __post_init__(self) -> None:
        if self.steps < 1 or len(self.mean) != len(self.spread) or not self.spread or min(self.spread) <= 0:
            raise ValueError(
                f"{self.steps} steps, mean {self.mean}, spread {self.spread}; needed: at least 1 step, and a mean "
                "and a spread above 0 for every number of an action."
            )


class GoalPolicy(nn.Module):
    """The tokens of both pictures look at each other; a question for each step is then asked of them."""

    def __init__(self, config: PolicyConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config, self.grid = config, encoder.grid
        width = config.block.width
        self.register_buffer("mean_K", torch.tensor(config.mean))
        self.register_buffer("spread_K", torch.tensor(config.spread))
        self.embed = nn.Linear(encoder.width, width)
        self.place_2ND = nn.Parameter(torch.randn(2, encoder.tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(config.block) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)
        self.question_HW = nn.Parameter(torch.randn(config.steps, width) * 0.02)
        self.ask = CrossAttention(config.block)
        self.mix_norm = nn.LayerNorm(width)
        self.mix = Mlp(width, config.block.mlp_ratio * width)
        self.out = nn.Linear(width, len(config.spread))

    def forward(self, state_BND: Tensor, goal_BND: Tensor) -> Tensor:
        """plan_BHK that leads from each state to its goal, in the data's units."""
        x_BXW = (self.embed(torch.stack((state_BND, goal_BND), dim=1)) + self.place_2ND).flatten(1, 2)
        rotary = grid_rotary(self.config.block, 2, self.grid, device=x_BXW.device)
        for layer in self.blocks:
            x_BXW, _ = layer(x_BXW, rotary)
        told_BHW = self.ask(self.question_HW.expand(len(x_BXW), -1, -1), self.norm(x_BXW))
        return self.out(told_BHW + self.mix(self.mix_norm(told_BHW))) * self.spread_K + self.mean_K
