"""Measures that a model cannot win by fading to grey or by ignoring its actions.

One-step error flatters: a model may copy, blur or read appearance out of the latents and still score well. So rollouts
are compared with the true future under four kinds of actions (`TwinErrors`), and the edges that survive are counted.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in decibels, (X,), for values in [0, 1]."""
    error_X = (frame_XCHW - true_XCHW).square().flatten(1).mean(dim=1)
    return -10 * error_X.clamp_min(1e-12).log10()


def ssim(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Structural similarity of each clip (Wang et al. 2004), (B,); 1 is perfect."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (x.flatten(0, 1).float() for x in (frame_BTCHW, true_BTCHW))
    likeness_X = structural_similarity_index_measure(*pair, data_range=1.0, kernel_size=7, sigma=1.0, reduction="none")
    return likeness_X.unflatten(0, frame_BTCHW.shape[:2]).mean(dim=1)


def lpips(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor | None:
    """Learned perceptual distance of each clip (Zhang et al. 2018), (B,); None where its weights are missing.

    Nothing is downloaded: it is computed where torchvision and AlexNet's weights in torch's own cache are found.
    """
    network = lpips_network()
    if network is None:
        return None
    with torch.inference_mode():
        pairs = zip(frame_BTCHW.cpu().float(), true_BTCHW.cpu().float(), strict=True)
        return torch.stack([network(frame.clamp(0, 1), true.clamp(0, 1)) for frame, true in pairs])


@functools.cache
def lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    """The network behind `lpips`, or None."""
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    if importlib.util.find_spec("torchvision") is None or not any(weights.glob("alexnet-owt-*.pth")):
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()


def pixel_error(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Mean absolute difference of each frame, (B, T)."""
    return (frame_BTCHW - true_BTCHW).abs().mean(dim=(2, 3, 4))


def edges_kept(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """`edge_agreement` on frames averaged by two. One number for the batch."""
    return edge_agreement(*(F.avg_pool2d(x.flatten(0, 1), 2) for x in (frame_BTCHW, true_BTCHW)))


def edge_agreement(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """How much of the true edges is there, in place: 1 is perfect, 0 is grey or misplaced.

    Sum of (predicted gradient x true gradient) over the sum of (true gradient squared).
    """
    predicted, true = (image_gradients(x) for x in (frame_XCHW, true_XCHW))
    product = sum((p * t).sum() for p, t in zip(predicted, true, strict=True))
    return product / sum(t.square().sum() for t in true).clamp_min(1e-12)


def sharpness(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Sum of absolute gradients over that of the true frames: 1 is as sharp, less is blurred, more is invented detail.

    It does not ask where the edges are; `edge_agreement` does.
    """
    predicted, true = (sum(g.abs().sum() for g in image_gradients(x)) for x in (frame_XCHW, true_XCHW))
    return predicted / true.clamp_min(1e-12)


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
