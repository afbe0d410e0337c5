"""Muon for the matrices of transformer blocks, AdamW for everything else, one schedule for both [LAWM §3]."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lawm_core.runtime import cut_like, sum_over_ranks, whole


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Peak learning rates; a linear warm-up over `warm_up` of the steps, then a cosine down to `floor` of the peak."""

    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    weight_decay: float = 0.04
    warm_up: float = 0.05
    floor: float = 0.02
    clip_norm: float = 1.0


class Muon(torch.optim.Optimizer):
    """Steps of even size in every direction of a matrix (Jordan et al. 2024, kellerjordan.github.io/posts/muon), with
    decoupled decay and Nesterov's momentum; on whole tensors, bit for bit what `torch.optim.Muon` does.

    It is right where FSDP2 holds matrices in pieces too: a piece's directions are not the matrix's, so the update is
    gathered, evened out as a whole and cut up again.
    """

    def __init__(self, matrices: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for matrix in (m for group in self.param_groups for m in group["params"]):
            if matrix.ndim != 2:
                raise ValueError(f"a tensor of shape {tuple(matrix.shape)} came; Muon is for matrices.")

    @torch.no_grad()
    def step(self) -> None:
        """One step for every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in (m for m in group["params"] if m.grad is not None):
                if not self.state[matrix]:
                    self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
                average = self.state[matrix]["momentum_buffer"]
                average.lerp_(matrix.grad, 1 - group["momentum"])
                update = even_out(whole(matrix.grad.lerp(average, group["momentum"])))
                rows, columns = matrix.shape
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(cut_like(update, matrix), alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def even_out(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Nearly the orthogonal part of a matrix: singular values end between about 0.5 and 1.5. Newton and Schulz's
    iteration in bf16, with Jordan's coefficients.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16().T if tall else matrix.bfloat16()
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(rounds):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if tall else x


def build_optimizers(module: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Both optimizers, leaving out whichever has nothing to do.

    Heads, embeddings, norms and convolutions go to AdamW: Muon's even-sized updates suit hidden matrices only.
    """
    trainable = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    muon = [p for n, p in trainable if p.ndim == 2 and ".blocks." in f".{n}"]
    matrices = {id(p) for p in muon}
    rest = [p for _, p in trainable if id(p) not in matrices]
    decayed = [p for p in rest if p.ndim >= 2]
    plain, single = [p for p in rest if p.ndim == 1], [p for p in rest if p.ndim == 0]
    optimizers: list[torch.optim.Optimizer] = []
    if muon:
        optimizers.append(Muon(muon, lr=config.muon_rate, weight_decay=config.weight_decay))
    groups = [{"params": decayed, "weight_decay": config.weight_decay}]
    groups += [{"params": few, "weight_decay": 0.0} for few in (plain, single)]  # FSDP2 cannot cut single numbers up
    optimizers.append(torch.optim.AdamW([g for g in groups if g["params"]], lr=config.adam_rate, betas=(0.9, 0.95)))
    return optimizers


def clip_gradients(parameters: Iterable[Tensor], most: float) -> Tensor:
    """Shortens the whole gradient to at most this length; its length before, over all ranks' pieces."""
    given = [p for p in parameters if p.grad is not None]
    cut, plain = ([p for p in given if hasattr(p, "to_local") is side] for side in (True, False))
    length = get_total_norm([p.grad for p in plain])
    if cut:
        pieces = get_total_norm([p.grad.to_local() for p in cut])
        length = torch.hypot(length, sum_over_ranks(pieces.square()).sqrt())
    for some in (cut, plain):
        clip_grads_with_norm_(some, most, length)
    return length


def learning_rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """The share of the peak rate at a step."""
    warm = max(1, round(config.warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * progress))
