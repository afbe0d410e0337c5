"""What a suite reports: named figures with intervals, and pictures worth a look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure with its 95 % bootstrap interval over clips; family and capacity None where they play no part."""

    name: str
    mean: float
    low: float
    high: float
    family: str | None = None
    capacity: float | None = None
    step: int | None = None  # frames rolled out, where a figure is told step by step


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """scores; pictures: strips of frames by title, each (lanes, T, 3, H, W); points: maps of latents by title."""

    scores: list[Score] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    points: dict[str, dict[str, Tensor]] = field(default_factory=dict)


Progress = Callable[[float, str], None]


def bootstrap(
    statistic: Callable[[Tensor], Tensor], clips: int, names: Sequence[str] | None = None, draws: int = 1000
) -> tuple[float, float, float]:
    """(value, low, high) of a statistic of clips, the ends being the 2.5 % and 97.5 % points of resampled values.

    statistic: weights weight_RB (how often each clip is taken, one row a resample) to R values. Clips with one name
    (windows of one video) are drawn together, since they are alike. Always the same draws, so a report repeats.
    """
    labels = list(names) if names is not None else [str(i) for i in range(clips)]
    order = {name: i for i, name in enumerate(dict.fromkeys(labels))}
    group_B = torch.tensor([order[name] for name in labels])
    generator = torch.Generator().manual_seed(0)
    drawn_RG = torch.randint(len(order), (draws, len(order)), generator=generator)
    weight_RG = torch.zeros(draws, len(order)).scatter_add_(1, drawn_RG, torch.ones(draws, len(order)))
    value = statistic(torch.ones(1, clips))[0].item()
    sample_R = statistic(weight_RG[:, group_B]).double()
    low, high = torch.quantile(sample_R, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return value, low, high


def mean_score(name: str, value_B: Tensor, names: Sequence[str] | None = None, **where: object) -> Score:
    """The mean over clips."""
    value_B = value_B.detach().float().cpu()
    mean, low, high = bootstrap(lambda w_RB: (w_RB * value_B).sum(dim=1) / w_RB.sum(dim=1), len(value_B), names)
    return Score(name=name, mean=mean, low=low, high=high, **where)


def ratio_score(
    name: str, value_B: Tensor, against_B: Tensor, names: Sequence[str] | None = None, **where: object
) -> Score:
    """The mean over clips over another mean over the same clips."""
    value_B, against_B = value_B.detach().float().cpu(), against_B.detach().float().cpu()
    mean, low, high = bootstrap(
        lambda w_RB: (w_RB * value_B).sum(dim=1) / (w_RB * against_B).sum(dim=1).clamp_min(1e-12), len(value_B), names
    )
    return Score(name=name, mean=mean, low=low, high=high, **where)
