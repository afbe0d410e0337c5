"""Locality: whether a transfer changes the target where the source moved [LAWM Fig. 7]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, Setting, SuiteResult, mean_score, ratio_score, track, video_index

MOVING_SHARE = 0.2  # fraction of the tokens that count as moving: those with the most motion
LOCALIZED = 0.5  # a source's motion is localized if its moving tokens hold at least this fraction of it
# Number of steps that are compared. Later, objects have moved away from the positions at which an action first acts.
STEPS = 3


@torch.inference_mode()
def measure_locality(bench: Bench, progress: Progress) -> SuiteResult:
    """Compare where the source moves with where its transfer differs from the target's rollout without motion.

    `overlap`: intersection over union of the source's moving tokens and the tokens that change most in the transfer.
    `shuffled_overlap`: the same with the moving tokens of other videos instead of the source's. `overlap_ratio`:
    overlap / shuffled_overlap; 1 means that the overlap is due to chance, or to places at which most videos move.
    `localized_overlap_ratio`: the same ratio over sources with localized motion only, which excludes camera motion.
    """
    _, state_BTND, names = bench.clips(bench.steps + 1)
    state_BTND = state_BTND[:, : STEPS + 1]
    motion_BN = (state_BTND[:, 1:] - state_BTND[:, :-1]).square().mean(dim=(1, 3))
    moving_BN = moving_tokens(motion_BN)
    localized_B = (motion_BN * moving_BN).sum(dim=1) >= LOCALIZED * motion_BN.sum(dim=1)
    localized = [name for name, chosen in zip(names, localized_B.tolist(), strict=True) if chosen]
    scores = []
    for setting in track(bench.settings(bench.config.key_capacities), progress):
        own_B, shuffled_B = overlaps(bench, state_BTND, moving_BN, names, setting)
        scores += [
            mean_score("overlap", own_B, names, setting),
            mean_score("shuffled_overlap", shuffled_B, names, setting),
            ratio_score("overlap_ratio", own_B, shuffled_B, names, setting),
        ]
        if localized:
            chosen = (own_B[localized_B], shuffled_B[localized_B])
            scores.append(ratio_score("localized_overlap_ratio", *chosen, localized, setting))
    return SuiteResult(scores=scores)


def overlaps(
    bench: Bench, state_BTND: Tensor, moving_BN: Tensor, names: Sequence[str], setting: Setting
) -> tuple[Tensor, Tensor]:
    """Return two overlaps for each source, overlap_B, averaged over its targets.

    The first is the overlap of the tokens that change in the transfer with the source's own moving tokens, the second
    their mean overlap with the moving tokens of other videos. moving_BN: whether each token of each source moves.
    names: name of each clip's video.
    """
    clips, targets, action_BUA = len(state_BTND), bench.config.targets, bench.infer(state_BTND, setting)
    own_B = shuffled_B = torch.zeros(clips, device=state_BTND.device)
    for t in range(1, targets + 1):
        target_B = (torch.arange(clips) + max(1, t * clips // (targets + 1))) % clips
        target_B1ND, other_BB = state_BTND[target_B, :1], other_videos(names, target_B).to(state_BTND.device)
        rest_BUA = setting.bind(bench.model).infer_rest(target_B1ND, STEPS)
        transfer_BUND, control_BUND = (bench.predict(target_B1ND, a, setting) for a in (action_BUA, rest_BUA))
        changed_BN = moving_tokens((transfer_BUND - control_BUND).square().mean(dim=(1, 3)))
        own_B = own_B + overlap(changed_BN, moving_BN) / targets
        overlap_BB = overlap(changed_BN[:, None], moving_BN[None])
        shuffled_B = shuffled_B + (overlap_BB * other_BB).sum(dim=1) / other_BB.sum(dim=1).clamp_min(1) / targets
    return own_B, shuffled_B


def other_videos(names: Sequence[str], target_B: Tensor) -> Tensor:
    """Return booleans (B, B): whether the clip of a column is of another video than the clip of the row and its target.

    names: name of each clip's video. target_B: index of each clip's target. The target's video is excluded because its
    motion lies where the target has objects, so that it would overlap by more than chance.
    """
    video_B = video_index(names)
    return (video_B != video_B[:, None]) & (video_B != video_B[target_B][:, None])


def moving_tokens(motion_BN: Tensor) -> Tensor:
    """Return whether each token is among those with the most motion, booleans (B, N). Motion is first smoothed over
    neighbours.
    """
    grid = int(motion_BN.shape[1] ** 0.5)
    map_B1HW = motion_BN.view(-1, 1, grid, grid)
    smooth_BN = F.avg_pool2d(map_B1HW, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    return smooth_BN.argsort(dim=1).argsort(dim=1) >= round((1 - MOVING_SHARE) * motion_BN.shape[1])


def overlap(one_XN: Tensor, other_XN: Tensor) -> Tensor:
    """Return the intersection over union of two sets of tokens, given as booleans along the last dimension."""
    return (one_XN & other_XN).sum(dim=-1) / (one_XN | other_XN).sum(dim=-1).clamp_min(1)
