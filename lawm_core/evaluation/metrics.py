"""Metrics of frames. Pixel errors favour blurred frames, so rollouts are also scored by how well they keep edges."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each frame in decibels, psnr_X, for values in [0, 1]."""
    error_X = (frame_XCHW - true_XCHW).square().flatten(1).mean(dim=1)
    return -10 * error_X.clamp_min(1e-12).log10()


def ssim(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Return the mean structural similarity (Wang et al. 2004) of the frames of each clip, ssim_B; 1 is perfect."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    frame_XCHW, true_XCHW = (x.flatten(0, 1).float() for x in (frame_BTCHW, true_BTCHW))
    ssim_X = structural_similarity_index_measure(
        frame_XCHW, true_XCHW, data_range=1.0, kernel_size=7, sigma=1.0, reduction="none"
    )
    assert isinstance(ssim_X, Tensor)  # a tuple only with return_full_image
    return ssim_X.unflatten(0, frame_BTCHW.shape[:2]).mean(dim=1)


def lpips(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor | None:
    """Return the learned perceptual distance (Zhang et al. 2018) of each clip, lpips_B; lower is better.

    Returns None if torchvision is not installed or AlexNet's weights are not in torch's cache; nothing is downloaded.
    """
    network = lpips_network()
    if network is None:
        return None
    with torch.inference_mode():
        pairs = zip(frame_BTCHW.cpu().float(), true_BTCHW.cpu().float(), strict=True)
        return torch.stack([network(frame.clamp(0, 1), true.clamp(0, 1)) for frame, true in pairs])


@functools.cache
def lpips_network() -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the network that `lpips` uses, or None if torchvision or the weights are missing."""
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    if importlib.util.find_spec("torchvision") is None or not any(weights.glob("alexnet-owt-*.pth")):
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()


def pixel_error(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Return the mean absolute difference of pixels for each frame, error_BT."""
    return (frame_BTCHW - true_BTCHW).abs().mean(dim=(2, 3, 4))


def edges_kept(frame_BTCHW: Tensor, true_BTCHW: Tensor) -> Tensor:
    """Return `edge_agreement` of all frames together, at half resolution: a single value."""
    return edge_agreement(*(F.avg_pool2d(x.flatten(0, 1), 2) for x in (frame_BTCHW, true_BTCHW)))


def edge_agreement(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Return the sum of (predicted gradient * true gradient) over the sum of squared true gradients.

    It is a single value for all frames together. 1 is perfect; 0 means that edges are missing or misplaced.
    """
    predicted, true = (image_gradients(x) for x in (frame_XCHW, true_XCHW))
    product = torch.stack([(p * t).sum() for p, t in zip(predicted, true, strict=True)]).sum()
    return product / torch.stack([t.square().sum() for t in true]).sum().clamp_min(1e-12)


def sharpness(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """Return the sum of absolute gradients, divided by the same sum of the true frames.

    It is a single value for all frames together: below 1 for blurred frames, above 1 for noisy ones. Unlike
    `edge_agreement`, it does not depend on where edges are.
    """
    predicted, true = (torch.stack([g.abs().sum() for g in image_gradients(x)]).sum() for x in (frame_XCHW, true_XCHW))
    return predicted / true.clamp_min(1e-12)


def image_gradients(image_XCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return horizontal and vertical differences of neighbouring pixels."""
    return image_XCHW[..., 1:] - image_XCHW[..., :-1], image_XCHW[..., 1:, :] - image_XCHW[..., :-1, :]
