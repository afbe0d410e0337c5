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


GAIN_RATE_SHARE = 0.1


class Muon(torch.optim.Optimizer):
    """Steps of even size in every direction of a matrix (Jordan et al. 2024, kellerjordan.github.io/posts/muon), with
    decoupled decay and Nesterov's momentum; what `torch.optim.Muon` does, to rounding.

    Matrices of equal shape are orthogonalised in one batched product, and in the given precision. Unlike PyTorch's, it
    is right where FSDP2 shards matrices: a shard's directions are not the matrix's, so the update is gathered,
    orthogonalised as a whole and sharded again.
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
                raise ValueError(f"a tensor of shape {tuple(matrix.shape)} came; Muon is for matrices.")

    @torch.no_grad()
    def step(self) -> None:
        """One step for every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in (m for m in group["params"] if m.grad is not None):
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for matrices in by_shape.values():
                self._step_together(matrices, **{name: group[name] for name in ("lr", "weight_decay", "momentum")})

    def _step_together(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        """One step for matrices of equal shape."""
        updates = []
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
            average = self.state[matrix]["momentum_buffer"]
            average.lerp_(matrix.grad, 1 - momentum)
            updates.append(whole(matrix.grad.lerp(average, momentum)).to(self.dtype))
        rows, columns = matrices[0].shape
        for matrix, update in zip(matrices, orthogonalize(torch.stack(updates)), strict=True):
            matrix.mul_(1 - lr * weight_decay)
            matrix.add_(cut_like(update, matrix), alpha=-lr * math.sqrt(max(1, rows / columns)))


def orthogonalize(matrix_XRC: Tensor, rounds: int = 5) -> Tensor:
    """Return nearly the orthogonal part of each of X matrices: singular values end between about 0.5 and 1.5.

    Newton and Schulz's iteration with Jordan's coefficients, in the matrices' own precision.
    """
    tall = matrix_XRC.shape[1] > matrix_XRC.shape[2]
    x = matrix_XRC.mT.contiguous() if tall else matrix_XRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(rounds):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


def build_optimizers(
    module: nn.Module, config: OptimizerConfig, precision: str = "float32"
) -> list[torch.optim.Optimizer]:
    """Both optimizers, leaving out whichever has nothing to do. precision: of Muon's orthogonalisation.

    Heads, embeddings, norms and convolutions go to AdamW: Muon's even-sized updates suit hidden matrices only. Gains of
    whole actions learn at a tenth of its rate: they multiply everything an action says, and so would their noise.
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
    groups += [{"params": few, "weight_decay": 0.0} for few in (plain, single)]  # FSDP2 cannot cut single numbers up
    groups.append({"params": gains, "weight_decay": 0.0, "rate_share": GAIN_RATE_SHARE})
    optimizers.append(
        torch.optim.AdamW([g for g in groups if g["params"]], lr=config.adam_rate, betas=(0.9, 0.95), fused=True)
    )
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
