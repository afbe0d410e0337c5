"""There and back: one clip's actions on another clip, inferred again from that, on the first clip [LAWM Table 2]."""

from __future__ import annotations

import torch

from lawm_core.evaluation.bench import Bench, state_error
from lawm_core.evaluation.scores import Progress, SuiteResult, mean_score, ratio_score


@torch.inference_mode()
def measure_cycle(bench: Bench, progress: Progress) -> SuiteResult:
    """`cycle_ratio`: error of A under actions that went through B, over its error under its own; 1 loses nothing.

    `own` and `cycled` are those errors, and `copying` that of repeating A's first frame: a ratio near one says little
    where both stand near copying.
    """
    _, state_BTND, names = bench.clips(bench.steps + 1)
    first_B1ND, true_BUND = state_BTND[:, :1], state_BTND[:, 1:]
    there_B = bench.others(len(state_BTND))
    copying_B = state_error(first_B1ND, true_BUND)
    scores, settings = [mean_score("copying", copying_B, names)], list(bench.settings(bench.config.coarse))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        action_BUA = bench.infer(state_BTND, setting)
        moved_BUND = bench.roll(first_B1ND[there_B], action_BUA, setting)
        again_BUA = bench.infer(torch.cat((first_B1ND[there_B], moved_BUND), dim=1), setting)
        own_B, cycled_B = (state_error(bench.roll(first_B1ND, a, setting), true_BUND) for a in (action_BUA, again_BUA))
        scores += [
            ratio_score("cycle_ratio", cycled_B, own_B, names, **setting.where()),
            ratio_score("own", own_B, copying_B, names, **setting.where()),
            ratio_score("cycled", cycled_B, copying_B, names, **setting.where()),
        ]
    return SuiteResult(scores=scores)
