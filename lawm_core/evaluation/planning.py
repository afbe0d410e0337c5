"""Plans through the world model, against what was really done: an arm's way [LAWM Table S1], a rover's [Table S2].

A picture is the goal. Known actions are searched; each is translated by the controller in the state it meets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score, ratio_score
from lawm_core.evaluation.trajectories import trajectory_errors
from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.cem import CemConfig, Search, free_search, plan_by_cem, straight_search
from lawm_core.planning.dynamics import WorldModelDynamics
from lawm_core.planning.objectives import GoalState
from lawm_core.worlds.episodes import Labelled
from lawm_core.worlds.rover import moved

ARM_STEPS, ROVER_STEPS = 3, 8
ROVER_SAMPLES = 120  # NWM's protocol: one iteration of these, the first ways drawn as the data's own are
Measure = Callable[[Tensor, Labelled], dict[str, Tensor]]  # plan_BHK and what was done, to figures a clip


@torch.inference_mode()
def measure_planning_arm(bench: Bench, progress: Progress) -> SuiteResult:
    """`delta_xyz`: |sum planned - sum true|, summed over x, y, z, in metres, over episodes of 4 frames; `relative`:
    over that of the planner that stays where it is. Rows zero and random stand beside the settings.
    """
    config = bench.config
    search = CemConfig(
        samples=config.plan_samples, elites=min(10, config.plan_samples), iterations=config.plan_iterations
    )
    return measure_planning(
        bench, progress, "arm", ARM_STEPS, search, arm_errors,
        lambda robot: free_search(torch.tensor(robot.limits), ARM_STEPS),
    )  # fmt: skip


@torch.inference_mode()
def measure_planning_rover(bench: Bench, progress: Progress) -> SuiteResult:
    """`ate` and `rpe` in metres over ways of 8 steps, by evo; `relative`: the ATE over that of standing still."""
    samples = min(ROVER_SAMPLES, bench.config.plan_samples)
    search = CemConfig(samples=samples, elites=min(5, samples), iterations=1)

    def ways(robot: ControllerConfig) -> Search:
        mean_K, spread_K, limit_K = (torch.tensor(x) for x in (robot.mean, robot.spread, robot.limits))
        return straight_search(mean_K, spread_K, limit_K, ROVER_STEPS)

    return measure_planning(bench, progress, "rover", ROVER_STEPS, search, rover_errors, ways)


def measure_planning(
    bench: Bench, progress: Progress, name: str, steps: int, cem: CemConfig, measure: Measure,
    build_search: Callable[[ControllerConfig], Search],
) -> SuiteResult:  # fmt: skip
    """Plans for every episode at every setting, and what they miss by."""
    if name not in bench.labelled:
        raise ValueError(f"this suite plans for {name}; a folder of its labelled episodes is needed.")
    robot = bench.model.robot(name)
    pieces = bench.labelled[name].windows(steps + 1, bench.config.episodes, bench.config.seed)
    state_BTND = bench.encode(pieces.frame_BTCHW.to(bench.model.device))
    search, clips = build_search(robot), len(state_BTND)
    still_B = measure(torch.zeros_like(pieces.action_BUK), pieces)
    generator = Generator().manual_seed(bench.config.seed)
    limit_P = torch.minimum(search.high_P, 3 * search.spread_P)
    chance_BHK = search.shape(limit_P * (2 * torch.rand(clips, len(limit_P), generator=generator) - 1))
    scores = rows(still_B, still_B, family="zero") + rows(measure(chance_BHK, pieces), still_B, family="random")
    pictures: dict[str, Tensor] = {}
    settings = list(bench.settings(bench.config.ends))
    for i, setting in enumerate(settings):
        plans, ends = [], []
        for b in range(clips):
            progress(
                (i + b / clips) / len(settings), f"{setting.family} at {setting.capacity}, episode {b + 1} of {clips}"
            )
            dynamics = open_dynamics(bench, state_BTND[b : b + 1, :1], name, setting)
            generator = Generator().manual_seed(bench.config.seed + b)
            plan = plan_by_cem(dynamics, GoalState(state_BTND[b, -1]), search, cem, generator)
            plans.append(plan.action_HK)
            if b < 4 and setting.capacity == bench.config.capacities[-1]:
                ends.append(dynamics.unroll(plan.action_HK[None]))
        scores += rows(measure(torch.stack(plans), pieces), still_B, **setting.where())
        if ends:
            shown_BCHW = bench.show(state_BTND[: len(ends), :1], torch.stack(ends))[:, 0]
            frame_BTCHW = pieces.frame_BTCHW[: len(ends), [0, -1]].to(shown_BCHW)
            pictures[f"{setting.family}: start, goal, where the plan leads"] = torch.cat(
                (frame_BTCHW, shown_BCHW[:, None]), dim=1
            )
    return SuiteResult(scores=scores, pictures=pictures)


def open_dynamics(bench: Bench, first_11ND: Tensor, robot: str, setting: Setting) -> WorldModelDynamics:
    """The world from one state on, told in a robot's known actions."""
    return WorldModelDynamics(bench.model.begin(first_11ND, robot=robot, **setting.arguments()))


def rows(value_B: dict[str, Tensor], still_B: dict[str, Tensor], **where: object) -> list[Score]:
    """Means, and the first figure over what standing still has of it."""
    first = next(iter(value_B))
    out = [mean_score(name, value, **where) for name, value in value_B.items()]
    return [*out, ratio_score("relative", value_B[first], still_B[first], **where)]


def arm_errors(plan_BHK: Tensor, done: Labelled) -> dict[str, Tensor]:
    """delta_xyz of each episode, in metres."""
    missed_BK = (plan_BHK.sum(dim=1) - done.action_BUK.sum(dim=1)).abs()
    return {"delta_xyz": missed_BK[:, :3].sum(dim=1)}


def rover_errors(plan_BHK: Tensor, done: Labelled) -> dict[str, Tensor]:
    """ATE and RPE of each episode, in metres: poses after the first, in the first one's field axes."""
    errors = []
    for plan_HK, pose_TK in zip(plan_BHK.double().numpy(), done.pose_BTK.double().numpy(), strict=True):
        pose, way = pose_TK[0], []
        for action_K in plan_HK:
            pose = moved(pose, action_K)
            way.append(pose)
        errors.append(trajectory_errors(np.stack(way), pose_TK[1:]))
    ate_B, rpe_B = torch.tensor(errors).T
    return {"ate": ate_B, "rpe": rpe_B}
