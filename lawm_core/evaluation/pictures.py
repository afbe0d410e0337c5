"""How sharp and how right are rollouts, as people see them? Pictures against the true future, frame by frame.

Each clip is rolled out from its first frame under the actions inferred from the clip itself. Beside the model stand the
first frame repeated (`copying`) and the first frame warped by the rollout's own flow (`warping`), which shows what the
decoder adds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.metrics import edge_agreement, psnr, sharpness, ssim
from lawm_core.evaluation.scores import Progress, SuiteResult, mean_score
from lawm_core.models.flow import resample

PICTURE_SIZE = 256  # pixels at which pictures are compared, whatever size a model draws
EDGE_SIZE = 64  # pixels at which edges are compared too: the scale of objects' outlines
STEPS = (1, 4, 8, 15)  # frames after the first
FRAMES = max(STEPS) + 1


def at_size(frame_XCHW: Tensor, size: int) -> Tensor:
    """Frames at another size: averaged down, or enlarged bilinearly."""
    if frame_XCHW.shape[-1] >= size:
        return F.adaptive_avg_pool2d(frame_XCHW, size)
    return F.interpolate(frame_XCHW, size=(size, size), mode="bilinear", align_corners=False)


MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of one picture each, (1, C, H, W) at PICTURE_SIZE
    "sharpness": sharpness,
    "edges64": lambda p, t: edge_agreement(at_size(p, EDGE_SIZE), at_size(t, EDGE_SIZE)),
    "edges256": edge_agreement,
    "l1": lambda p, t: (p - t).abs().mean(),
    "psnr": lambda p, t: psnr(p, t)[0],
    "ssim": lambda p, t: ssim(p[None], t[None])[0],
}


@torch.inference_mode()
def measure_pictures(bench: Bench, progress: Progress) -> SuiteResult:
    """`MEASURE_STEP` for each of `MEASURES` at frames 1, 4, 8 and 15, the mean over clips; `carried_STEP`: the share of
    pixels carried over from the first frame; `flicker`: mean absolute second difference in time of a still control.
    """
    if bench.world is None:
        raise ValueError("the suite 'pictures' measures real clips; a folder of videos is needed.")
    true_BTCHW, names = bench.world.resized(PICTURE_SIZE).beginnings(FRAMES)
    scores, pictures = [], {}
    first_BTCHW = true_BTCHW[:, :1].expand(-1, FRAMES - 1, -1, -1, -1)
    scores += picture_scores(first_BTCHW, true_BTCHW, names, family="copying", capacity=None)
    settings = list(bench.settings(bench.config.ends))
    for i, setting in enumerate(settings):
        progress(i / len(settings), f"{setting.family} at {setting.capacity}")
        shown = roll_clips(bench, true_BTCHW, setting)
        scores += picture_scores(shown["frames"], true_BTCHW, names, **setting.where())
        if "carried" in shown:
            scores += [
                mean_score(f"carried_{step}", shown["carried"][:, step - 1], names, **setting.where()) for step in STEPS
            ]
            warped = {"family": f"{setting.family}, warping alone", "capacity": setting.capacity}
            scores += picture_scores(shown["warped"], true_BTCHW, names, **warped)
        scores.append(mean_score("flicker", shown["flicker"], names, **setting.where()))
        few = torch.linspace(0, len(true_BTCHW) - 1, 4).long()
        pictures[f"{setting.family} at capacity {setting.capacity:g}: true and predicted"] = torch.cat(
            [torch.stack((true_BTCHW[b, [0, *STEPS]], shown["frames"][b, [0, *(s - 1 for s in STEPS)]])) for b in few]
        )
    return SuiteResult(scores=scores, pictures=pictures)


def roll_clips(bench: Bench, true_BTCHW: Tensor, setting: Setting) -> dict[str, Tensor]:
    """frames, and for models with flow warped (both BUCHW at PICTURE_SIZE) and carried (BU); flicker (B)."""
    model, parts = bench.model, []
    for true_1TCHW in true_BTCHW.to(model.device).split(1):
        own_1TCHW = at_size(true_1TCHW[0], model.picture_size)[None]
        state_1TND = model.encode(own_1TCHW)
        action_1UA = model.infer_actions(state_1TND, **setting.arguments())
        rollout = model.rollout(state_1TND[:, :1], action_1UA, **setting.arguments())
        frame_1UCHW, carried_1U = model.draw(rollout, own_1TCHW[:, 0])
        part = {"frames": at_size(frame_1UCHW[0], PICTURE_SIZE)[None]}
        if carried_1U is not None:
            first_UCHW = true_1TCHW[:, 0].expand(len(frame_1UCHW[0]), -1, -1, -1)
            part |= {"carried": carried_1U, "warped": resample(first_UCHW, rollout.flow_BU2HW[0])[None].clamp(0, 1)}
        rest_1UA = model.infer_actions(state_1TND[:, :1].expand(-1, 2, -1, -1), **setting.arguments())
        rest = model.rollout(state_1TND[:, :1], rest_1UA.expand(-1, action_1UA.shape[1], -1), **setting.arguments())
        still_UCHW = model.render(rest, own_1TCHW[:, 0])[0]
        part["flicker"] = still_UCHW.diff(n=2, dim=0).abs().mean()[None]
        parts.append({name: value.cpu() for name, value in part.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def picture_scores(frame_BUCHW: Tensor, true_BTCHW: Tensor, names: list[str], **where: object) -> list:
    """Every measure at every step."""
    out = []
    for step in STEPS:
        pairs = list(zip(frame_BUCHW[:, step - 1].split(1), true_BTCHW[:, step].split(1), strict=True))
        for name, measure in MEASURES.items():
            value_B = torch.stack([measure(shown, true) for shown, true in pairs])
            out.append(mean_score(f"{name}_{step}", value_B, names, **where))
    return out
