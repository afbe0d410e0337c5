"""How right is the motion? Flow that is read from frames, and flow that the world model predicts for an action.

On synthetic scenes the truth is known. On real clips the classical flow that also teaches stands in for it, where it is
consistent and OpenCV is installed.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score
from lawm_core.evaluation.twins import twin_kinds
from lawm_core.models.flow import resize_flow
from lawm_core.worlds.true_motion import Motion, true_motion
from lawm_core.worlds.twins import TwinWorld

GRID = 64  # places a side at which flows are compared
BATCH = 8  # synthetic scenes that are rendered together


@torch.inference_mode()
def measure_flow(bench: Bench, progress: Progress) -> SuiteResult:
    """For each kind of scene (camera, objects, real): `KIND_read`, mean end-point error of the flow read from
    two frames, in pixels of the model's frames; `KIND_predicted`, of the flow that the world model predicts from the
    first frame and the inferred action; `KIND_zero`, of no motion at all. Where places are hidden nothing is compared.
    """
    if bench.model.flow_reader is None:
        raise ValueError(f"the suite 'flow' measures models that read optical flow; {bench.model.name} does not.")
    scores: list[Score] = []
    kinds, stills_SCHW, clips = twin_kinds(bench.model.frame_size), bench.stills(), bench.config.twins
    for k, (kind, config) in enumerate(kinds.items()):
        generator = Generator().manual_seed(bench.config.seed)
        world, errors = TwinWorld(config, stills_SCHW), []
        for first in range(0, clips, BATCH):
            progress((k + first / clips) / (len(kinds) + 1), kind)
            track = world.draw_track(min(BATCH, clips - first), 2, generator)
            frame_BTCHW, outlines = world.show(track, generator)
            errors.append(flow_errors(bench, frame_BTCHW, true_motion(track, outlines, GRID)))
        scores += joined(kind, errors)
    if bench.world is not None and importlib.util.find_spec("cv2"):
        progress(len(kinds) / (len(kinds) + 1), "real")
        frame_BTCHW, names = bench.world.windows(2, bench.config.windows)
        motion = Motion.join([classical_motion(frame_TCHW) for frame_TCHW in frame_BTCHW])
        scores += joined("real", [flow_errors(bench, frame_BTCHW, motion)], names)
    return SuiteResult(scores=scores)


def flow_errors(bench: Bench, frame_BTCHW: Tensor, motion: Motion) -> dict[str, Tensor]:
    """Mean end-point errors of each clip of two frames, (B,), in pixels of the model's frames."""
    model = bench.model
    state_BTND = bench.encode(frame_BTCHW.to(model.device))
    action_BUA = model.infer_actions(state_BTND, capacity=1.0)
    flows = {
        "read": model.read_flow(state_BTND)[:, 0],
        "predicted": model.rollout(state_BTND[:, :1], action_BUA).flow_BU2HW[:, 0],
        "zero": torch.zeros(len(state_BTND), 2, GRID, GRID, device=model.device),
    }
    weight_BHW = (motion.visible_BU1HW * motion.known_BU1HW)[:, 0, 0].to(model.device)
    true_B2HW = motion.flow_BU2HW[:, 0].to(model.device)

    def error(flow_B2HW: Tensor) -> Tensor:
        error_BHW = (resize_flow(flow_B2HW, GRID) - true_B2HW).norm(dim=1) * model.frame_size
        return (error_BHW * weight_BHW).sum(dim=(1, 2)) / weight_BHW.sum(dim=(1, 2)).clamp_min(1)

    return {name: error(flow).cpu() for name, flow in flows.items()}


def classical_motion(frame_TCHW: Tensor) -> Motion:
    """The teacher's motion of one clip."""
    from lawm_core.worlds.teacher_flow import clip_flow, cut_motion

    byte_TCHW = (frame_TCHW * 255).round().byte().numpy()
    side = byte_TCHW.shape[-1]
    flow_UFHW = torch.from_numpy(clip_flow(byte_TCHW).astype(np.float32))
    return cut_motion(flow_UFHW, (0, 0, side), side, mirrored=False, reversed_time=False, grid=GRID)


def joined(kind: str, errors: list[dict[str, Tensor]], names: list[str] | None = None) -> list[Score]:
    """One score for each figure, of all clips."""
    return [mean_score(f"{kind}_{name}", torch.cat([e[name] for e in errors]), names) for name in errors[0]]
