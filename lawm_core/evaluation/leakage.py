"""Does an action copy the future instead of saying what changed? [LAWM Table 1], and what LAPA's users asked.

Two tests. A scene cut: if actions could carry the next frame, the error at a cut would be no larger than without it.
A probe: how much of the next frame's looks can be read from the action alone, by ridge regression.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench, Setting, state_error
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, ratio_score

PROBE_PIXELS = 16  # the probe foretells pictures of this size


@torch.inference_mode()
def measure_leakage(bench: Bench, progress: Progress) -> SuiteResult:
    """`cut_ratio`: error when the later frame belongs to another clip, over the same frame's error without the cut.

    `appearance`: error of the next frame read from the action alone, over that of the mean frame (1: nothing can be
    read). `appearance_known` is the same probe on as many numbers taken from the next state itself, for scale.
    """
    scores: list[Score] = []
    settings = list(bench.settings(bench.config.coarse))
    latents = bench.clips(2, bench.config.latents)
    scores.append(probe_score("appearance_known", bench, squeeze(latents[1][:, 1], bench), latents))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        scores.append(cut_score(bench, setting))
        action_BA = bench.infer(latents[1], setting)[:, 0]
        scores.append(probe_score("appearance", bench, action_BA, latents, **setting.where()))
    return SuiteResult(scores=scores)


def cut_score(bench: Bench, setting: Setting) -> Score:
    """One step into the same later frames, after their own frame and after another clip's."""
    _, state_BTND, names = bench.clips(2)
    cut_BTND = torch.stack((state_BTND[bench.others(len(state_BTND)), 0], state_BTND[:, 1]), dim=1)
    own_B, cut_B = (
        state_error(bench.roll(s[:, :1], bench.infer(s, setting), setting), s[:, 1:]) for s in (state_BTND, cut_BTND)
    )
    return ratio_score("cut_ratio", cut_B, own_B, names, **setting.where())


def probe_score(name: str, bench: Bench, input_BX: Tensor, latents: tuple, **where: object) -> Score:
    """Ridge regression from numbers to the next frame, on videos it was not fitted on."""
    frame_BTCHW, _, names = latents
    next_BP = F.adaptive_avg_pool2d(frame_BTCHW[:, 1], PROBE_PIXELS).flatten(1)
    guess_BP, mean_BP = cross_fit(input_BX, next_BP, names)
    return ratio_score(name, (guess_BP - next_BP).abs().mean(1), (mean_BP - next_BP).abs().mean(1), names, **where)


def cross_fit(input_BX: Tensor, target_BY: Tensor, names: tuple[str, ...], folds: int = 5) -> tuple[Tensor, Tensor]:
    """For each clip a guess by ridge regression fitted on other videos, and those videos' mean: (guess_BY, mean_BY)."""
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    fold_B = torch.tensor([order[name] % folds for name in names])
    guess_BY, mean_BY = torch.empty_like(target_BY), torch.empty_like(target_BY)
    for fold in fold_B.unique():
        held = fold_B == fold
        x, y = input_BX[~held].double(), target_BY[~held].double()
        x_mean, y_mean, x_std = x.mean(0), y.mean(0), x.std(0).clamp_min(1e-6)
        x = (x - x_mean) / x_std
        gram = x.T @ x + 0.1 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weight = torch.linalg.solve(gram, x.T @ (y - y_mean))
        guess_BY[held] = (((input_BX[held].double() - x_mean) / x_std) @ weight + y_mean).to(target_BY.dtype)
        mean_BY[held] = y_mean.to(target_BY.dtype)
    return guess_BY, mean_BY


def squeeze(state_BND: Tensor, bench: Bench) -> Tensor:
    """As many numbers as an action has, taken from a state by a fixed random projection, (B, A)."""
    flat_BX = state_BND.flatten(1)
    width = bench.model.member(bench.families[0]).bottleneck.config.action_width
    weight_XA = torch.randn(flat_BX.shape[1], width, generator=Generator().manual_seed(bench.config.seed))
    return flat_BX @ weight_XA.to(flat_BX.device) / flat_BX.shape[1] ** 0.5
