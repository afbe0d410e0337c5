"""Muon for the matrices of transformer blocks, AdamW for everything else, one schedule for both [LAWM §3]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Peak learning rates; a linear warm-up over `warm_up` of the steps, then a cosine down to `floor` of the peak."""

    muon_rate: float = 0.02
    adam_rate: float = 1.5e-3
    weight_decay: float = 0.04
    warm_up: float = 0.05
    floor: float = 0.02
    clip_norm: float = 1.0


def build_optimizers(module: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Both optimizers, leaving out whichever has nothing to do.

    Heads, embeddings, norms and convolutions go to AdamW: Muon's even-sized updates suit hidden matrices only.
    """
    trainable = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    muon = [p for n, p in trainable if p.ndim == 2 and ".blocks." in f".{n}"]
    matrices = {id(p) for p in muon}
    rest = [p for _, p in trainable if id(p) not in matrices]
    decayed = [p for p in rest if p.ndim >= 2]
    plain = [p for p in rest if p.ndim < 2]
    optimizers: list[torch.optim.Optimizer] = []
    if muon:
        optimizers.append(torch.optim.Muon(muon, lr=config.muon_rate, weight_decay=config.weight_decay, momentum=0.95))
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers.append(torch.optim.AdamW([g for g in groups if g["params"]], lr=config.adam_rate, betas=(0.9, 0.95)))
    return optimizers


def learning_rate_scale(step: int, steps: int, config: OptimizerConfig) -> float:
    """The share of the peak rate at a step."""
    warm = max(1, round(config.warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, steps - warm))
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * progress))
