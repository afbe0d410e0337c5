"""What a model can do, in figures: each suite takes a model and clips, and returns named numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.evaluation.metrics import TwinErrors, edges_kept, mean_interval, pixel_error, psnr
from lawm_core.model import LatentActionModel
from lawm_core.worlds.clips import ClipWorld
from lawm_core.worlds.twins import TwinConfig, TwinWorld

CAPACITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """How much is measured. windows: cuts from each real video; horizon: frames rolled out from one."""

    family: str = "noisy"
    windows: int = 4
    twins: int = 96
    horizon: int = 8
    seed: int = 7


@torch.inference_mode()
def measure_reconstruction(model: LatentActionModel, world: ClipWorld, config: SuiteConfig) -> dict[str, float]:
    """PSNR of decode(encode(clip)) on real clips, with its 95 % interval over windows."""
    frame_BTCHW, _ = world.windows(config.horizon, config.windows)
    clean_B = torch.cat(
        [psnr(model.decode(model.encode(chunk))[0], chunk[0]).mean()[None] for chunk in frame_BTCHW.split(1)]
    )
    mean, low, high = mean_interval(clean_B)
    return {"psnr": mean, "psnr_low": low, "psnr_high": high}


@torch.inference_mode()
def measure_actions(model: LatentActionModel, world: ClipWorld, config: SuiteConfig) -> dict[str, float]:
    """One step from a single frame on real clips: is the latent used, is it the right one, and does it copy the future?

    For each capacity c: `error@c`, state L1 under the inferred action; `copying`, of repeating the frame;
    `against_copying@c`; `against_random@c`, over the error under another clip's action; `cut_ratio@c`, error when the
    later frame belongs to another clip over the same frame's error without the cut [LAWM Table 1].
    """
    frame_BTCHW, _ = world.windows(2, config.windows)
    state_BTND = model.encode(frame_BTCHW)
    others = another_clip(len(state_BTND), config)
    # The same later frames, each after a frame of another clip.
    cut_BTND = torch.stack((state_BTND[others, 0], state_BTND[:, 1]), dim=1)
    copying_B = (state_BTND[:, 0] - state_BTND[:, 1]).abs().mean(dim=(1, 2))
    out = {"copying": copying_B.mean().item()}
    for capacity in CAPACITIES:
        action_BUA = model.infer_actions(state_BTND, family=config.family, capacity=capacity)
        own, random, cut = (
            one_step_error(model, states, actions, config.family, capacity)
            for states, actions in (
                (state_BTND, action_BUA),
                (state_BTND, action_BUA[others]),
                (cut_BTND, model.infer_actions(cut_BTND, family=config.family, capacity=capacity)),
            )
        )
        out |= {
            f"error@{capacity}": own.mean().item(),
            f"against_copying@{capacity}": (own.mean() / copying_B.mean()).item(),
            f"against_random@{capacity}": (own.mean() / random.mean()).item(),
            f"cut_ratio@{capacity}": (cut.mean() / own.mean()).item(),
        }
    return out


def one_step_error(
    model: LatentActionModel, state_BTND: Tensor, action_BUA: Tensor, family: str, capacity: float
) -> Tensor:
    """State L1 of each clip's second frame predicted from its first, (B,)."""
    predicted_BUND = model.rollout(state_BTND[:, :1], action_BUA[:, :1], family=family, capacity=capacity)
    return (predicted_BUND[:, 0] - state_BTND[:, 1]).abs().mean(dim=(1, 2))


def another_clip(clips: int, config: SuiteConfig) -> Tensor:
    """For each clip the index of one far from it in the list (neighbours are windows of the same video)."""
    shift = torch.randint(clips // 3, 2 * clips // 3, (1,), generator=Generator().manual_seed(config.seed)).item()
    return (torch.arange(clips) + shift) % clips


@torch.inference_mode()
def measure_unrolled(model: LatentActionModel, world: ClipWorld, config: SuiteConfig) -> dict[str, float]:
    """`horizon` steps from one real frame under inferred actions: state error against copying that frame, and edges."""
    frame_BTCHW, _ = world.windows(config.horizon + 1, config.windows)
    out = {}
    for capacity in CAPACITIES:
        error, copying, edges = [], [], []
        for chunk in frame_BTCHW.split(16):
            state_BTND = model.encode(chunk)
            action_BUA = model.infer_actions(state_BTND, family=config.family, capacity=capacity)
            future_BUND = model.rollout(state_BTND[:, :1], action_BUA, family=config.family, capacity=capacity)
            error.append((future_BUND - state_BTND[:, 1:]).abs().mean(dim=(1, 2, 3)))
            copying.append((state_BTND[:, :1] - state_BTND[:, 1:]).abs().mean(dim=(1, 2, 3)))
            picture_BTCHW = model.decode(torch.cat((state_BTND[:, :1], future_BUND), dim=1))
            edges.append(edges_kept(picture_BTCHW[:, 4:], chunk[:, 4:])[None])
        out[f"unrolled_against_copying@{capacity}"] = (torch.cat(error).mean() / torch.cat(copying).mean()).item()
        out[f"unrolled_edges@{capacity}"] = torch.cat(edges).mean().item()
    return out


@torch.inference_mode()
def measure_twins(
    model: LatentActionModel, stills_SCHW: Tensor | None, config: SuiteConfig, capacity: float = 1.0
) -> dict[str, float]:
    """Transfer against its ground truth, camera and objects apart: effect, efficiency, edges (see `metrics`)."""
    out = {}
    for kind, twins in twin_kinds(model.frame_size).items():
        world = TwinWorld(twins, stills_SCHW)
        drawn = world.draw(config.twins, config.horizon + 1, Generator().manual_seed(config.seed))
        errors, edges = twin_errors(model, drawn.first_BTCHW, drawn.second_BTCHW, config.family, capacity)
        out |= {
            f"{kind}_effect": errors.effect,
            f"{kind}_efficiency": errors.efficiency,
            f"{kind}_edges": edges,
            f"{kind}_against_still": errors.against_still,
            f"{kind}_oracle": errors.oracle,
            f"{kind}_transfer": errors.transfer,
            f"{kind}_wrong": errors.wrong,
            f"{kind}_still": errors.still,
        }
    return out


def twin_kinds(frame_size: int) -> dict[str, TwinConfig]:
    """Twins in which only the camera moves, and twins in which only objects do."""
    return {
        "camera": TwinConfig(frame_size=frame_size, camera_share=1.0, object_share=0.0, rest=0.1),
        "objects": TwinConfig(frame_size=frame_size, camera_share=0.0, object_share=1.0, rest=0.1),
    }


def twin_errors(
    model: LatentActionModel, source_BTCHW: Tensor, target_BTCHW: Tensor, family: str, capacity: float
) -> tuple[TwinErrors, float]:
    """Errors of targets rolled out from their first frames; edges kept by the oracle from its fourth frame on."""
    settings = {"family": family, "capacity": capacity}
    frames: dict[str, list[Tensor]] = {"oracle": [], "transfer": [], "wrong": []}
    for source, target in zip(source_BTCHW.split(16), target_BTCHW.split(16), strict=True):
        source_BTND, target_BTND = model.encode(source), model.encode(target)
        own_BUA = model.infer_actions(target_BTND, **settings)
        twin_BUA = model.infer_actions(source_BTND, **settings)
        for name, action_BUA in (("oracle", own_BUA), ("transfer", twin_BUA), ("wrong", twin_BUA.roll(1, dims=0))):
            future_BUND = model.rollout(target_BTND[:, :1], action_BUA, **settings)
            frames[name].append(model.decode(torch.cat((target_BTND[:, :1], future_BUND), dim=1))[:, 1:])
    rolled = {name: torch.cat(parts) for name, parts in frames.items()}
    true_BUCHW = target_BTCHW[:, 1:]
    error = {name: pixel_error(frame, true_BUCHW).mean().item() for name, frame in rolled.items()}
    still = pixel_error(target_BTCHW[:, :1].expand_as(true_BUCHW), true_BUCHW).mean().item()
    edges = edges_kept(rolled["oracle"][:, 3:], true_BUCHW[:, 3:]).item()
    return TwinErrors(**error, still=still), edges


def measure_all(model: LatentActionModel, world: ClipWorld, config: SuiteConfig) -> dict[str, dict[str, float]]:
    """Every suite, by name."""
    size = max(160, model.frame_size)
    return {
        "reconstruction": measure_reconstruction(model, world, config),
        "actions": measure_actions(model, world, config),
        "unrolled": measure_unrolled(model, world, config),
        "twins": measure_twins(model, world.stills(2, size), config),
    }
