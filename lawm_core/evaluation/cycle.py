"""Cycle consistency: apply a clip's actions to another clip, infer them again, and apply them to the first clip
[LAWM Table 2].
"""

from __future__ import annotations

import torch

from lawm_core.evaluation.bench import Bench, state_error
from lawm_core.evaluation.scores import Progress, SuiteResult, mean_score, ratio_score, track


@torch.inference_mode()
def measure_cycle(bench: Bench, progress: Progress) -> SuiteResult:
    """Compare rollouts of clips under their own actions and under cycled actions.

    Cycled actions are inferred from the rollout of another clip under this clip's own actions.

    `cycle_ratio`: error under cycled actions divided by the error under own actions; 1 means that nothing was lost. The
    ratio says little if both errors are close to that of copying, so the errors are reported too. `copying_error`: L1
    distance of states if the first frame is repeated. `own_vs_copying`, `cycled_vs_copying`: the two errors, each
    divided by copying_error.
    """
    _, state_BTND, names = bench.clips(bench.steps + 1)
    first_B1ND, true_BUND = state_BTND[:, :1], state_BTND[:, 1:]
    other_B1ND = first_B1ND[bench.shuffled(len(state_BTND))]
    copying_B = state_error(first_B1ND, true_BUND)
    scores = [mean_score("copying_error", copying_B, names)]
    for setting in track(bench.settings(bench.config.coarse_capacities), progress):
        action_BUA = bench.infer(state_BTND, setting)
        transfer_BUND = bench.predict(other_B1ND, action_BUA, setting)
        cycled_BUA = bench.infer(torch.cat((other_B1ND, transfer_BUND), dim=1), setting)
        own_B, cycled_B = (
            state_error(bench.predict(first_B1ND, action, setting), true_BUND) for action in (action_BUA, cycled_BUA)
        )
        scores += [
            ratio_score("cycle_ratio", cycled_B, own_B, names, setting),
            ratio_score("own_vs_copying", own_B, copying_B, names, setting),
            ratio_score("cycled_vs_copying", cycled_B, copying_B, names, setting),
        ]
    return SuiteResult(scores=scores)
