"""Transfer against its ground truth: twins, two looks under one action track, with both true futures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.metrics import edges_kept, image_gradients, pixel_error
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, bootstrap
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.twins import TwinWorld

PIXELS_AT_ONCE = 64 * 9 * 64**2  # that are rendered together; what lies between takes a hundred bytes for each


def twin_kinds(frame_size: int) -> dict[str, TwinConfig]:
    """Twins in which only the camera moves, and twins in which only objects do."""
    return {
        "camera": TwinConfig(frame_size=frame_size, camera_share=1.0, object_share=0.0, rest=0.1),
        "objects": TwinConfig(frame_size=frame_size, camera_share=0.0, object_share=1.0, rest=0.1),
    }


@torch.inference_mode()
def measure_twins(bench: Bench, progress: Progress) -> SuiteResult:
    """For each kind and setting: effect, efficiency, edges and oracle over still, as `metrics.TwinErrors` has them;
    `..._by_step` tells effect and efficiency against the horizon.
    """
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    stills_SCHW = bench.stills()
    kinds, settings = twin_kinds(bench.model.picture_size), list(bench.settings(bench.config.ends))
    for k, (kind, config) in enumerate(kinds.items()):
        generator = Generator().manual_seed(bench.config.seed)
        drawn = draw_twins(config, stills_SCHW, bench.config.twins, bench.config.twin_steps + 1, generator)
        source_BTCHW, target_BTCHW = (frame_BTCHW.to(bench.model.device) for frame_BTCHW in drawn)
        source_BTND, target_BTND = bench.encode(source_BTCHW), bench.encode(target_BTCHW)
        for i, setting in enumerate(settings):
            progress((k + i / len(settings)) / len(kinds), f"{kind}, {setting.family} at {setting.capacity}")
            rolled = roll_twins(bench, target_BTCHW, source_BTND, target_BTND, setting)
            scores += twin_scores(kind, rolled, target_BTCHW, setting)
            if setting.capacity == bench.config.capacities[-1]:
                title = f"{kind} twins, {setting.family} at capacity {setting.capacity:g}"
                lanes = [source_BTCHW[:1], target_BTCHW[:1]]
                lanes += [torch.cat((target_BTCHW[:1, :1], frame[:1]), dim=1) for frame in rolled.values()]
                pictures[f"{title}: source, target, oracle, transfer, wrong"] = torch.cat(lanes)
    return SuiteResult(scores=scores, pictures=pictures)


def draw_twins(
    config: TwinConfig, stills_SCHW: Tensor | None, twins: int, frames: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """first_BTCHW and second_BTCHW of so many twins, rendered some at a time where frames are large."""
    world, at_once = TwinWorld(config, stills_SCHW), max(4, PIXELS_AT_ONCE // (frames * config.frame_size**2))
    parts = [world.draw(min(at_once, twins - done), frames, generator) for done in range(0, twins, at_once)]
    return torch.cat([part.first_BTCHW for part in parts]), torch.cat([part.second_BTCHW for part in parts])


def roll_twins(
    bench: Bench, target_BTCHW: Tensor, source_BTND: Tensor, target_BTND: Tensor, setting: Setting
) -> dict[str, Tensor]:
    """frame_BUCHW of targets rolled out from their first frames under their own (oracle), their twin's (transfer) and
    an unrelated track's actions (wrong).
    """
    own_BUA, twin_BUA = bench.infer(target_BTND, setting), bench.infer(source_BTND, setting)
    first_B1ND = target_BTND[:, :1]
    return {
        name: bench.show(target_BTCHW, bench.rollout(first_B1ND, action_BUA, setting))
        for name, action_BUA in (("oracle", own_BUA), ("transfer", twin_BUA), ("wrong", twin_BUA.roll(1, dims=0)))
    }


def twin_scores(kind: str, rolled: dict[str, Tensor], target_BTCHW: Tensor, setting: Setting) -> list[Score]:
    """The figures of one kind at one setting, with the first frame repeated (still) for a measure."""
    true_BUCHW, still_BUCHW = target_BTCHW[:, 1:], target_BTCHW[:, :1].expand_as(target_BTCHW[:, 1:])
    shown = rolled | {"still": still_BUCHW}
    error_BU = {name: pixel_error(frame, true_BUCHW).cpu() for name, frame in shown.items()}
    error_B = {name: e.mean(dim=1) for name, e in error_BU.items()}
    late = (x[:, 3:].split(1) for x in (rolled["oracle"], true_BUCHW))
    edges_B = torch.stack([edges_kept(shown, true) for shown, true in zip(*late, strict=True)]).cpu()
    weight_B = torch.stack([edge_weight(t[3:]) for t in true_BUCHW]).cpu()
    where = setting.where()

    def score(name: str, values: dict[str, Tensor], step: int | None = None) -> Score:
        mean, low, high = bootstrap(lambda w_RB: TWIN_MEASURES[name](w_RB, values), len(edges_B))
        return Score(name=f"{kind}_{name}", mean=mean, low=low, high=high, step=step, **where)

    out = [score(name, error_B) for name in ("effect", "efficiency", "against_still")]
    out.append(score("edges", {"edges": edges_B, "weight": weight_B}))
    for step in range(true_BUCHW.shape[1]):
        at = {name: e[:, step] for name, e in error_BU.items()}
        out += [score(name, at, step + 1) for name in ("effect", "efficiency")]
    return out


def edge_weight(frame_TCHW: Tensor) -> Tensor:
    """How much edge a clip has to keep: what `edges_kept` divides by."""
    return sum(g.square().sum() for g in image_gradients(F.avg_pool2d(frame_TCHW, 2)))


def weighted(w_RB: Tensor, value_B: Tensor) -> Tensor:
    """Weighted means, one a resample."""
    return (w_RB * value_B).sum(dim=1) / w_RB.sum(dim=1)


def effect(w_RB: Tensor, e: dict[str, Tensor]) -> Tensor:
    """1 - oracle / wrong."""
    return 1 - weighted(w_RB, e["oracle"]) / weighted(w_RB, e["wrong"]).clamp_min(1e-12)


def efficiency(w_RB: Tensor, e: dict[str, Tensor]) -> Tensor:
    """(wrong - transfer) / (wrong - oracle), 0 where nothing acts."""
    oracle, transfer, wrong = (weighted(w_RB, e[n]) for n in ("oracle", "transfer", "wrong"))
    gap = wrong - oracle
    return torch.where(gap > 1e-9, (wrong - transfer) / gap.clamp_min(1e-9), 0.0)


TWIN_MEASURES = {
    "effect": effect,
    "efficiency": efficiency,
    "against_still": lambda w, e: weighted(w, e["oracle"]) / weighted(w, e["still"]).clamp_min(1e-12),
    "edges": lambda w, e: (w * e["edges"] * e["weight"]).sum(dim=1) / (w * e["weight"]).sum(dim=1).clamp_min(1e-12),
}
