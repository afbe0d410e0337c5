"""A codebook limits what an action may carry: vector quantisation, nested from few codes to many [LAWM §2]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from lawm_core.models.bottlenecks.base import BottleneckOutput, between
from lawm_core.runtime import from_first_rank, sum_over_ranks, whole_batch
from lawm_core.shares import pace


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig:
    """A codebook whose first `size(capacity)` codes may be used: one model serves every size from least to most."""

    kind: str = "discrete"
    action_width: int = 128
    least_codes: int = 16
    most_codes: int = 1024
    commitment: float = 0.25
    memory: float = 0.98  # a code keeps so much of itself for each proposal that chooses it
    reset_after: int = 200  # steps without use, while it could have been used, after which a code is dead

    def __post_init__(self) -> None:
        if not 1 <= self.least_codes <= self.most_codes:
            raise ValueError(
                f"a codebook from {self.least_codes} to {self.most_codes} codes; the second must be no less."
            )


class DiscreteBottleneck(nn.Module):
    """Vector quantisation with straight-through gradients; codes are running means of what chose them.

    A code that nothing chose for a while takes the place of a live proposal (facts on resets: UniVLA, LAPA). A fresh
    codebook is all dead, so it starts on the first batches' own proposals.
    """

    batch_capacity = False
    raw_scale = 1.0

    def __init__(self, config: DiscreteConfig) -> None:
        super().__init__()
        self.config = config
        self.raw_width = config.action_width
        self.register_buffer("code_KA", torch.zeros(config.most_codes, config.action_width))
        self.register_buffer("use_K", torch.zeros(config.most_codes))
        self.register_buffer("idle_K", torch.full((config.most_codes,), float(config.reset_after)))

    def size(self, capacity: Tensor) -> Tensor:
        """How many codes may be used, a whole number for each capacity."""
        return between(self.config.least_codes, self.config.most_codes, capacity).round().long()

    def first_trust(self, capacity_K: Tensor, variance_A: Tensor | None = None) -> Tensor:
        """Codes are proposals' means: believed as they are."""
        return torch.ones(len(capacity_K), self.config.action_width)

    def first_correction(self, capacity_K: Tensor) -> Tensor:
        """None: through straight-through gradients, what is added to a flow would run away with the codes."""
        return torch.zeros_like(capacity_K)

    def choose(self, raw_BUX: Tensor, capacity_B: Tensor) -> Tensor:
        """The nearest code that may be used, code index (B, U)."""
        raw_BUX = raw_BUX.float()
        distance_BUK = self.code_KA.square().sum(dim=1) - 2 * raw_BUX @ self.code_KA.T  # less |raw|^2, the same for all
        return distance_BUK.masked_fill(self.barred_BK(capacity_B)[:, None], math.inf).argmin(dim=-1)

    def barred_BK(self, capacity_B: Tensor) -> Tensor:
        """Codes beyond each clip's size, and dead ones."""
        place_K = torch.arange(len(self.code_KA), device=capacity_B.device)
        return (place_K >= self.size(capacity_B)[:, None]) | self.dead_K()

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """action_BA, codes drawn as often as they were used of late: the paper's sampler."""
        share_BK = self.use_K.clamp_min(1e-6).masked_fill(self.barred_BK(capacity_B), 0.0) + 1e-20
        return self.code_KA[torch.multinomial(share_BK, 1, generator=generator)[:, 0]]

    def settle(self, action_BA: Tensor, capacity_B: Tensor) -> Tensor:
        """The nearest codes."""
        return self.code_KA[self.choose(action_BA[:, None], capacity_B)[:, 0]]

    def forward(self, raw_BUX: Tensor, capacity_B: Tensor) -> BottleneckOutput:
        """cost_BU: the commitment, the mean square between proposal and code."""
        raw_BUX = raw_BUX.float()
        reach = int(self.size(whole_batch(capacity_B[:, None])).max()) if self.training else 0
        if self.training:
            self.revive(raw_BUX.flatten(0, 1), reach)
        index_BU = self.choose(raw_BUX, capacity_B)
        code_BUA = self.code_KA[index_BU]
        if self.training:
            self.follow(raw_BUX.flatten(0, 1), index_BU.flatten(), reach)
        cost_BU = self.config.commitment * (raw_BUX - code_BUA).square().mean(dim=-1)
        return BottleneckOutput(raw_BUX + (code_BUA - raw_BUX).detach(), cost_BU, self.usage())

    @torch.no_grad()
    def revive(self, raw_XA: Tensor, reach: int) -> None:
        """Dead codes among the first `reach` take the places of proposals of this batch, a proposal each."""
        dead_X = self.dead_K()[:reach].nonzero()[:, 0]
        if len(dead_X) == 0:
            return
        proposal_XA = whole_batch(raw_XA)
        count = min(len(dead_X), len(proposal_XA))
        pick_X = from_first_rank(torch.randperm(len(proposal_XA), device=raw_XA.device)[:count])
        self.code_KA[dead_X[:count]] = proposal_XA[pick_X]
        self.idle_K[dead_X[:count]] = 0.0

    @torch.no_grad()
    def follow(self, raw_XA: Tensor, index_X: Tensor, reach: int) -> None:
        """Each code moves towards the mean of the proposals that chose it, over the batches of all ranks."""
        count_K = sum_over_ranks(torch.zeros_like(self.idle_K).index_add_(0, index_X, torch.ones_like(raw_XA[:, 0])))
        total_KA = sum_over_ranks(torch.zeros_like(self.code_KA).index_add_(0, index_X, raw_XA))
        rate_K1 = 1 - self.config.memory ** count_K[:, None]
        self.code_KA.lerp_(total_KA / count_K.clamp_min(1)[:, None], rate_K1)
        self.use_K.lerp_(count_K / count_K.sum(), 0.01 * pace())
        self.idle_K[:reach] += pace()
        self.idle_K.masked_fill_(count_K > 0, 0.0)

    def dead_K(self) -> Tensor:
        """Codes that nothing chose for too long, or ever."""
        return self.idle_K >= self.config.reset_after

    def usage(self) -> dict[str, Tensor]:
        """`used`: share of codes alive; `perplexity` of their use of late."""
        share_K = self.use_K / self.use_K.sum().clamp_min(1e-9)
        perplexity = torch.exp(-(share_K * share_K.clamp_min(1e-12).log()).sum())
        return {"used": (~self.dead_K()).float().mean(), "perplexity": perplexity}
