"""Optimizers: Muon for the matrices of transformer blocks, AdamW for all other parameters [LAWM §3].

Both follow the same schedule of the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lawm_core.runtime import full_tensor, shard_like, sum_over_ranks


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Config of the optimizers and of their schedule: linear warm-up, then cosine decay.

    muon_rate, adam_rate: peak learning rates. weight_decay: of Muon's matrices and of other weights with at least two
    axes. warm_up: fraction of the steps. floor: learning rate at the end, as a fraction of the peak. clip_norm: largest
    norm of the gradient; a larger gradient is scaled down to it.
    """

    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    weight_decay: float = 0.04
    warm_up: float = 0.05
    floor: float = 0.02
    clip_norm: float = 1.0


GAIN_LR_SCALE = 0.1  # learning rate of gains of actions relative to other parameters, see `build_optimizers`


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) with decoupled weight decay and Nesterov momentum.
    Equal to `torch.optim.Muon` up to rounding.

    Matrices of equal shape are orthogonalised in one batched product. Unlike `torch.optim.Muon`, it supports matrices
    that are sharded by FSDP2: each update is gathered, orthogonalised and sharded again.

    precision: of the orthogonalisation, `bf16` or `float32`. Raises ValueError if a tensor is not a matrix.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        precision: str = "bf16",
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for matrix in (m for group in self.param_groups for m in group["params"]):
            if matrix.ndim != 2:
                raise ValueError(f"Muon optimizes matrices, got a tensor of shape {tuple(matrix.shape)}.")

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in (m for m in group["params"] if m.grad is not None):
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for matrices in by_shape.values():
                self._step_together(matrices, **{name: group[name] for name in ("lr", "weight_decay", "momentum")})

    def _step_together(self, matrices: list[Any], lr: float, weight_decay: float, momentum: float) -> None:
        """Update matrices of equal shape."""
        updates = []
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
            average = self.state[matrix]["momentum_buffer"]
            average.lerp_(matrix.grad, 1 - momentum)
            updates.append(full_tensor(matrix.grad.lerp(average, momentum)).to(self.dtype))
        rows, columns = matrices[0].shape
        for matrix, update in zip(matrices, orthogonalize(torch.stack(updates)), strict=True):
            matrix.mul_(1 - lr * weight_decay)
            matrix.add_(shard_like(update, matrix), alpha=-lr * math.sqrt(max(1, rows / columns)))


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Approximate the nearest orthogonal matrix to each of X matrices, (X, rows, columns).

    Singular values of the result are between about 0.5 and 1.5 instead of exactly 1. Computed by Newton-Schulz
    iteration with Jordan's coefficients, in the dtype of the matrices. rounds: number of iterations.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


def build_optimizers(
    module: nn.Module, config: OptimizerConfig, precision: str = "float32"
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a module: Muon, if it has matrices in transformer blocks, and AdamW.

    Heads, embeddings, norms and convolutions are optimized by AdamW, because Muon suits hidden matrices only. The gains
    of actions along capacity (`gain_KA`) have a tenth of AdamW's learning rate, because noise in a gain changes every
    action.

    precision: of Muon's orthogonalisation, `bf16` or `float32`.
    """
    trainable = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    muon = [p for n, p in trainable if p.ndim == 2 and ".blocks." in f".{n}"]
    matrices = {id(p) for p in muon}
    gains = [p for n, p in trainable if n.endswith("gain_KA")]
    known = matrices | {id(p) for p in gains}
    rest = [p for _, p in trainable if id(p) not in known]
    decayed = [p for p in rest if p.ndim >= 2]
    plain, single = [p for p in rest if p.ndim == 1], [p for p in rest if p.ndim == 0]
    optimizers: list[torch.optim.Optimizer] = []
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_rate, weight_decay=config.weight_decay, precision=precision))
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    # Scalars have a group of their own, because FSDP2 does not shard them.
    groups += [{"params": few, "weight_decay": 0.0} for few in (plain, single)]
    groups.append({"params": gains, "weight_decay": 0.0, "lr_scale": GAIN_LR_SCALE})
    optimizers.append(
        torch.optim.AdamW([g for g in groups if g["params"]], lr=config.adam_rate, betas=(0.9, 0.95), fused=True)
    )
    return optimizers


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale gradients down if their common norm exceeds max_norm. Return the norm before scaling.

    The norm includes the shards of all ranks.
    """
    given: list[Any] = [p for p in parameters if p.grad is not None]
    sharded, plain = ([p for p in given if hasattr(p, "to_local") is side] for side in (True, False))
    norm = get_total_norm([p.grad for p in plain])
    if sharded:
        local = get_total_norm([p.grad.to_local() for p in sharded])
        norm = torch.hypot(norm, sum_over_ranks(local.square()).sqrt())
    for some in (sharded, plain):
        clip_grads_with_norm_(some, max_norm, norm)
    return norm


def learning_rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step as a fraction of the peak. steps: number of steps of the training."""
    warm = max(1, round(config.warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * progress))
