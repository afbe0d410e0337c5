"""Accuracy of optical flow: of the flow read from two frames, and of the flow that the world model predicts.

In synthetic scenes, the true flow is known exactly. On real clips, the classical flow that training also uses stands in
for it, at positions where its forward and backward flow agree; real clips are left out if OpenCV is not installed.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Generator, Tensor

from lawm_core.data.motion_labels import Motion, true_motion
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.data.teacher_flow import measure_motion
from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score
from lawm_core.evaluation.synthetic import scene_kinds
from lawm_core.models.flow import resize_flow

GRID = 64  # height and width at which flows are compared
BATCH = 8  # synthetic scenes rendered together


@torch.inference_mode()
def measure_flow(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure end-point errors, the distances between estimated and true flow vectors, in pixels of the model's frames.

    Only positions count whose true flow is known and whose content is visible in both frames. KIND is the kind of
    scene: `camera`, `objects` or `real`. `KIND_read`: error of the flow read from two frames. `KIND_predicted`: error
    of the world model's flow under the inferred action. `KIND_zero`: error of a flow of zeros, as a baseline.
    """
    scores: list[Score] = []
    kinds, stills_XCHW, clips = scene_kinds(bench.model.frame_size), bench.stills(), bench.config.synthetic_clips
    for k, (kind, config) in enumerate(kinds.items()):
        generator = Generator().manual_seed(bench.config.seed)
        scenes, errors = SyntheticScenes(config, stills_XCHW), []
        for first in range(0, clips, BATCH):
            progress((k + first / clips) / (len(kinds) + 1), f"synthetic scenes, {kind}")
            actions = scenes.draw_track(min(BATCH, clips - first), 2, generator)
            frame_BTCHW, outlines = scenes.render_with_outlines(actions, generator)
            errors.append(flow_errors(bench, frame_BTCHW, true_motion(actions, outlines, GRID)))
        scores += flow_scores(kind, errors)
    if bench.dataset is not None and importlib.util.find_spec("cv2"):
        progress(len(kinds) / (len(kinds) + 1), "real clips")
        frame_BTCHW, names = bench.dataset.windows(2, bench.config.windows)
        motion = Motion.join([measure_motion(frame_TCHW, GRID) for frame_TCHW in frame_BTCHW])
        scores += flow_scores("real", [flow_errors(bench, frame_BTCHW, motion)], names)
    return SuiteResult(scores=scores)


def flow_errors(bench: Bench, frame_BTCHW: Tensor, motion: Motion) -> dict[str, Tensor]:
    """Return the mean end-point error of each clip, error_B in pixels of the model's frames, of the flows `read`,
    `predicted` and `zero`. frame_BTCHW: clips of two frames. motion: their true flow on a GRID x GRID grid.
    """
    model = bench.model
    state_BTND = bench.encode(frame_BTCHW.to(model.device))
    bound = model.at(capacity=1.0)
    flows = {
        "read": model.read_flow(state_BTND)[:, 0],
        "predicted": bound.rollout(state_BTND[:, :1], bound.infer_actions(state_BTND)).flow_BU2HW[:, 0],
        "zero": torch.zeros(len(state_BTND), 2, GRID, GRID, device=model.device),
    }
    weight_BHW = (motion.visible_BU1HW * motion.known_BU1HW)[:, 0, 0].to(model.device)
    true_B2HW = motion.flow_BU2HW[:, 0].to(model.device)

    def error(flow_B2HW: Tensor) -> Tensor:
        error_BHW = (resize_flow(flow_B2HW, GRID) - true_B2HW).norm(dim=1) * model.frame_size
        return (error_BHW * weight_BHW).sum(dim=(1, 2)) / weight_BHW.sum(dim=(1, 2)).clamp_min(1)

    return {name: error(flow).cpu() for name, flow in flows.items()}


def flow_scores(kind: str, errors: list[dict[str, Tensor]], names: list[str] | None = None) -> list[Score]:
    """Return the scores of one kind of scene. errors: results of `flow_errors`, one for each batch."""
    return [mean_score(f"{kind}_{name}", torch.cat([error[name] for error in errors]), names) for name in errors[0]]
