"""How well inferred actions foretell the future, against capacity: the paper's measure of capacity [LAWM Fig. 4].

From one real frame, under the actions inferred from what really followed: one step, and `seconds` unrolled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lawm_core.evaluation.bench import Bench, Setting, state_error
from lawm_core.evaluation.metrics import edges_kept, lpips, psnr, ssim
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score, ratio_score


@torch.inference_mode()
def measure_idm(bench: Bench, progress: Progress) -> SuiteResult:
    """For each setting: `error` (state L1, one step), `against_copying` and `against_random` (over the error of
    repeating the frame, and under another clip's action); unrolled: `unrolled_error`, `unrolled_against_copying`, and
    of pictures `psnr`, `ssim`, `edges`, and `lpips` where its weights are on this machine.
    """
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    frame_BTCHW, _, names = bench.clips(bench.steps + 1)
    scores.append(mean_score("decoder_psnr", decoder_psnr(bench), names))
    few = torch.linspace(0, len(frame_BTCHW) - 1, 4).long()
    settings = [*bench.settings(), *bench.references()]
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        scores += one_step(bench, setting)
        if setting.capacity not in (None, *bench.config.coarse):
            continue
        unrolled, shown_BUCHW = unroll(bench, setting)
        scores += unrolled
        if setting.capacity in (None, bench.config.capacities[0], bench.config.capacities[-1]):
            at = "" if setting.capacity is None else f" at capacity {setting.capacity:g}"
            shown_BTCHW = torch.cat((frame_BTCHW[:, :1], shown_BUCHW), dim=1)
            pictures[f"{setting.family}{at}: under inferred actions"] = shown_BTCHW[few]
    return SuiteResult(scores=scores, pictures={"as it really went": frame_BTCHW[few], **pictures})


def decoder_psnr(bench: Bench) -> Tensor:
    """PSNR of decode(encode(clip)), one number a clip."""
    frame_BTCHW, state_BTND, _ = bench.clips(bench.steps + 1)
    shown = (bench.model.decode(state_1TND)[0] for state_1TND in state_BTND.split(1))
    return torch.stack([psnr(s, true).mean() for s, true in zip(shown, frame_BTCHW, strict=True)])


def one_step(bench: Bench, setting: Setting) -> list[Score]:
    """One step from a single frame."""
    _, state_BTND, names = bench.clips(2)
    before_B1ND, after_B1ND = state_BTND[:, :1], state_BTND[:, 1:]
    action_BUA = bench.infer(state_BTND, setting)
    own_B = state_error(bench.roll(before_B1ND, action_BUA, setting), after_B1ND)
    out = [
        mean_score("error", own_B, names, **setting.where()),
        ratio_score("against_copying", own_B, state_error(before_B1ND, after_B1ND), names, **setting.where()),
    ]
    if setting.capacity is not None:
        random_BUA = action_BUA[bench.others(len(action_BUA))]
        random_B = state_error(bench.roll(before_B1ND, random_BUA, setting), after_B1ND)
        out.append(ratio_score("against_random", own_B, random_B, names, **setting.where()))
    return out


def unroll(bench: Bench, setting: Setting) -> tuple[list[Score], Tensor]:
    """Many steps from a single frame, and the pictures of them."""
    frame_BTCHW, state_BTND, names = bench.clips(bench.steps + 1)
    first_B1ND, true_BUND, true_BUCHW = state_BTND[:, :1], state_BTND[:, 1:], frame_BTCHW[:, 1:]
    rollout = bench.rollout(first_B1ND, bench.infer(state_BTND, setting), setting)
    future_BUND, shown_BUCHW = rollout.state_BUND, bench.show(frame_BTCHW, rollout)
    measures_B = {
        "unrolled_error": state_error(future_BUND, true_BUND),
        "psnr": torch.stack([psnr(s, t).mean() for s, t in zip(shown_BUCHW, true_BUCHW, strict=True)]),
        "ssim": ssim(shown_BUCHW, true_BUCHW),
        "edges": torch.stack(
            [edges_kept(s, t) for s, t in zip(shown_BUCHW.split(1), true_BUCHW.split(1), strict=True)]
        ),
        "lpips": lpips(shown_BUCHW, true_BUCHW),
    }
    out = [mean_score(n, value_B, names, **setting.where()) for n, value_B in measures_B.items() if value_B is not None]
    copying_B = state_error(first_B1ND, true_BUND)
    where = setting.where()
    out.append(ratio_score("unrolled_against_copying", measures_B["unrolled_error"], copying_B, names, **where))
    for step in range(future_BUND.shape[1]):
        step_B = (future_BUND[:, step] - true_BUND[:, step]).abs().mean(dim=(1, 2))
        out.append(mean_score("error_by_step", step_B, names, step=step + 1, **where))
    return out, shown_BUCHW
