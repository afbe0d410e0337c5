"""The discrete bottleneck: vector quantisation, where smaller codebooks are the start of larger ones [LAWM §2]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.models.bottlenecks.base import Bottleneck, BottleneckConfig, BottleneckOutput, geometric
from lawm_core.runtime import from_first_rank, gather_rows, sum_over_ranks


@dataclass(frozen=True, kw_only=True)
class DiscreteConfig(BottleneckConfig):
    """Config of the discrete bottleneck. The first `size(capacity)` codes of one codebook are available at a capacity.

    min_codes, max_codes: number of available codes at capacity 0 and 1.
    commitment: weight of the commitment loss.
    ema_decay: weight of a code's old value when one input is assigned to it; with n inputs, ema_decay**n.
    reset_after: number of training steps without use after which a code is replaced.
    """

    kind: str = "discrete"
    min_codes: int = 16
    max_codes: int = 1024
    commitment: float = 0.25
    ema_decay: float = 0.98
    reset_after: int = 200

    def __post_init__(self) -> None:
        if not 1 <= self.min_codes <= self.max_codes:
            raise ValueError(
                f"min_codes must be at least 1 and at most max_codes, "
                f"got min_codes={self.min_codes} and max_codes={self.max_codes}."
            )

    def build(self) -> DiscreteBottleneck:
        """Return an untrained bottleneck, all of whose codes are dead."""
        return DiscreteBottleneck(self)


class DiscreteBottleneck(Bottleneck):
    """Vector quantisation with straight-through gradients.

    Codes are exponential moving averages of the inputs assigned to them. A code that was not used for `reset_after`
    steps is dead: it is not assigned, and in training it is replaced by an input of the batch, as in UniVLA and LAPA.
    All codes are dead before training, so the first batches initialise them.

    code_ZA: the codes.
    use_Z: moving average of the fraction of inputs assigned to each code.
    idle_Z: number of training steps in a row in which each code was available but not used.
    """

    config: DiscreteConfig
    code_ZA: Tensor
    use_Z: Tensor
    idle_Z: Tensor

    def __init__(self, config: DiscreteConfig) -> None:
        super().__init__(config)
        self.register_buffer("code_ZA", torch.zeros(config.max_codes, config.action_width))
        self.register_buffer("use_Z", torch.zeros(config.max_codes))
        self.register_buffer("idle_Z", torch.full((config.max_codes,), float(config.reset_after)))

    def forward(self, input_BUX: Tensor, capacity_B: Tensor, batch_slice: BatchSlice = WHOLE_BATCH) -> BottleneckOutput:
        """Return latent actions and their cost, the commitment loss: the mean squared difference of input and code.

        In training mode, this also replaces dead codes and updates the others. The metrics are those of `usage`.
        """
        input_BUX = input_BUX.float()
        size = int(self.size(gather_rows(capacity_B[:, None])).max()) if self.training else 0
        if self.training:
            self.reset_dead_codes(input_BUX.flatten(0, 1), size)
        index_BU = self.assign(input_BUX, capacity_B)
        code_BUA = self.code_ZA[index_BU]
        if self.training:
            self.update_codes(input_BUX.flatten(0, 1), index_BU.flatten(), size)
        cost_BU = self.config.commitment * (input_BUX - code_BUA).square().mean(dim=-1)
        return BottleneckOutput(input_BUX + (code_BUA - input_BUX).detach(), cost_BU, self.usage())

    def size(self, capacity: Tensor) -> Tensor:
        """Return the number of codes available at a capacity."""
        return geometric(self.config.min_codes, self.config.max_codes, capacity).round().long()

    def assign(self, input_BUX: Tensor, capacity_B: Tensor) -> Tensor:
        """Return index_BU, the index of the available code that is nearest to each input."""
        input_BUX = input_BUX.float()
        # Squared distance without |input|^2, which is the same for all codes.
        distance_BUZ = self.code_ZA.square().sum(dim=1) - 2 * input_BUX @ self.code_ZA.T
        return distance_BUZ.masked_fill(self.unavailable(capacity_B)[:, None], math.inf).argmin(dim=-1)

    def unavailable(self, capacity_B: Tensor) -> Tensor:
        """Return a boolean tensor (B, Z): whether a code is dead or beyond the codebook size of a clip's capacity."""
        index_Z = torch.arange(len(self.code_ZA), device=capacity_B.device)
        return (index_Z >= self.size(capacity_B)[:, None]) | self.dead()

    def sample(self, capacity_B: Tensor, generator: Generator | None = None) -> Tensor:
        """Sample available codes in proportion to their recent use, as in the paper."""
        weight_BZ = self.use_Z.clamp_min(1e-6).masked_fill(self.unavailable(capacity_B), 0.0) + 1e-20
        return self.code_ZA[torch.multinomial(weight_BZ, 1, generator=generator)[:, 0]]

    def project(self, action_XA: Tensor, capacity_X: Tensor) -> Tensor:
        """Return, for each action, the nearest code that is available at its capacity."""
        return self.code_ZA[self.assign(action_XA[:, None], capacity_X)[:, 0]]

    def init_correction_gain(self, capacity_K: Tensor) -> Tensor:
        """Return zeros, because with straight-through gradients the flow corrections and the codes diverge together."""
        return torch.zeros_like(capacity_K)

    @torch.no_grad()
    def reset_dead_codes(self, input_XA: Tensor, size: int) -> None:
        """Replace dead codes among the first `size` codes by different inputs of this batch.

        If there are fewer inputs than dead codes, the remaining codes stay dead.
        """
        dead_X = self.dead()[:size].nonzero()[:, 0]
        if len(dead_X) == 0:
            return
        all_XA = gather_rows(input_XA)
        count = min(len(dead_X), len(all_XA))
        pick_X = from_first_rank(torch.randperm(len(all_XA), device=input_XA.device)[:count])
        self.code_ZA[dead_X[:count]] = all_XA[pick_X]
        self.idle_Z[dead_X[:count]] = 0.0

    @torch.no_grad()
    def update_codes(self, input_XA: Tensor, index_X: Tensor, size: int) -> None:
        """Move each code towards the mean of the inputs assigned to it on all ranks, and update its usage statistics.

        index_X: index of the code that each input is assigned to.
        size: number of codes available in this batch; only these count a step without use.
        """
        count_Z = sum_over_ranks(torch.zeros_like(self.idle_Z).index_add_(0, index_X, torch.ones_like(input_XA[:, 0])))
        total_ZA = sum_over_ranks(torch.zeros_like(self.code_ZA).index_add_(0, index_X, input_XA))
        rate_Z1 = 1 - self.config.ema_decay ** count_Z[:, None]
        self.code_ZA.lerp_(total_ZA / count_Z.clamp_min(1)[:, None], rate_Z1)
        self.use_Z.lerp_(count_Z / count_Z.sum(), 0.01 * self.ema_scale)
        self.idle_Z[:size] += self.ema_scale
        self.idle_Z.masked_fill_(count_Z > 0, 0.0)

    def dead(self) -> Tensor:
        """Return a boolean tensor (Z,): whether a code was never used, or not for `reset_after` steps."""
        return self.idle_Z >= self.config.reset_after

    def usage(self) -> dict[str, Tensor]:
        """Return metrics: `used`, the fraction of codes that are not dead, and `perplexity`, that of recent use."""
        share_Z = self.use_Z / self.use_Z.sum().clamp_min(1e-9)
        perplexity = torch.exp(-(share_Z * share_Z.clamp_min(1e-12).log()).sum())
        return {"used": (~self.dead()).float().mean(), "perplexity": perplexity}
