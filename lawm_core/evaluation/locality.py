"""Does the change happen where the source moved? [LAWM Fig. 7]

The source's motion map against the map of where a transfer differs from its no-action control, both on a coarse grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.scores import Progress, SuiteResult, mean_score, ratio_score
from lawm_core.evaluation.transfer import still_actions

SHARE = 0.2  # of the grid that counts as moving: the liveliest fifth
PLACED = 0.5  # a source moves in one place where so much of its motion lies in the liveliest fifth
STEPS = 3  # what is moved leaves its place, so only the first steps tell where an action acts


@torch.inference_mode()
def measure_locality(bench: Bench, progress: Progress) -> SuiteResult:
    """`overlap`: intersection over union of the liveliest fifths of both maps; `shuffled`: the same with the maps of
    other videos' motion, all of them; `locality`: their ratio (1: no better than chance and common habits of framing).
    `placed_locality`: that ratio where the source moves in one place, which a camera's motion does not.
    """
    _, state_BTND, names = bench.clips(bench.steps + 1)
    state_BTND = state_BTND[:, : STEPS + 1]
    motion_BN = (state_BTND[:, 1:] - state_BTND[:, :-1]).square().mean(dim=(1, 3))
    moving_BN = liveliest(motion_BN)
    placed_B = (motion_BN * moving_BN).sum(dim=1) >= PLACED * motion_BN.sum(dim=1)
    placed = [name for name, kept in zip(names, placed_B.tolist(), strict=True) if kept]
    scores, settings = [], list(bench.settings(bench.config.ends))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        own_B, shuffled_B = overlaps(bench, state_BTND, moving_BN, names, setting)
        scores += [
            mean_score("overlap", own_B, names, **setting.where()),
            mean_score("shuffled", shuffled_B, names, **setting.where()),
            ratio_score("locality", own_B, shuffled_B, names, **setting.where()),
        ]
        if placed:
            both = (own_B[placed_B], shuffled_B[placed_B])
            scores.append(ratio_score("placed_locality", *both, placed, **setting.where()))
    return SuiteResult(scores=scores)


def overlaps(
    bench: Bench, state_BTND: Tensor, moving_BN: Tensor, names: Sequence[str], setting: Setting
) -> tuple[Tensor, Tensor]:
    """Each source's overlap with its own motion and with other videos' motion, (B,) each, meaned over its targets."""
    clips, targets, action_BUA = len(state_BTND), bench.config.targets, bench.infer(state_BTND, setting)
    own_B = shuffled_B = torch.zeros(clips, device=state_BTND.device)
    for t in range(1, targets + 1):
        target_B = (torch.arange(clips) + max(1, t * clips // (targets + 1))) % clips
        target_B1ND, foreign_BB = state_BTND[target_B, :1], foreign(names, target_B).to(state_BTND.device)
        rest_BUA = still_actions(bench.model, target_B1ND, STEPS, **setting.arguments())
        moved_BUND, control_BUND = (bench.roll(target_B1ND, a, setting) for a in (action_BUA, rest_BUA))
        changed_BN = liveliest((moved_BUND - control_BUND).square().mean(dim=(1, 3)))
        own_B = own_B + overlap(changed_BN, moving_BN) / targets
        shuffled_BB = overlap(changed_BN[:, None], moving_BN[None])
        shuffled_B = shuffled_B + (shuffled_BB * foreign_BB).sum(dim=1) / foreign_BB.sum(dim=1).clamp_min(1) / targets
    return own_B, shuffled_B


def foreign(names: Sequence[str], target_B: Tensor) -> Tensor:
    """Which clips are of another video than each clip and its target, booleans (B, B).

    The target's own motion is left out since it would share the target's textures.
    """
    order = {name: i for i, name in enumerate(names)}
    video_B = torch.tensor([order[name] for name in names], device=target_B.device)
    return (video_B != video_B[:, None]) & (video_B != video_B[target_B][:, None])


def liveliest(map_BN: Tensor) -> Tensor:
    """The liveliest share of each map's places, smoothed over neighbours, as booleans (B, N)."""
    grid = int(map_BN.shape[1] ** 0.5)
    smooth_BN = F.avg_pool2d(map_BN.view(-1, 1, grid, grid), 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    return smooth_BN.argsort(dim=1).argsort(dim=1) >= round((1 - SHARE) * map_BN.shape[1])


def overlap(one_BN: Tensor, other_BN: Tensor) -> Tensor:
    """Intersection over union of the last axis, (...)."""
    return (one_BN & other_BN).sum(dim=-1) / (one_BN | other_BN).sum(dim=-1).clamp_min(1)
