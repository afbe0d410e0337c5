"""Sharpness and accuracy of rendered rollouts, frame by frame.

Each clip is rolled out from its first frame under the actions inferred from the clip itself. There are two baselines:
the first frame repeated (`copying`), and the first frame warped by the rollout's flow (`warping only`). The difference
from the second baseline is what the decoder adds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.metrics import edge_agreement, psnr, sharpness, ssim
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, mean_score, track
from lawm_core.models.flow import warp

PICTURE_SIZE = 256  # height and width in pixels at which frames of every model are compared
EDGE_SIZE = 64  # height and width in pixels at which edges are compared too, for coarse outlines instead of texture
STEPS = (1, 4, 8, 15)  # numbers of the predicted frames that are scored
FRAMES = max(STEPS) + 1  # number of frames of a clip


def resize_frames(frame_XCHW: Tensor, size: int) -> Tensor:
    """Resize frames to size x size pixels: downscale by averaging, or enlarge bilinearly."""
    if frame_XCHW.shape[-1] >= size:
        return F.adaptive_avg_pool2d(frame_XCHW, size)
    return F.interpolate(frame_XCHW, size=(size, size), mode="bilinear", align_corners=False)


# Each measure takes one predicted frame and its ground truth, both frame_1CHW.
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sharpness": sharpness,
    "edge_agreement64": lambda p, t: edge_agreement(resize_frames(p, EDGE_SIZE), resize_frames(t, EDGE_SIZE)),
    "edge_agreement256": edge_agreement,
    "l1": lambda p, t: (p - t).abs().mean(),
    "psnr": lambda p, t: psnr(p, t)[0],
    "ssim": lambda p, t: ssim(p[None], t[None])[0],
}


@torch.inference_mode()
def measure_pictures(bench: Bench, progress: Progress) -> SuiteResult:
    """Score the predicted frames 1, 4, 8 and 15 of rollouts; STEP is the number of the frame.

    `MEASURE_STEP`: each of `MEASURES`, such as `psnr_4`. `carried_fraction_STEP`: fraction of pixels carried over from
    the first frame. `flicker`: mean absolute second difference in time of the pixels in a rollout without motion, which
    should not change.
    """
    true_BTCHW, names = bench.videos().resized(PICTURE_SIZE).first_windows(FRAMES)
    first_BUCHW = true_BTCHW[:, :1].expand(-1, FRAMES - 1, -1, -1, -1)
    scores, pictures = score_frames(first_BUCHW, true_BTCHW, names, Setting("copying", None)), {}
    chosen = torch.linspace(0, len(true_BTCHW) - 1, 4).long()
    for setting in track(bench.settings(bench.config.key_capacities), progress):
        found = roll_out_clips(bench, true_BTCHW, setting)
        scores += score_frames(found["frames"], true_BTCHW, names, setting)
        scores += [
            mean_score(f"carried_fraction_{step}", found["carried"][:, step - 1], names, setting) for step in STEPS
        ]
        warping = Setting(f"{setting.family}, warping only", setting.capacity)
        scores += score_frames(found["warped"], true_BTCHW, names, warping)
        scores.append(mean_score("flicker", found["flicker"], names, setting))
        shown_BTCHW = torch.cat((true_BTCHW[:, :1], found["frames"]), dim=1)
        rows = [row_BTCHW[b, [0, *STEPS]] for b in chosen for row_BTCHW in (true_BTCHW, shown_BTCHW)]
        pictures[f"{setting}: ground truth and prediction"] = torch.stack(rows)
    return SuiteResult(scores=scores, pictures=pictures)


def roll_out_clips(bench: Bench, true_BTCHW: Tensor, setting: Setting) -> dict[str, Tensor]:
    """Roll out clips from their first frames; return what is scored, by name.

    `frames`: rendered frames, frame_BUCHW. `warped`: the first frame warped by the rollout's flow, frame_BUCHW. Both
    have PICTURE_SIZE pixels. `carried`: fraction of pixels carried over from the first frame, (B, U). `flicker`: see
    `measure_pictures`, (B,).
    """
    model, bound, parts = bench.model, setting.bind(bench.model), []
    for true_1TCHW in true_BTCHW.to(model.device).split(1):
        picture_1TCHW = resize_frames(true_1TCHW[0], model.picture_size)[None]
        state_1TND = model.encode(picture_1TCHW)
        action_1UA = bound.infer_actions(state_1TND)
        rollout = bound.rollout(state_1TND[:, :1], action_1UA)
        frame_1UCHW, carried_1U = model.render_parts(rollout, picture_1TCHW[:, 0])
        first_UCHW = true_1TCHW[:, 0].expand(len(frame_1UCHW[0]), -1, -1, -1)
        rest = bound.rollout(state_1TND[:, :1], bound.infer_rest(state_1TND[:, :1], action_1UA.shape[1]))
        part = {
            "frames": resize_frames(frame_1UCHW[0], PICTURE_SIZE)[None],
            "warped": warp(first_UCHW, rollout.flow_BU2HW[0])[None].clamp(0, 1),
            "carried": carried_1U,
            "flicker": model.render(rest, picture_1TCHW[:, 0])[0].diff(n=2, dim=0).abs().mean()[None],
        }
        parts.append({name: value.cpu() for name, value in part.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def score_frames(frame_BUCHW: Tensor, true_BTCHW: Tensor, names: list[str], setting: Setting) -> list[Score]:
    """Return the scores of each of `MEASURES` at each of `STEPS`. true_BTCHW: the clips, with the frame before the
    first step.
    """
    scores = []
    for step in STEPS:
        pairs = list(zip(frame_BUCHW[:, step - 1].split(1), true_BTCHW[:, step].split(1), strict=True))
        for name, measure in MEASURES.items():
            value_B = torch.stack([measure(frame, true) for frame, true in pairs])
            scores.append(mean_score(f"{name}_{step}", value_B, names, setting))
    return scores
