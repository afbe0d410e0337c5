"""Errors of predictions under inferred actions at each capacity, by which the paper measures capacity [LAWM Fig. 4]."""

from __future__ import annotations

import torch
from torch import Tensor

from lawm_core.evaluation.bench import Bench, state_error
from lawm_core.evaluation.metrics import edges_kept, lpips, psnr, ssim
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, mean_score, ratio_score, track


@torch.inference_mode()
def measure_idm(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure predictions from one real frame under the actions inferred from the frames that follow it.

    Predictions of one step: `error`, the L1 distance of states; `error_vs_copying`, divided by the error of repeating
    the frame; `error_vs_random`, divided by the error under another clip's action.

    Rollouts that last `SuiteConfig.seconds`: `rollout_error`, `rollout_error_vs_copying` and `rollout_error_by_step`,
    from the same distance; `psnr`, `ssim` and `edge_agreement` of their frames, and `lpips` if its weights are on this
    machine.

    `decoder_psnr`: PSNR of real frames decoded from their own states.
    """
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    frame_BTCHW, state_BTND, names = bench.clips(bench.steps + 1)
    decoded = (bench.model.decode(state_1TND)[0] for state_1TND in state_BTND.split(1))
    psnr_B = torch.stack([psnr(frame, true).mean() for frame, true in zip(decoded, frame_BTCHW, strict=True)])
    scores.append(mean_score("decoder_psnr", psnr_B, names))
    chosen = torch.linspace(0, len(frame_BTCHW) - 1, 4).long()
    references = [Setting(family, None) for family in bench.model.reference_names]
    for setting in track([*bench.settings(), *references], progress):
        scores += score_one_step(bench, setting)
        if setting.capacity not in (None, *bench.config.coarse_capacities):
            continue
        rollout_scores, rendered_BUCHW = score_rollout(bench, setting)
        scores += rollout_scores
        if setting.capacity in (None, bench.config.capacities[0], bench.config.capacities[-1]):
            rendered_BTCHW = torch.cat((frame_BTCHW[:, :1], rendered_BUCHW), dim=1)
            pictures[f"{setting}: rollouts under inferred actions"] = rendered_BTCHW[chosen]
    return SuiteResult(scores=scores, pictures={"ground truth": frame_BTCHW[chosen], **pictures})


def score_one_step(bench: Bench, setting: Setting) -> list[Score]:
    """Return the scores of predictions of one step at one setting."""
    _, state_BTND, names = bench.clips(2)
    before_B1ND, after_B1ND = state_BTND[:, :1], state_BTND[:, 1:]
    action_BUA = bench.infer(state_BTND, setting)
    own_B = state_error(bench.predict(before_B1ND, action_BUA, setting), after_B1ND)
    copying_B = state_error(before_B1ND, after_B1ND)
    scores = [
        mean_score("error", own_B, names, setting),
        ratio_score("error_vs_copying", own_B, copying_B, names, setting),
    ]
    if setting.capacity is not None:
        random_BUA = action_BUA[bench.shuffled(len(action_BUA))]
        random_B = state_error(bench.predict(before_B1ND, random_BUA, setting), after_B1ND)
        scores.append(ratio_score("error_vs_random", own_B, random_B, names, setting))
    return scores


def score_rollout(bench: Bench, setting: Setting) -> tuple[list[Score], Tensor]:
    """Return the scores of rollouts at one setting, and the frames of the rollouts, frame_BUCHW."""
    frame_BTCHW, state_BTND, names = bench.clips(bench.steps + 1)
    first_B1ND, true_BUND, true_BUCHW = state_BTND[:, :1], state_BTND[:, 1:], frame_BTCHW[:, 1:]
    rollout = bench.rollout(first_B1ND, bench.infer(state_BTND, setting), setting)
    predicted_BUND, rendered_BUCHW = rollout.state_BUND, bench.render(frame_BTCHW, rollout)
    pairs = [(f[None], t[None]) for f, t in zip(rendered_BUCHW, true_BUCHW, strict=True)]
    values = {
        "rollout_error": state_error(predicted_BUND, true_BUND),
        "psnr": torch.stack([psnr(frame[0], true[0]).mean() for frame, true in pairs]),
        "ssim": ssim(rendered_BUCHW, true_BUCHW),
        "edge_agreement": torch.stack([edges_kept(frame, true) for frame, true in pairs]),
        "lpips": lpips(rendered_BUCHW, true_BUCHW),
    }
    scores = [mean_score(name, value_B, names, setting) for name, value_B in values.items() if value_B is not None]
    copying_B = state_error(first_B1ND, true_BUND)
    scores.append(ratio_score("rollout_error_vs_copying", values["rollout_error"], copying_B, names, setting))
    error_BU = (predicted_BUND - true_BUND).abs().mean(dim=(2, 3))
    for step, error_B in enumerate(error_BU.unbind(dim=1), start=1):
        scores.append(mean_score("rollout_error_by_step", error_B, names, setting, step))
    return scores, rendered_BUCHW
