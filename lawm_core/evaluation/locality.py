"""Does the change happen where the source moved? [LAWM Fig. 7]

The source's motion map against the map of where a transfer differs from its no-action control, both on a coarse grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, SuiteResult, mean_score, ratio_score
from lawm_core.evaluation.transfer import still_actions

SHARE = 0.2  # of the grid that counts as moving: the liveliest fifth
STEPS = 3  # what is moved leaves its place, so only the first steps tell where an action acts


@torch.inference_mode()
def measure_locality(bench: Bench, progress: Progress) -> SuiteResult:
    """`overlap`: intersection over union of the liveliest fifths of both maps; `shuffled`: the same with the map of
    another clip's motion; `locality`: their ratio (1: no better than chance and common habits of framing).
    """
    _, state_BTND, names = bench.clips(bench.steps + 1)
    state_BTND = state_BTND[:, : STEPS + 1]
    clips = torch.arange(len(state_BTND))
    others = bench.others(len(clips))
    # A third clip's motion, halfway between source and target: the target's own would share the target's textures.
    thirds = (clips + ((others - clips) % len(clips)) // 2) % len(clips)
    moving_BN = liveliest((state_BTND[:, 1:] - state_BTND[:, :-1]).abs().mean(dim=(1, 3)))
    scores, settings = [], list(bench.settings(bench.config.ends))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        action_BUA, target_B1ND = bench.infer(state_BTND, setting), state_BTND[others, :1]
        rest_BUA = still_actions(bench.model, target_B1ND, STEPS, **setting.arguments())
        moved_BUND, control_BUND = (bench.roll(target_B1ND, a, setting) for a in (action_BUA, rest_BUA))
        changed_BN = liveliest((moved_BUND - control_BUND).abs().mean(dim=(1, 3)))
        own_B, shuffled_B = overlap(changed_BN, moving_BN), overlap(changed_BN, moving_BN[thirds])
        scores += [
            mean_score("overlap", own_B, names, **setting.where()),
            mean_score("shuffled", shuffled_B, names, **setting.where()),
            ratio_score("locality", own_B, shuffled_B, names, **setting.where()),
        ]
    return SuiteResult(scores=scores)


def liveliest(map_BN: Tensor) -> Tensor:
    """The liveliest share of each map's places, smoothed over neighbours, as booleans (B, N)."""
    grid = int(map_BN.shape[1] ** 0.5)
    smooth_BN = F.avg_pool2d(map_BN.view(-1, 1, grid, grid), 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    return smooth_BN.argsort(dim=1).argsort(dim=1) >= round((1 - SHARE) * map_BN.shape[1])


def overlap(one_BN: Tensor, other_BN: Tensor) -> Tensor:
    """Intersection over union, (B,)."""
    return (one_BN & other_BN).sum(dim=1) / (one_BN | other_BN).sum(dim=1).clamp_min(1)
