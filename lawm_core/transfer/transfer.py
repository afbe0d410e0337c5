"""Action transfer: one clip's latent actions applied to another clip's first frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lawm_core.model import BoundFamily, LatentActionModel
from lawm_core.types import Clip, Transfer


@torch.inference_mode()
def transfer_actions(
    model: LatentActionModel,
    source: Clip,
    target: Clip,
    *,
    family: str | None = None,
    capacity: float = 1.0,
    context_frames: int = 1,
    scores: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Transfer:
    """Infer the source's actions and roll the target out under them [LAWM §4].

    The target's first `context_frames` frames are given, with the target's own actions between them. The source's
    actions apply from the last given frame on. The result has as many frames as the source. progress: called with the
    finished fraction and a description of the current work.

    scores: whether to compute these scores, which takes about a third more time. Errors are L1 distances of states.

    `prediction_gain`: 1 - error / error of copying, for the source rolled out under its own actions. 0 is no better
    than repeating its first frame, 1 is perfect.

    `action_effect`: mean absolute pixel difference between transfer and control, for pixels in [0, 1].

    `cycle_ratio`: error of the source rolled out under actions inferred from the transfer, divided by its error under
    its own actions. At 1, the transfer has preserved the actions [LAWM Table 2].

    `carried_fraction`: mean fraction of pixels that are warped from the target's last given frame.

    Raises ValueError if a clip has another size than the model's or fewer frames than the context needs.
    """
    report = progress or (lambda fraction, what: None)
    check_clips(model, source, target, context_frames)
    bound, device, transitions = model.at(family, capacity), model.device, source.frame_TCHW.shape[0] - 1
    report(0.0, "Encoding both clips")
    source_BTND = model.encode(source.frame_TCHW[None].to(device))
    context_BTND = model.encode(target.frame_TCHW[None, :context_frames].to(device))
    report(0.15, "Inferring actions")
    action_BUA = bound.infer_actions(source_BTND)
    rest_BUA = bound.infer_rest(context_BTND[:, -1:], transitions)
    both = [action_BUA, rest_BUA]
    if context_frames > 1:
        own_BUA = bound.infer_actions(context_BTND)
        both = [torch.cat((own_BUA, a[:, context_frames - 1 :]), dim=1) for a in both]
    report(0.3, "Rolling the target out")
    rollout = bound.rollout(context_BTND.expand(2, -1, -1, -1), torch.cat(both))
    report(0.6, "Decoding")
    context_BTCHW = target.frame_TCHW[None, :context_frames].to(device).expand(2, -1, -1, -1, -1)
    future_BUCHW, carried_BU = model.render_parts(rollout, context_BTCHW[:, -1])
    frame_BTCHW = torch.cat((context_BTCHW, future_BUCHW), dim=1).cpu()
    computed = {}
    if scores:
        report(0.8, "Scoring")
        moved_BTND = torch.cat((context_BTND, rollout.state_BUND[:1]), dim=1)
        computed = score_transfer(bound, source_BTND, action_BUA, moved_BTND)
        computed["carried_fraction"] = carried_BU[0].mean().item()
        computed["action_effect"] = (frame_BTCHW[0] - frame_BTCHW[1]).abs().mean().item()
    report(1.0, "Done")
    return Transfer(
        frame_TCHW=frame_BTCHW[0],
        control_TCHW=frame_BTCHW[1],
        action_UA=action_BUA[0].cpu(),
        family=bound.name,
        capacity=capacity,
        context_frames=context_frames,
        scores=computed,
    )


def apply_actions(
    model: LatentActionModel, target: Clip, action_UA: Tensor, *, family: str | None = None, capacity: float = 1.0
) -> Transfer:
    """Roll the target's first frame out under U given actions, with the score `action_effect`. Return U + 1 frames.

    Raises ValueError if the clip does not have the model's size, if the actions do not have its action width, or if
    there are no actions.
    """
    control_TCHW, frame_TCHW = try_actions(model, target, action_UA[None], family=family, capacity=capacity)
    return Transfer(
        frame_TCHW=frame_TCHW,
        control_TCHW=control_TCHW,
        action_UA=action_UA.cpu(),
        family=model.at(family, capacity).name,
        capacity=capacity,
        context_frames=1,
        scores={"action_effect": (frame_TCHW - control_TCHW).abs().mean().item()},
    )


@torch.inference_mode()
def try_actions(
    model: LatentActionModel, target: Clip, action_XUA: Tensor, *, family: str | None = None, capacity: float = 1.0
) -> Tensor:
    """Roll the target's first frame out under no motion and under each of X sequences of U actions.

    Return the frames, (X + 1, U + 1, C, H, W); the first rollout is the one without motion. Raises ValueError as
    `apply_actions` does.
    """
    check_size(model, "target", target)
    bound = model.at(family, capacity)
    width, shape = bound.action_width, tuple(action_XUA.shape[1:])
    if action_XUA.ndim != 3 or action_XUA.shape[1] < 1 or shape[-1] != width or not action_XUA.isfinite().all():
        raise ValueError(f"actions must have shape (U >= 1, {width}) and be finite, got shape {shape}.")
    state_B1ND = model.encode(target.frame_TCHW[None, :1].to(model.device))
    rest_BUA = bound.infer_rest(state_B1ND, action_XUA.shape[1])
    action_BUA = torch.cat((rest_BUA, action_XUA.to(model.device, torch.float32)))
    rollout = bound.rollout(state_B1ND.expand(len(action_BUA), -1, -1, -1), action_BUA)
    first_BCHW = target.frame_TCHW[:1].to(model.device).expand(len(action_BUA), -1, -1, -1)
    return torch.cat((first_BCHW[:, None], model.render(rollout, first_BCHW)), dim=1).cpu()


@torch.inference_mode()
def rest_action(model: LatentActionModel, target: Clip, *, family: str | None, capacity: float) -> Tensor:
    """Return the latent action of a scene that stays as it is in the target's first frame, action_A."""
    state_B1ND = model.encode(target.frame_TCHW[None, :1].to(model.device))
    return model.at(family, capacity).infer_rest(state_B1ND, 1)[0, 0].cpu()


def score_transfer(bound: BoundFamily, source_BTND: Tensor, action_BUA: Tensor, moved_BTND: Tensor) -> dict[str, float]:
    """Return `prediction_gain` and `cycle_ratio` of `transfer_actions`. moved_BTND: states of the transfer."""
    cycled_BUA = bound.infer_actions(moved_BTND)
    first_BTND = source_BTND[:, :1].expand(2, -1, -1, -1)
    rolled_BUND = bound.rollout(first_BTND, torch.cat((action_BUA, cycled_BUA))).state_BUND
    true_BUND = source_BTND[:, 1:]
    own, cycled = (rolled_BUND - true_BUND).abs().mean(dim=(1, 2, 3)).tolist()
    copying = (source_BTND[:, :1] - true_BUND).abs().mean().item()
    return {"prediction_gain": 1 - own / max(copying, 1e-9), "cycle_ratio": cycled / max(own, 1e-9)}


def check_clips(model: LatentActionModel, source: Clip, target: Clip, context_frames: int) -> None:
    """Raise ValueError if clips do not have the model's size or enough frames."""
    check_size(model, "source", source)
    check_size(model, "target", target)
    if (frames := source.frame_TCHW.shape[0]) < 2:
        raise ValueError(
            f"the source has {frames} {'frame' if frames == 1 else 'frames'} from its start on, but an action needs 2. "
            "Choose an earlier start or a longer video."
        )
    most = min(target.frame_TCHW.shape[0], source.frame_TCHW.shape[0] - 1)
    if not 1 <= context_frames <= most:
        raise ValueError(
            f"context_frames must be in [1, {most}] for these clips, so that at least one of the source's actions is "
            f"applied, got {context_frames}."
        )


def check_size(model: LatentActionModel, role: str, clip: Clip) -> None:
    """Raise ValueError if a clip does not have the model's picture size."""
    shape, size = tuple(clip.frame_TCHW.shape[1:]), model.picture_size
    if shape != (3, size, size):
        raise ValueError(f"frames of the {role} must have shape (3, {size}, {size}) for {model.name}, got {shape}.")
