"""Compares transfers with their ground truth, on pairs of synthetic scenes with the same motion and different
appearance.

The first scene of a pair is the source and the second the target. A transfer should therefore reproduce the target.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.metrics import edges_kept, image_gradients, pixel_error
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, score, track

MAX_PIXELS = 64 * 9 * 64**2  # number of pixels rendered together; each needs about 100 bytes of memory


def scene_kinds(frame_size: int) -> dict[str, SyntheticConfig]:
    """Return the configs of both kinds of scenes: `camera`, where only the camera moves, and `objects`, where only they
    do.
    """
    return {
        "camera": SyntheticConfig(frame_size=frame_size, camera_share=1.0, object_share=0.0, rest=0.1),
        "objects": SyntheticConfig(frame_size=frame_size, camera_share=0.0, object_share=1.0, rest=0.1),
    }


@torch.inference_mode()
def measure_synthetic(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure rollouts of targets under their own actions, under the source's (the transfer) and under wrong actions.

    For both kinds of scenes, `KIND_MEASURE` is one of `MEASURES`, whose functions define them. `KIND_effect` and
    `KIND_efficiency` are also measured at each step.
    """
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    stills_XCHW, kinds = bench.stills(), scene_kinds(bench.model.picture_size)
    clips, frames = bench.config.synthetic_clips, bench.config.synthetic_steps + 1
    for k, (kind, config) in enumerate(kinds.items()):
        generator = Generator().manual_seed(bench.config.seed)
        pair = draw_pairs(config, stills_XCHW, clips, frames, generator)
        source_BTCHW, target_BTCHW = (frame_BTCHW.to(bench.model.device) for frame_BTCHW in pair)
        source_BTND, target_BTND = bench.encode(source_BTCHW), bench.encode(target_BTCHW)
        for setting in track(bench.settings(bench.config.key_capacities), progress, k, len(kinds), f"{kind}, "):
            rendered = roll_out_pairs(bench, target_BTCHW, source_BTND, target_BTND, setting)
            scores += score_pairs(kind, rendered, target_BTCHW, setting)
            if setting.capacity == bench.config.capacities[-1]:
                rows = [torch.cat((target_BTCHW[:1, :1], frame[:1]), dim=1) for frame in rendered.values()]
                title = f"{kind}, {setting}: source, target, own actions, transferred actions, wrong actions"
                pictures[title] = torch.cat((source_BTCHW[:1], target_BTCHW[:1], *rows))
    return SuiteResult(scores=scores, pictures=pictures)


def draw_pairs(
    config: SyntheticConfig, stills_XCHW: Tensor | None, clips: int, frames: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw pairs of scenes; return the clips of the first and of the second scenes, both frame_BTCHW.

    stills_XCHW: still frames for textures, if any. Scenes are rendered a few at a time if frames are large.
    """
    scenes, most = SyntheticScenes(config, stills_XCHW), max(4, MAX_PIXELS // (frames * config.frame_size**2))
    parts = [scenes.draw(min(most, clips - done), frames, generator) for done in range(0, clips, most)]
    return torch.cat([part.first_BTCHW for part in parts]), torch.cat([part.second_BTCHW for part in parts])


def roll_out_pairs(
    bench: Bench, target_BTCHW: Tensor, source_BTND: Tensor, target_BTND: Tensor, setting: Setting
) -> dict[str, Tensor]:
    """Return the rendered rollouts of targets, frame_BUCHW, under three kinds of actions.

    `own`: inferred from the target itself. `transfer`: inferred from the source of its pair. `wrong`: inferred from the
    source of another pair.
    """
    own_BUA, pair_BUA = bench.infer(target_BTND, setting), bench.infer(source_BTND, setting)
    actions = {"own": own_BUA, "transfer": pair_BUA, "wrong": pair_BUA.roll(1, dims=0)}
    return {
        name: bench.render(target_BTCHW, bench.rollout(target_BTND[:, :1], action_BUA, setting))
        for name, action_BUA in actions.items()
    }


def score_pairs(kind: str, rendered: dict[str, Tensor], target_BTCHW: Tensor, setting: Setting) -> list[Score]:
    """Return the scores of one kind of scenes at one setting. rendered: result of `roll_out_pairs`."""
    true_BUCHW = target_BTCHW[:, 1:]
    frames = rendered | {"copying": target_BTCHW[:, :1].expand_as(true_BUCHW)}
    error_BU = {name: pixel_error(frame, true_BUCHW).cpu() for name, frame in frames.items()}
    late = zip(rendered["own"][:, 3:].split(1), true_BUCHW[:, 3:].split(1), strict=True)
    values = {name: error.mean(dim=1) for name, error in error_BU.items()} | {
        "edges": torch.stack([edges_kept(frame, true) for frame, true in late]).cpu(),
        "edge_weight": torch.stack([edge_energy(true[3:]) for true in true_BUCHW]).cpu(),
    }

    def measure(name: str, values: dict[str, Tensor], step: int | None = None) -> Score:
        statistic = lambda weight_XB: MEASURES[name](weight_XB, values)
        return score(f"{kind}_{name}", statistic, len(true_BUCHW), setting=setting, step=step)

    scores = [measure(name, values) for name in MEASURES]
    for step in range(true_BUCHW.shape[1]):
        at_step = {name: error[:, step] for name, error in error_BU.items()}
        scores += [measure(name, at_step, step + 1) for name in ("effect", "efficiency")]
    return scores


def edge_energy(frame_TCHW: Tensor) -> Tensor:
    """Return the sum of squared gradients at half resolution, the denominator of `edges_kept`: a single value."""
    return torch.stack([g.square().sum() for g in image_gradients(F.avg_pool2d(frame_TCHW, 2))]).sum()


def mean(weight_XB: Tensor, value_B: Tensor) -> Tensor:
    """Return the mean of a value over clips in each of X resamples, mean_X.

    In all functions below, weight_XB is the number of times that each resample contains each clip.
    """
    return (weight_XB * value_B).sum(dim=1) / weight_XB.sum(dim=1)


def effect(weight_XB: Tensor, error_B: dict[str, Tensor]) -> Tensor:
    """Return how much the actions matter in each resample, effect_X; 0 for a model that ignores actions.

    error_B: pixel errors of the clips under `own` and `wrong` actions; see `roll_out_pairs`. The effect is 1 - (mean
    error under own actions) / (mean error under wrong actions).
    """
    return 1 - mean(weight_XB, error_B["own"]) / mean(weight_XB, error_B["wrong"]).clamp_min(1e-12)


def efficiency(weight_XB: Tensor, error_B: dict[str, Tensor]) -> Tensor:
    """Return the fraction of the effect that transferred actions have in each resample, efficiency_X.

    error_B: pixel errors of the clips under `own`, `transfer` and `wrong` actions; see `roll_out_pairs`. With their
    means, the efficiency is (wrong - transfer) / (wrong - own). It is 0 if own actions are not better than wrong ones,
    and unreliable if they are hardly better.
    """
    own, transfer, wrong = (mean(weight_XB, error_B[name]) for name in ("own", "transfer", "wrong"))
    gap = wrong - own
    return torch.where(gap > 1e-9, (wrong - transfer) / gap.clamp_min(1e-9), 0.0)


def error_vs_copying(weight_XB: Tensor, error_B: dict[str, Tensor]) -> Tensor:
    """Return the mean error of rollouts divided by that of copying, in each resample, ratio_X; lower is better.

    error_B: pixel errors of the clips under `own` actions, and those of repeating the first frame, `copying`.
    """
    return mean(weight_XB, error_B["own"]) / mean(weight_XB, error_B["copying"]).clamp_min(1e-12)


def agreement(weight_XB: Tensor, value_B: dict[str, Tensor]) -> Tensor:
    """Return the edge agreement of rollouts under own actions, from step 4 on, in each resample, agreement_X.

    It is a mean over clips, in which clips with more and stronger edges count more. weight_XB: number of times that
    each resample contains each clip. value_B: under `edges`, the edge agreement of each clip (see `edges_kept`); under
    `edge_weight`, its weight in the mean (see `edge_energy`).
    """
    edges_XB = weight_XB * value_B["edges"] * value_B["edge_weight"]
    return edges_XB.sum(dim=1) / (weight_XB * value_B["edge_weight"]).sum(dim=1).clamp_min(1e-12)


MEASURES: dict[str, Callable[[Tensor, dict[str, Tensor]], Tensor]] = {
    "effect": effect, "efficiency": efficiency, "error_vs_copying": error_vs_copying, "edge_agreement": agreement,
}  # fmt: skip
