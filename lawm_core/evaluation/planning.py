"""Compares plans searched in the world model with what was executed, for arm and rover [LAWM Tables S1, S2].

The goal is the last frame of a clip of a recorded episode. Plans are sequences of robot actions; the controller maps
each to a latent action in the state in which it is taken.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.data.episodes import LabelledBatch
from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, mean_score, ratio_score, track
from lawm_core.evaluation.trajectories import trajectory_errors
from lawm_core.model import LatentActionModel
from lawm_core.planning.cem import (
    CemConfig,
    SearchSpace,
    plan_by_cem,
    plan_steps,
    robot_search_space,
    straight_then_turn,
)
from lawm_core.planning.costs import GoalStateCost
from lawm_core.planning.dynamics import SimulatorDynamics, WorldModelDynamics
from lawm_core.simulation.recorder import seek
from lawm_core.simulation.robots import build_robot
from lawm_core.simulation.rover import next_pose
from lawm_core.simulation.simulator import SimulatorError
from lawm_core.types import Dynamics, Plan
from lawm_core.video.montage import enlarge

log = logging.getLogger(__name__)
MAX_PICTURES = 4  # number of clips whose start, goal and predicted end are shown, for each row of the report
POSE_TOLERANCE = 1e-3  # largest difference, in metres or radians, between a recorded pose and its simulation
ROVER_SAMPLES = 120  # plans that NWM samples, in a single iteration
Errors = dict[str, Tensor]  # errors of each clip's plan in metres, error_B, by name of the error


@torch.inference_mode()
def measure_planning_arm(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure plans of 3 steps for an arm.

    `delta_xyz`: for each of x, y and z, the absolute difference between the sum of the planned and the sum of the
    executed actions, summed over the three, in metres. `error_vs_zero`: delta_xyz divided by that of a plan without
    motion. `measure_planning` describes the rows.
    """
    return measure_planning(bench, progress, "arm", arm_cem(bench))


@torch.inference_mode()
def measure_planning_rover(bench: Bench, progress: Progress) -> SuiteResult:
    """Measure plans of 8 steps for a rover.

    `ate` and `rpe`: errors in metres, see `trajectory_errors`. `error_vs_zero`: ate divided by that of a plan without
    motion. `measure_planning` describes the rows.

    Plans are sampled as often as in NWM, but they repeat one action, because this rover turns as it drives. NWM's plans
    drive straight and turn once, at the end, further than this rover can in one step. They are also searched, for the
    first family at the highest capacity, in the row `FAMILY straight`.
    """
    samples = min(ROVER_SAMPLES, bench.config.plan_samples)
    return measure_planning(
        bench, progress, "rover", CemConfig(samples=samples, elites=min(5, samples), iterations=1), straight=True
    )


def arm_cem(bench: Bench) -> CemConfig:
    """Return the paper's settings of the search for an arm, but with the samples and iterations of the bench."""
    samples = bench.config.plan_samples
    return CemConfig(samples=samples, elites=min(10, samples), iterations=bench.config.plan_iterations)


def measure_planning(
    bench: Bench, progress: Progress, robot: str, cem: CemConfig, straight: bool = False
) -> SuiteResult:
    """Search and score plans for every clip at every setting; each setting is a row of the report.

    Other rows are for comparison. `zero`: plans without motion. `mean`: the mean action of the data in every step.
    `random`: random plans. `oracle`: plans searched in the simulator, for a few episodes. If the bench has baselines of
    the robot: `policy`, a goal-conditioned policy, and `labelled`, plans searched in a world model trained with robot
    actions.

    cem: settings of the search. straight: whether to also search plans that turn only in the last step. Raises
    ValueError without labelled episodes of the robot.
    """
    if robot not in bench.labelled:
        given = ", ".join(bench.labelled) or "no robot"
        raise ValueError(
            f"suite planning_{robot} needs labelled episodes of {robot}, got episodes of {given}; pass a folder of "
            f"{robot} episodes with --labels."
        )
    config = bench.model.robot(robot)
    batch = bench.labelled[robot].windows(plan_steps(robot) + 1, bench.config.episodes, bench.config.seed)
    planner = Planner(robot, batch, robot_search_space(robot, config), cem, bench.config.seed)
    mean_R = torch.tensor(config.mean)
    scores = planner.score("zero", torch.zeros_like(batch.action_BUR))
    scores += planner.score("mean", mean_R.expand_as(batch.action_BUR))
    scores += planner.score("random", planner.random_plans())
    states = planner.encode(bench.model)
    searches = [
        Search(planner, bench.model, states, setting) for setting in bench.settings(bench.config.key_capacities)
    ]
    if straight:
        limit_R, std_R = torch.tensor(config.limits), torch.tensor(config.std)
        space = straight_then_turn(mean_R, std_R, limit_R, plan_steps(robot))
        setting = Setting(bench.families[0], bench.config.capacities[-1])
        searches.append(Search(replace(planner, space=space), bench.model, states, setting, " straight"))
    if bench.config.oracle_episodes and batch.scene_B2 is not None:
        progress(0.0, "oracle, plans in the simulator")
        few = replace(planner, batch=batch.first(bench.config.oracle_episodes))
        try:
            scores += few.score("oracle", few.oracle_plans(bench.model, states))
        except SimulatorError as error:  # the other rows do not need the simulator
            log.warning("The report has no row `oracle` for the robot %s: %s", robot, error)
    if baseline := bench.baselines.get(robot):
        states = planner.encode(baseline)
        policy_BKR = baseline.policies[robot](states[:, 0], states[:, 1]).cpu()
        scores += planner.score("policy", policy_BKR)
        searches.insert(0, Search(planner, baseline, states, Setting(baseline.family_names[0], None)))
    pictures: dict[str, Tensor] = {}
    for i, search in enumerate(searches):
        plan_BKR, picture = search.run(progress, i, len(searches))
        if search.setting.capacity in (None, bench.config.capacities[-1]):
            pictures[f"{search.row}: start, goal, and predicted last frame of the plan"] = picture
        scores += search.planner.score(search.row, plan_BKR, search.setting.capacity)
    return SuiteResult(scores=scores, pictures=pictures)


@dataclass(frozen=True)
class Planner:
    """Searches plans that lead from the first to the last frame of clips of a robot, and scores them.

    batch: the clips, with executed actions and poses. space, cem: search space and settings of the search. seed: the
    search for clip i is seeded with seed + i.
    """

    robot: str
    batch: LabelledBatch
    space: SearchSpace
    cem: CemConfig
    seed: int

    def score(self, row: str, plan_BKR: Tensor, capacity: float | None = None) -> list[Score]:
        """Return the mean of each error of plans, and `error_vs_zero`: the first error divided by that without motion.

        row: name of the row in the report, stored as the family of the scores. capacity: None for rows without one.
        """
        errors, zero = (plan_errors(self.robot, p, self.batch) for p in (plan_BKR, torch.zeros_like(plan_BKR)))
        setting, first = Setting(row, capacity), next(iter(errors))
        scores = [mean_score(name, error_B, setting=setting) for name, error_B in errors.items()]
        return [*scores, ratio_score("error_vs_zero", errors[first], zero[first], setting=setting)]

    def encode(self, model: LatentActionModel) -> Tensor:
        """Return a model's states of the first frame (start) and the last frame (goal) of each clip, state_B2ND."""
        return torch.cat([model.encode(f[:, [0, -1]].to(model.device)) for f in self.batch.frame_BTCHW.split(16)])

    def search(self, dynamics: Dynamics, goal_ND: Tensor, index: int) -> Plan:
        """Search a plan for the clip with this index to a goal state; `dynamics` must begin at the clip's start."""
        generator = Generator().manual_seed(self.seed + index)
        return plan_by_cem(dynamics, GoalStateCost(goal_ND), self.space, self.cem, generator)

    def random_plans(self) -> Tensor:
        """Return plan_BKR, drawn uniformly within three initial standard deviations of 0 and within the limits."""
        limit_V = torch.minimum(self.space.high_V, 3 * self.space.std_V)
        generator = Generator().manual_seed(self.seed)
        uniform_BV = 2 * torch.rand(len(self.batch.frame_BTCHW), len(limit_V), generator=generator) - 1
        return self.space.to_plan(limit_V * uniform_BV)

    def oracle_plans(self, model: LatentActionModel, state_B2ND: Tensor) -> Tensor:
        """Return plans searched in the simulator instead of the world model, plan_BKR.

        The cost is still the distance between states of the model's encoder. Errors of these plans therefore come from
        the cost, the search and the goal, and not from predictions. state_B2ND: result of `encode`. Raises
        SimulatorError if the simulator cannot run or does not reproduce the recorded poses.
        """
        assert self.batch.scene_B2 is not None
        plans = []

        def encode(frame_SCHW: Tensor) -> Tensor:
            resized_SCHW = enlarge(frame_SCHW, model.frame_size).to(model.device)
            return torch.cat([model.encode(part[:, None])[:, 0] for part in resized_SCHW.split(64)])

        with contextlib.closing(build_robot(self.robot, frames_per_second=model.frames_per_second)) as simulator:
            for b, (seed, frame) in enumerate(self.batch.scene_B2.tolist()):
                dynamics = SimulatorDynamics(simulator, seek(simulator, seed, frame), encode)
                if not np.allclose(simulator.pose(), self.batch.pose_BTR[b, 0], atol=POSE_TOLERANCE):
                    raise SimulatorError(
                        f"scene {seed} differs from the recorded one: its pose at frame {frame} is {simulator.pose()}, "
                        f"recorded as {self.batch.pose_BTR[b, 0].tolist()}; run `lawm record` again."
                    )
                plans.append(self.search(dynamics, state_B2ND[b, 1], b).action_KR)
        return torch.stack(plans)


@dataclass(frozen=True)
class Search:
    """The search for the plans of one row of the report, in a model's predictions.

    state_B2ND: the model's states of starts and goals, from `Planner.encode`. suffix: added to the family's name to
    name the row.
    """

    planner: Planner
    model: LatentActionModel
    state_B2ND: Tensor
    setting: Setting
    suffix: str = ""

    @property
    def row(self) -> str:
        """Name of the row in the report."""
        return self.setting.family + self.suffix

    def run(self, progress: Progress, part: int, parts: int) -> tuple[Tensor, Tensor]:
        """Search a plan for every clip; return plan_BKR and frames of the first few clips, (clips, 3, C, H, W).

        The three frames are the start, the goal, and the predicted last frame of the plan. part, parts: see `track`.
        """
        plans, rows, batch = [], [], self.planner.batch
        prefix = f"{self.setting}{self.suffix}, episode "
        for b in track(range(len(self.state_B2ND)), progress, part, parts, prefix):
            start_1TND, goal_ND = self.state_B2ND[b : b + 1, :1], self.state_B2ND[b, 1]
            bound = self.setting.bind(self.model)
            dynamics = WorldModelDynamics(bound.start_rollout(start_1TND, robot=self.planner.robot))
            plan_KR = self.planner.search(dynamics, goal_ND, b).action_KR
            plans.append(plan_KR)
            if b < MAX_PICTURES:
                end_1ND = dynamics.unroll(plan_KR[None])
                end_1CHW = self.model.decode(torch.cat((start_1TND, end_1ND[:, None]), dim=1))[:, 1]
                rows.append(torch.cat((batch.frame_BTCHW[b, [0, -1]].to(end_1CHW), end_1CHW)))
        return torch.stack(plans), torch.stack(rows)


def plan_errors(robot: str, plan_BKR: Tensor, batch: LabelledBatch) -> Errors:
    """Return the errors of plans compared with what was executed: `delta_xyz` for an arm, else `ate` and `rpe`.

    The first one is the main error. For definitions see `measure_planning_arm` and `trajectory_errors`.
    """
    if robot == "arm":
        missed_BR = (plan_BKR.sum(dim=1) - batch.action_BUR.sum(dim=1)).abs()
        return {"delta_xyz": missed_BR[:, :3].sum(dim=1)}
    errors = [
        trajectory_errors(np.stack(list(accumulate(plan_KR, next_pose, initial=pose_TR[0]))[1:]), pose_TR[1:])
        for plan_KR, pose_TR in zip(plan_BKR.double().numpy(), batch.pose_BTR.double().numpy(), strict=True)
    ]
    ate_B, rpe_B = torch.tensor(errors).T
    return {"ate": ate_B, "rpe": rpe_B}
