"""Measures that a model cannot win by fading to grey or by ignoring its actions.

One-step error flatters: a model may copy, blur or read appearance out of the latents and still score well. So rollouts
are compared with the true future under four kinds of actions (`TwinErrors`), and the edges that survive are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in decibels, (X,), for values in [0, 1]."""
    error_X = (frame_XCHW - true_XCHW).square().flatten(1).mean(dim=1)
    return -10 * error_X.clamp_min(1e-12).log10()


def pixel_error(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Mean absolute difference of each frame, (B, T)."""
    return (frame_BTCHW - true_BTCHW).abs().mean(dim=(2, 3, 4))


def edges_kept(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """How much of the true edges is there, in place: 1 is perfect, 0 is grey or misplaced. One number for the batch.

    Sum of (predicted gradient x true gradient) over the sum of (true gradient squared), on frames averaged by two.
    """
    predicted, true = (image_gradients(F.avg_pool2d(x.flatten(0, 1), 2)) for x in (frame_BTCHW, true_BTCHW))
    product = sum((p * t).sum() for p, t in zip(predicted, true, strict=True))
    return product / sum(t.square().sum() for t in true).clamp_min(1e-12)


def image_gradients(image_XCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours, across and down."""
    return image_XCHW[..., 1:] - image_XCHW[..., :-1], image_XCHW[..., 1:, :] - image_XCHW[..., :-1, :]


@dataclass(frozen=True, kw_only=True)
class TwinErrors:
    """Pixel errors against a twin's true future, each a mean: rollouts driven by actions inferred from that future
    (oracle), from its twin (transfer), from an unrelated track (wrong), and the first frame repeated (still)."""

    oracle: float
    transfer: float
    wrong: float
    still: float

    @property
    def effect(self) -> float:
        """1 - oracle / wrong: how much the right actions matter. 0 for a model that ignores actions."""
        return 1 - self.oracle / max(self.wrong, 1e-12)

    @property
    def efficiency(self) -> float:
        """(wrong - transfer) / (wrong - oracle): the share of that effect that another scene's actions carry over.

        Says nothing where the effect is near zero; 0 is given where there is none at all.
        """
        gap = self.wrong - self.oracle
        return (self.wrong - self.transfer) / gap if gap > 1e-9 else 0.0

    @property
    def against_still(self) -> float:
        """oracle / still: below 1, acting beats standing still."""
        return self.oracle / max(self.still, 1e-12)


def mean_interval(value_X: Tensor, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Mean with its 95 % bootstrap interval over the values: (mean, low, high)."""
    generator = torch.Generator().manual_seed(seed)
    value_X = value_X.detach().cpu().double()
    index = torch.randint(len(value_X), (draws, len(value_X)), generator=generator)
    means = value_X[index].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return value_X.mean().item(), low, high
