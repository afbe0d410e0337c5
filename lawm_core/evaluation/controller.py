"""Compares rollouts under robot actions with rollouts under inferred actions [LAWM Tables S1, S2]."""

from __future__ import annotations

import torch
from torch import Tensor

from lawm_core.data.episodes import LabelledBatch
from lawm_core.evaluation.bench import Bench, join_rollouts, select_clips, state_error
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, mean_score, ratio_score, track
from lawm_core.models.controller import ACTION_ONLY
from lawm_core.types import Rollout


@torch.inference_mode()
def measure_controller(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure the controllers of every robot in rollouts from one frame that last `SuiteConfig.seconds`.

    The names of scores begin with the robot's name. `idm_error`: L1 distance of states under inferred actions.
    `idm_error_vs_copying`: the same, divided by the error of repeating the first frame. `controller_error`: L1 distance
    of states under robot actions. `error_ratio`: controller_error / idm_error. `motion_ratio`: distance of the
    predicted states from the first state under robot actions, divided by the same distance under inferred actions. The
    last three are also measured for controllers that do not see the state; the names of those scores begin with
    ROBOT_action_only.

    Raises ValueError without labelled episodes.
    """
    if not bench.labelled:
        raise ValueError(
            "suite controller needs labelled robot episodes, got none; pass a folder of them with --labels."
        )
    scores: list[Score] = []
    pictures: dict[str, Tensor] = {}
    for r, (robot, dataset) in enumerate(bench.labelled.items()):
        batch = dataset.windows(bench.steps + 1, bench.config.episodes, bench.config.seed)
        frame_BTCHW = batch.frame_BTCHW.to(bench.model.device)
        state_BTND = bench.encode(frame_BTCHW)
        settings = bench.settings(bench.config.key_capacities)
        for setting in track(settings, progress, r, len(bench.labelled), f"{robot}, "):
            found, rollout = score_controllers(bench, robot, batch, state_BTND, setting)
            scores += found
            if setting.capacity == bench.config.capacities[-1]:
                rendered_1UCHW = bench.render(frame_BTCHW[:1], select_clips(rollout, slice(1)))
                rendered_1TCHW = torch.cat((frame_BTCHW[:1, :1], rendered_1UCHW), dim=1)
                title = f"{robot}, {setting.family}: ground truth, and rollout under the same robot actions"
                pictures[title] = torch.cat((frame_BTCHW[:1], rendered_1TCHW))
    return SuiteResult(scores=scores, pictures=pictures)


def score_controllers(
    bench: Bench, robot: str, batch: LabelledBatch, state_BTND: Tensor, setting: Setting
) -> tuple[list[Score], Rollout]:
    """Return the scores of one robot at one setting, and the rollout under its robot actions."""
    first_B1ND, true_BUND = state_BTND[:, :1], state_BTND[:, 1:]
    inferred_BUND = bench.predict(first_B1ND, bench.infer(state_BTND, setting), setting)
    idm_B, copying_B = state_error(inferred_BUND, true_BUND), state_error(first_B1ND, true_BUND)
    idm_motion_B = state_error(inferred_BUND, first_B1ND)
    scores = [
        mean_score(f"{robot}_idm_error", idm_B, setting=setting),
        ratio_score(f"{robot}_idm_error_vs_copying", idm_B, copying_B, setting=setting),
    ]
    rollouts: dict[str, Rollout] = {}
    for name in (robot, robot + ACTION_ONLY):
        if name in bench.model.controllers:
            rollouts[name] = roll_out_robot(bench, first_B1ND, batch.action_BUR.to(first_B1ND), name, setting)
            predicted_BUND = rollouts[name].state_BUND
            error_B, motion_B = state_error(predicted_BUND, true_BUND), state_error(predicted_BUND, first_B1ND)
            scores += [
                mean_score(f"{name}_controller_error", error_B, setting=setting),
                ratio_score(f"{name}_error_ratio", error_B, idm_B, setting=setting),
                ratio_score(f"{name}_motion_ratio", motion_B, idm_motion_B, setting=setting),
            ]
    return scores, rollouts[robot]


def roll_out_robot(bench: Bench, first_B1ND: Tensor, robot_action_BUR: Tensor, robot: str, setting: Setting) -> Rollout:
    """Return the rollout under robot actions; each is mapped to a latent action in the state in which it is taken."""
    bound, parts = setting.bind(bench.model), zip(first_B1ND.split(16), robot_action_BUR.split(16), strict=True)
    start = lambda state_B1ND: bound.start_rollout(state_B1ND, robot=robot, precision="float32")
    return join_rollouts([start(state_B1ND).rollout(action_BUR) for state_B1ND, action_BUR in parts])
