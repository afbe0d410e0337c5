"""Compares plans that are searched in latent actions, which the paper leaves open, with plans searched in robot
actions.

The search in latent actions needs no controller: latent actions are first sampled by the bottleneck's prior or by the
learned sampler, and then refined by the cross-entropy method. Afterwards, a second search finds the robot actions whose
latent actions come closest to the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench
from lawm_core.evaluation.planning import arm_cem, plan_errors
from lawm_core.evaluation.scores import Progress, Score, Setting, SuiteResult, ratio_score
from lawm_core.model import BoundFamily, LatentActionModel
from lawm_core.planning.cem import (
    CemConfig,
    SearchSpace,
    independent_steps,
    plan_by_cem,
    plan_steps,
    robot_search_space,
)
from lawm_core.planning.costs import GoalStateCost
from lawm_core.planning.dynamics import ControllerDynamics, WorldModelDynamics
from lawm_core.planning.rollout_state import RolloutState

MAX_EPISODES = 16  # largest number of episodes of a robot; each is planned in three search spaces
SAMPLES = 256  # number of sampled plans from which the limits, mean and deviation of a search space are estimated
ROBOT_ACTIONS = "robot_actions"  # name of the search space of robot actions
INVERSION = CemConfig(samples=64, elites=8, iterations=8)  # for the search of a latent action's robot action


@torch.inference_mode()
def measure_planning_latents(bench: Bench, progress: Progress) -> SuiteResult:
    """Plan for each robot and family at the highest capacity, in each of three search spaces.

    SPACE is `robot_actions`, `prior` or `learned`. The last two are latent actions, first sampled by the sampler of
    that name. `ROBOT_SPACE_goal_distance`: distance of the plan's predicted final state from the goal, divided by the
    distance of the start from the goal. `ROBOT_SPACE_error_vs_zero`: error of the plan's robot actions (delta_xyz of an
    arm, ATE of a rover), divided by the error of staying at rest. Raises ValueError without labelled episodes.
    """
    if not bench.labelled:
        raise ValueError("suite planning_latents needs labelled robot episodes, got none; pass a folder with --labels.")
    config, scores = bench.config, list[Score]()
    settings = bench.settings(config.key_capacities[-1:])
    for r, (robot, dataset) in enumerate(bench.labelled.items()):
        batch = dataset.windows(plan_steps(robot) + 1, min(config.episodes, MAX_EPISODES), config.seed)
        state_B2ND = bench.encode(batch.frame_BTCHW[:, [0, -1]].to(bench.model.device))
        distance_B = torch.cat([GoalStateCost(ends_2ND[1]).cost(ends_2ND[:1]) for ends_2ND in state_B2ND])
        error = lambda plan_BKR, robot=robot, batch=batch: next(iter(plan_errors(robot, plan_BKR, batch).values()))
        zero_B = error(torch.zeros_like(batch.action_BUR))
        for i, setting in enumerate(settings):
            planner = LatentPlanner(bench.model, robot, setting, arm_cem(bench))
            spaces = (ROBOT_ACTIONS, *reversed(planner.bound.samplers))
            for j, space in enumerate(spaces):
                done = (r + (i + j / len(spaces)) / len(settings)) / len(bench.labelled)
                progress(done, f"{robot}, {setting}, {space}")
                found = [planner.plan(state, space, config.seed + b) for b, state in enumerate(state_B2ND.split(1))]
                plan_BKR, cost_B = torch.stack([plan for plan, _ in found]), torch.tensor([cost for _, cost in found])
                name = f"{robot}_{space}"
                scores.append(ratio_score(f"{name}_goal_distance", cost_B, distance_B, setting=setting))
                scores.append(ratio_score(f"{name}_error_vs_zero", error(plan_BKR.cpu()), zero_B, setting=setting))
    return SuiteResult(scores=scores)


@dataclass(frozen=True)
class LatentPlanner:
    """Searches plans for one robot at one setting.

    Each step of an arm's plan has an action of its own; other robots repeat one action in all steps. cem: settings of
    the search for the plan.
    """

    model: LatentActionModel
    robot: str
    setting: Setting
    cem: CemConfig

    @property
    def bound(self) -> BoundFamily:
        """The model's family at the capacity of the setting."""
        return self.setting.bind(self.model)

    def plan(self, state_12ND: Tensor, space: str, seed: int) -> tuple[Tensor, float]:
        """Search a plan; return its robot actions, (K, R), and its predicted cost.

        state_12ND: the states of start and goal. space: what is searched, ROBOT_ACTIONS or the name of a sampler.
        """
        generator, goal = Generator().manual_seed(seed), GoalStateCost(state_12ND[0, 1])
        start = self.bound.start_rollout(state_12ND[:, :1], robot=self.robot)
        if space == ROBOT_ACTIONS:
            robot_space = robot_search_space(self.robot, self.model.robot(self.robot))
            plan = plan_by_cem(WorldModelDynamics(start), goal, robot_space, self.cem, generator)
            return plan.action_KR, plan.cost
        latent_space = self.latent_space(state_12ND[:, 0], space, generator)
        dynamics = WorldModelDynamics(replace(start, controller=None))
        plan = plan_by_cem(dynamics, goal, latent_space, self.cem, generator)
        return self.to_robot_actions(start, plan.action_KR, generator), plan.cost

    def latent_space(self, state_1ND: Tensor, sampler: str, generator: Generator) -> SearchSpace:
        """Return a search space that covers the latent actions that a sampler draws in a state."""
        steps = plan_steps(self.robot)
        free = steps if self.robot == "arm" else 1  # number of different actions in a plan

        def draw(count: int, generator: Generator) -> Tensor:
            """Return variable_SV: for each of `count` plans, `free` sampled actions, concatenated."""
            state_XND = state_1ND.expand(count * free, -1, -1)
            action_XA = self.bound.sample_actions(state_XND, sampler, generator)
            return action_XA.unflatten(0, (count, free)).flatten(1)

        def to_plan(variable_SV: Tensor) -> Tensor:
            action_SKA = variable_SV.unflatten(1, (free, -1)).expand(-1, steps if free == 1 else -1, -1)
            return self.bound.project(action_SKA)

        drawn_XV = draw(SAMPLES, generator)
        return SearchSpace(
            mean_V=drawn_XV.mean(dim=0),
            std_V=drawn_XV.std(dim=0).clamp_min(1e-6),
            low_V=drawn_XV.amin(dim=0),
            high_V=drawn_XV.amax(dim=0),
            to_plan=to_plan,
            init=draw,
        )

    def to_robot_actions(self, start: RolloutState, action_KA: Tensor, generator: Generator) -> Tensor:
        """Return the robot actions whose latent actions come closest to those of a plan, (K, R).

        They are searched step by step; the state at each step is predicted with the plan's latent actions before it.
        """
        space, plans = independent_steps(torch.tensor(self.model.robot(self.robot).limits), steps=1), []
        for action_1A in action_KA.split(1):
            cost, dynamics = GoalStateCost(action_1A), ControllerDynamics(start)
            plans.append(plan_by_cem(dynamics, cost, space, INVERSION, generator).action_KR)
            start = start.apply(action_1A)
        return torch.cat(plans)
