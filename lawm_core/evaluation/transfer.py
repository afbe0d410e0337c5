"""The main job: one clip's latent actions on another clip's first frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lawm_core.contracts import Clip, Transfer
from lawm_core.model import LatentActionModel


@torch.inference_mode()
def transfer(
    model: LatentActionModel,
    source: Clip,
    target: Clip,
    *,
    family: str | None = None,
    capacity: float = 1.0,
    context_frames: int = 1,
    progress: Callable[[float, str], None] | None = None,
) -> Transfer:
    """Infers the source's actions and rolls the target forward under them [LAWM §4].

    The target's first `context_frames` frames are given (their own actions lead between them); from there on, the
    source's actions act. The result has the source's number of frames. `progress(fraction, what)` is told as it goes.

    Scores: `prediction_gain`, 1 - error / copying error of the source rolled out under its own actions, in states (0:
    no better than a still picture, 1: perfect); `action_effect`, mean absolute pixel change that the actions make
    against no action; `cycle_ratio`, error on the source under actions re-inferred from the transfer, over its error
    under its own (1: nothing lost on the way there and back [LAWM Table 2]); `carried_share`, mean share of the
    transfer's pixels that are carried over from the target's picture, for models that carry.

    Raises ValueError when a clip has another size than the model's, or fewer frames than the context asks for.
    """
    report = progress or (lambda fraction, what: None)
    check_clips(model, source, target, context_frames)
    device, transitions = model.device, source.frame_TCHW.shape[0] - 1
    report(0.0, "Encoding both clips")
    source_BTND = model.encode(source.frame_TCHW[None].to(device))
    target_BCND = model.encode(target.frame_TCHW[None, :context_frames].to(device))
    report(0.15, "Inferring actions")
    settings = {"family": family or model.families[0], "capacity": capacity}
    action_BUA = model.infer_actions(source_BTND, **settings)
    rest_BUA = still_actions(model, target_BCND[:, -1:], transitions, **settings)
    if context_frames > 1:
        own_BUA = model.infer_actions(target_BCND, **settings)
        both = [torch.cat((own_BUA, a[:, context_frames - 1 :]), dim=1) for a in (action_BUA, rest_BUA)]
    else:
        both = [action_BUA, rest_BUA]
    report(0.3, "Rolling the target forward")
    context_BCND = target_BCND.expand(2, -1, -1, -1)
    rollout = model.rollout(context_BCND, torch.cat(both), **settings)
    report(0.6, "Decoding")
    context_BCCHW = target.frame_TCHW[None, :context_frames].to(device).expand(2, -1, -1, -1, -1)
    future_BUCHW, carried_BU = model.draw(rollout, context_BCCHW[:, -1])
    frame_BTCHW = torch.cat((context_BCCHW, future_BUCHW), dim=1).cpu()
    report(0.8, "Scoring")
    moved_BTND = torch.cat((target_BCND, rollout.state_BUND[:1]), dim=1)
    scores = score_transfer(model, source_BTND, action_BUA, moved_BTND, **settings)
    if carried_BU is not None:
        scores["carried_share"] = carried_BU[0].mean().item()
    scores["action_effect"] = (frame_BTCHW[0] - frame_BTCHW[1]).abs().mean().item()
    report(1.0, "Done")
    return Transfer(
        frame_TCHW=frame_BTCHW[0],
        control_TCHW=frame_BTCHW[1],
        action_UA=action_BUA[0].cpu(),
        context_frames=context_frames,
        scores=scores,
        **settings,
    )


def apply_actions(
    model: LatentActionModel, target: Clip, action_UA: Tensor, *, family: str | None = None, capacity: float = 1.0
) -> Transfer:
    """The target's first frame rolled forward under U given actions, wherever they come from; U + 1 frames.

    Scores: `action_effect` as in `transfer`. Raises ValueError for a clip of another size than the model's, and for
    actions of another width or none at all.
    """
    settings = {"family": family or model.families[0], "capacity": capacity}
    control_TCHW, frame_TCHW = try_actions(model, target, action_UA[None], **settings)
    return Transfer(
        frame_TCHW=frame_TCHW,
        control_TCHW=control_TCHW,
        action_UA=action_UA.cpu(),
        context_frames=1,
        scores={"action_effect": (frame_TCHW - control_TCHW).abs().mean().item()},
        **settings,
    )


@torch.inference_mode()
def try_actions(
    model: LatentActionModel, target: Clip, action_XUA: Tensor, *, family: str | None = None, capacity: float = 1.0
) -> Tensor:
    """The target's first frame under no action, then under each of X ways to act, all at once: (X + 1, T, C, H, W).

    Raises ValueError as `apply_actions` does.
    """
    check_size(model, "target", target)
    settings = {"family": family or model.families[0], "capacity": capacity}
    width, shape = model.member(family).bottleneck.config.action_width, tuple(action_XUA.shape[1:])
    if action_XUA.ndim != 3 or action_XUA.shape[1] < 1 or shape[-1] != width or not action_XUA.isfinite().all():
        raise ValueError(f"actions came as {shape}; needed: at least one, of {width} finite numbers.")
    state_B1ND = model.encode(target.frame_TCHW[None, :1].to(model.device))
    rest_BUA = still_actions(model, state_B1ND, action_XUA.shape[1], **settings)
    action_BUA = torch.cat((rest_BUA, action_XUA.to(model.device, torch.float32)))
    state_B1ND = state_B1ND.expand(len(action_BUA), -1, -1, -1)
    rollout = model.rollout(state_B1ND, action_BUA, **settings)
    first_BCHW = target.frame_TCHW[:1].to(model.device).expand(len(action_BUA), -1, -1, -1)
    return torch.cat((first_BCHW[:, None], model.render(rollout, first_BCHW)), dim=1).cpu()


def still_actions(
    model: LatentActionModel, state_B1ND: Tensor, transitions: int, family: str, capacity: float
) -> Tensor:
    """The actions of a clip in which nothing happens: this state, repeated. action_BUA."""
    action_B1A = model.infer_actions(state_B1ND.expand(-1, 2, -1, -1), family=family, capacity=capacity)
    return action_B1A.expand(-1, transitions, -1)


def score_transfer(
    model: LatentActionModel, source_BTND: Tensor, action_BUA: Tensor, moved_BTND: Tensor, family: str, capacity: float
) -> dict[str, float]:
    """`prediction_gain` and `cycle_ratio` as `transfer` explains them; moved_BTND is the transfer with its context."""
    settings = {"family": family, "capacity": capacity}
    again_BUA = model.infer_actions(moved_BTND, **settings)
    first_BTND = source_BTND[:, :1].expand(2, -1, -1, -1)
    rolled_BUND = model.rollout(first_BTND, torch.cat((action_BUA, again_BUA)), **settings).state_BUND
    true_BUND = source_BTND[:, 1:]
    own, cycled = (rolled_BUND - true_BUND).abs().mean(dim=(1, 2, 3)).tolist()
    copying = (source_BTND[:, :1] - true_BUND).abs().mean().item()
    return {"prediction_gain": 1 - own / max(copying, 1e-9), "cycle_ratio": cycled / max(own, 1e-9)}


def check_clips(model: LatentActionModel, source: Clip, target: Clip, context_frames: int) -> None:
    """Raises ValueError that says what came and what is needed."""
    check_size(model, "source", source)
    check_size(model, "target", target)
    if source.frame_TCHW.shape[0] < 2:
        raise ValueError("the source has 1 frame from its start on; a latent action needs 2. Choose an earlier start.")
    most = min(target.frame_TCHW.shape[0], source.frame_TCHW.shape[0] - 1)
    if not 1 <= context_frames <= most:
        raise ValueError(
            f"context_frames came as {context_frames}; needed: 1 to {most}, so that the source's "
            "actions have something left to do."
        )


def check_size(model: LatentActionModel, role: str, clip: Clip) -> None:
    """Raises ValueError where the clip is not as large as the model's frames."""
    size = tuple(clip.frame_TCHW.shape[1:])
    if size != (3, model.picture_size, model.picture_size):
        raise ValueError(
            f"the {role} has frames of {size}; {model.name} needs (3, {model.picture_size}, {model.picture_size})."
        )
