"""Results of suites: scores with confidence intervals, pictures, and points of maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lawm_core.model import BoundFamily, LatentActionModel

Progress = Callable[[float, str], None]  # called with the fraction done, 0 to 1, and a description of what comes next
Item = TypeVar("Item")
RESAMPLES = 1000  # number of bootstrap resamples


@dataclass(frozen=True)
class Setting:
    """A family at a capacity, or another row of a report.

    family: name of the family, or of a row such as a baseline. capacity: None for rows without capacity, such as
    reference lines.
    """

    family: str
    capacity: float | None

    def __str__(self) -> str:
        return self.family if self.capacity is None else f"{self.family} at capacity {self.capacity:g}"

    def bind(self, model: LatentActionModel) -> BoundFamily:
        """Return this family of a model at this capacity; at capacity 1 if it is None."""
        return model.at(self.family, 1.0 if self.capacity is None else self.capacity)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean with its 95 % bootstrap interval, from `low` to `high`.

    family, capacity: see `Setting`; None for scores of the whole model. step: number of predicted frames, for scores
    that are measured at each step; None for others.
    """

    name: str
    mean: float
    low: float
    high: float
    family: str | None = None
    capacity: float | None = None
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class SuiteResult:
    """The result of one suite.

    pictures: by title, clips to show, (clips, T, 3, H, W) in [0, 1]. points: by title of a map, the latent actions to
    show on it, action_BA, by kind (`inferred`, or the name of a sampler).
    """

    scores: list[Score] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    points: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def track(items: Sequence[Item], progress: Progress, part: int = 0, parts: int = 1, prefix: str = "") -> Iterator[Item]:
    """Yield items, and report progress before each, with `prefix` and the item as the description.

    part, parts: these items are the part with index `part` of `parts` equal parts of the whole task.
    """
    for i, item in enumerate(items):
        progress((part + i / len(items)) / parts, f"{prefix}{item}")
        yield item


def video_index(names: Sequence[str]) -> Tensor:
    """Return the index of each clip's video, index_B. names: name of each clip's video."""
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


def score(
    name: str,
    statistic: Callable[[Tensor], Tensor],
    clips: int,
    names: Sequence[str] | None = None,
    setting: Setting | None = None,
    step: int | None = None,
) -> Score:
    """Return a statistic of clips with its 2.5 % and 97.5 % quantiles over 1000 bootstrap resamples; deterministic.

    statistic: computes the value of each of X resamples from weight_XB, the number of times that each resample contains
    each clip. clips: number of clips. names: name of each clip's video; clips of one video are resampled together,
    because they are similar. Without names, every clip counts as a video. setting, step: stored in the score.
    """
    index_B = torch.arange(clips) if names is None else video_index(names)
    videos, generator = int(index_B.max()) + 1, torch.Generator().manual_seed(0)
    drawn_XY = torch.randint(videos, (RESAMPLES, videos), generator=generator)
    weight_XY = torch.zeros(RESAMPLES, videos).scatter_add_(1, drawn_XY, torch.ones(RESAMPLES, videos))
    mean, sample_X = statistic(torch.ones(1, clips))[0].item(), statistic(weight_XY[:, index_B]).double()
    low, high = torch.quantile(sample_X, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    family, capacity = (setting.family, setting.capacity) if setting else (None, None)
    return Score(name=name, mean=mean, low=low, high=high, family=family, capacity=capacity, step=step)


def mean_score(
    name: str,
    value_B: Tensor,
    names: Sequence[str] | None = None,
    setting: Setting | None = None,
    step: int | None = None,
) -> Score:
    """Return the mean of a value over clips. For the other arguments see `score`."""
    return ratio_score(name, value_B, torch.ones(len(value_B)), names, setting, step)


def ratio_score(
    name: str,
    value_B: Tensor,
    other_B: Tensor,
    names: Sequence[str] | None = None,
    setting: Setting | None = None,
    step: int | None = None,
) -> Score:
    """Return the mean of value_B over clips, divided by the mean of other_B. For the other arguments see `score`."""
    value_B, other_B = value_B.detach().float().cpu(), other_B.detach().float().cpu()
    total = lambda weight_XB, x_B: (weight_XB * x_B).sum(dim=1)
    statistic = lambda weight_XB: total(weight_XB, value_B) / total(weight_XB, other_B).clamp_min(1e-12)
    return score(name, statistic, len(value_B), names, setting, step)
