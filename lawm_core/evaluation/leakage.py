"""Leakage: whether an action copies the future instead of describing the change [LAWM Table 1].

There are two tests. The first is the error of predictions across a scene cut: if actions can encode a whole frame, it
is as small as without a cut. The second is a probe that predicts the appearance of the next frame from the action
alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench, state_error
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, ratio_score, track, video_index

PROBE_PIXELS = 16  # height and width of the frames that the probe predicts


@torch.inference_mode()
def measure_leakage(bench: Bench, progress: Progress) -> SuiteResult:
    """Run both tests.

    `cut_ratio`: error of predicting a frame from a frame of another clip (a cut), divided by the error of predicting it
    from the frame before it; higher is better. `appearance_probe`: error of the next frame if a linear probe predicts
    it from the action alone, divided by the error of always predicting the mean frame; 1 means that the action tells
    nothing about appearance. `appearance_probe_state`: for comparison, the same for a probe that sees a random
    projection of the next state instead of the action.
    """
    frame_BTCHW, state_BTND, names = bench.clips(2, bench.config.probe_windows)
    pixel_BX = F.adaptive_avg_pool2d(frame_BTCHW[:, 1], PROBE_PIXELS).flatten(1)
    scores = [probe_score("appearance_probe_state", project_state(state_BTND[:, 1], bench), pixel_BX, names)]
    for setting in track(bench.settings(bench.config.coarse_capacities), progress):
        action_BA = bench.infer(state_BTND, setting)[:, 0]
        scores += [cut_score(bench, setting), probe_score("appearance_probe", action_BA, pixel_BX, names, setting)]
    return SuiteResult(scores=scores)


def cut_score(bench: Bench, setting: Setting) -> Score:
    """Return `cut_ratio` (see `measure_leakage`) at one setting."""
    _, state_BTND, names = bench.clips(2)
    cut_BTND = torch.stack((state_BTND[bench.shuffled(len(state_BTND)), 0], state_BTND[:, 1]), dim=1)
    own_B, cut_B = (
        state_error(bench.predict(state[:, :1], bench.infer(state, setting), setting), state[:, 1:])
        for state in (state_BTND, cut_BTND)
    )
    return ratio_score("cut_ratio", cut_B, own_B, names, setting)


def probe_score(
    name: str, input_BX: Tensor, target_BY: Tensor, names: tuple[str, ...], setting: Setting | None = None
) -> Score:
    """Return how well a linear probe predicts one value of clips from another, on videos that it was not fitted on.

    The score is the probe's L1 error divided by the error of always predicting the mean target; 1 means that the input
    does not help. input_BX: what the probe sees of each clip. target_BY: what it predicts. names: name of each clip's
    video.
    """
    guess_BY, mean_BY = cross_validate(input_BX, target_BY, names)
    return ratio_score(name, (guess_BY - target_BY).abs().mean(1), (mean_BY - target_BY).abs().mean(1), names, setting)


def cross_validate(
    input_BX: Tensor, target_BY: Tensor, names: tuple[str, ...], folds: int = 5
) -> tuple[Tensor, Tensor]:
    """Predict the target of each clip by ridge regression that is fitted on other videos.

    names: name of each clip's video. folds: number of groups of videos; each is predicted from the others. Returns
    (predicted targets, mean target of the clips that the regression was fitted on), both of the shape of target_BY.
    """
    fold_B = video_index(names) % folds
    guess_BY, mean_BY = torch.empty_like(target_BY), torch.empty_like(target_BY)
    for fold in fold_B.unique():
        held_out = fold_B == fold
        x, y = input_BX[~held_out].double(), target_BY[~held_out].double()
        x_mean, y_mean, x_std = x.mean(0), y.mean(0), x.std(0).clamp_min(1e-6)
        x = (x - x_mean) / x_std
        gram = x.T @ x + 0.1 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weight = torch.linalg.solve(gram, x.T @ (y - y_mean))
        guess_BY[held_out] = (((input_BX[held_out].double() - x_mean) / x_std) @ weight + y_mean).to(target_BY.dtype)
        mean_BY[held_out] = y_mean.to(target_BY.dtype)
    return guess_BY, mean_BY


def project_state(state_BND: Tensor, bench: Bench) -> Tensor:
    """Return a random projection of states to the width of a latent action, (B, A), the same for the same seed."""
    flat_BX = state_BND.flatten(1)
    width = bench.model.at(bench.families[0]).action_width
    weight_XA = torch.randn(flat_BX.shape[1], width, generator=Generator().manual_seed(bench.config.seed))
    return flat_BX @ weight_XA.to(flat_BX.device) / flat_BX.shape[1] ** 0.5
