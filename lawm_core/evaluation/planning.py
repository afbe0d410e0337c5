"""Plans through the world model, against what was really done: an arm's way [LAWM Table S1], a rover's [Table S2].

A picture is the goal. Known actions are searched; each is translated by the controller in the state it meets. An oracle
searches the simulator itself, where the episodes are our own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.contracts import Dynamics, Plan
from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, mean_score, ratio_score
from lawm_core.evaluation.trajectories import trajectory_errors
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.cem import CemConfig, Search, known_search, plan_by_cem, plan_steps, straight_search
from lawm_core.planning.dynamics import SimulatorDynamics, WorldModelDynamics
from lawm_core.planning.objectives import GoalState
from lawm_core.video.film import enlarge
from lawm_core.worlds.episodes import Labelled
from lawm_core.worlds.recorder import return_to
from lawm_core.worlds.robots import build_robot
from lawm_core.worlds.rover import moved
from lawm_core.worlds.simulator import SimulatorError

log = logging.getLogger(__name__)
PICTURED = 4
ALIKE = 1e-3  # metres and radians that a scene played again may be off
ROVER_SAMPLES = 120  # NWM's protocol: one iteration of these, the first ways drawn as the data's own are
Measure = Callable[[Tensor, Labelled], dict[str, Tensor]]  # plan_BHK and what was done, to figures a clip


@torch.inference_mode()
def measure_planning_arm(bench: Bench, progress: Progress) -> SuiteResult:
    """`delta_xyz`: |sum planned - sum true|, summed over x, y, z, in metres, over episodes of 4 frames; `relative`:
    over that of the planner that stays where it is. Rows zero, mean (the data's), random and oracle (of fewer episodes)
    stand beside the settings, and the rivals' where the bench has baselines.
    """
    config = bench.config
    search = CemConfig(
        samples=config.plan_samples, elites=min(10, config.plan_samples), iterations=config.plan_iterations
    )
    return measure_planning(
        bench, progress, "arm", search, arm_errors,
        lambda robot: known_search("arm", robot),
    )  # fmt: skip


@torch.inference_mode()
def measure_planning_rover(bench: Bench, progress: Progress) -> SuiteResult:
    """`ate` and `rpe` in metres over ways of 8 steps, by evo; `relative`: the ATE over that of standing still.

    NWM's budget, on ways that are one action again and again: a rover turns on its way, and never as far in one step as
    NWM's single turn at the end. The first family's row `straight`, at full capacity, is with that turn.
    """
    samples = min(ROVER_SAMPLES, bench.config.plan_samples)
    search = CemConfig(samples=samples, elites=min(5, samples), iterations=1)

    def straight(robot: ControllerConfig) -> Search:
        mean_K, spread_K, limit_K = (torch.tensor(x) for x in (robot.mean, robot.spread, robot.limits))
        return straight_search(mean_K, spread_K, limit_K, plan_steps("rover"))

    return measure_planning(
        bench, progress, "rover", search, rover_errors,
        lambda robot: known_search("rover", robot), {"straight": straight},
    )  # fmt: skip


def measure_planning(
    bench: Bench, progress: Progress, name: str, cem: CemConfig, measure: Measure,
    build_search: Callable[[ControllerConfig], Search],
    other_searches: dict[str, Callable[[ControllerConfig], Search]] | None = None,
) -> SuiteResult:  # fmt: skip
    """Plans for every episode at every setting, and what they miss by; the yardsticks' rows first. other_searches: by
    name, tried with the first family at full capacity alone.
    """
    if name not in bench.labelled:
        raise ValueError(f"this suite plans for {name}; a folder of its labelled episodes is needed.")
    about = bench.model.robot(name)
    pieces = bench.labelled[name].windows(plan_steps(name) + 1, bench.config.episodes, bench.config.seed)
    planner = Planner(name, pieces, build_search(about), cem, bench.config.seed)
    still_B = measure(torch.zeros_like(pieces.action_BUK), pieces)
    scores = rows(still_B, still_B, family="zero")
    scores += rows(measure(planner.by_habit(about), pieces), still_B, family="mean")
    scores += rows(measure(planner.by_chance(), pieces), still_B, family="random")
    ends_B2ND = planner.encode(bench.model)
    searched = [Searched(planner, bench.model, ends_B2ND, setting) for setting in bench.settings(bench.config.ends)]
    for title, build in (other_searches or {}).items():
        fullest = Setting(bench.families[0], bench.config.capacities[-1])
        searched.append(Searched(replace(planner, search=build(about)), bench.model, ends_B2ND, fullest, title))
    if bench.config.oracle_episodes and pieces.scene_B2 is not None:
        progress(0.0, "the oracle")
        few = replace(planner, pieces=pieces.first(bench.config.oracle_episodes))
        still_of_few_B = measure(torch.zeros_like(few.pieces.action_BUK), few.pieces)
        try:
            scores += rows(measure(few.by_oracle(bench.model, ends_B2ND), few.pieces), still_of_few_B, family="oracle")
        except SimulatorError as error:  # a yardstick less; the rest is measured all the same
            log.warning("There is no oracle for %s: %s", name, error)
    if rival := bench.baselines.get(name):
        ends_B2ND = planner.encode(rival)
        scores += rows(measure(planner.by_policy(rival, ends_B2ND), pieces), still_B, family="policy")
        searched.insert(0, Searched(planner, rival, ends_B2ND, Setting(rival.families[0], None)))
    pictures: dict[str, Tensor] = {}
    for i, one in enumerate(searched):

        def tell(done: float, what: str, i: int = i, one: Searched = one) -> None:
            progress((i + done) / len(searched), f"{one.title()} at {one.setting.capacity}, {what}")

        plan_BHK, shown = one.planner.through(one.model, one.ends_B2ND, one.setting, tell)
        if one.setting.capacity in (None, bench.config.capacities[-1]):
            pictures[f"{one.title()}: start, goal, where the plan leads"] = shown
        scores += rows(measure(plan_BHK, pieces), still_B, **one.setting.where() | {"family": one.title()})
    return SuiteResult(scores=scores, pictures=pictures)


@dataclass(frozen=True)
class Planner:
    """Plans from the first to the last frame of every piece of a robot's episodes."""

    robot: str
    pieces: Labelled
    search: Search
    cem: CemConfig
    seed: int

    def encode(self, model: LatentActionModel) -> Tensor:
        """Start and goal of every piece as a model's states, ends_B2ND."""
        return torch.cat([model.encode(f[:, [0, -1]].to(model.device)) for f in self.pieces.frame_BTCHW.split(16)])

    def through(
        self, model: LatentActionModel, ends_B2ND: Tensor, setting: Setting, progress: Progress
    ) -> tuple[Tensor, Tensor]:
        """plan_BHK by searching a world model, and of a few clips start, goal and the plan's end as pictures."""
        plans, lanes, clips = [], [], len(ends_B2ND)
        for b, ends_12ND in enumerate(ends_B2ND.split(1)):
            progress(b / clips, f"episode {b + 1} of {clips}")
            present = model.begin(ends_12ND[:, :1], robot=self.robot, **setting.arguments())
            dynamics = WorldModelDynamics(present)
            plan = self._search(dynamics, ends_12ND[0, 1], b)
            plans.append(plan.action_HK)
            if b < PICTURED:
                end_1ND = dynamics.unroll(plan.action_HK[None])
                shown_1CHW = model.decode(torch.cat((ends_12ND[:, :1], end_1ND[:, None]), dim=1))[:, 1]
                lanes.append(torch.cat((self.pieces.frame_BTCHW[b, [0, -1]].to(shown_1CHW), shown_1CHW)))
        return torch.stack(plans), torch.stack(lanes)

    def by_policy(self, model: LatentActionModel, ends_B2ND: Tensor) -> Tensor:
        """plan_BHK as a goal-conditioned policy answers."""
        return model.policies[self.robot](ends_B2ND[:, 0], ends_B2ND[:, 1]).cpu()

    def by_oracle(self, model: LatentActionModel, ends_B2ND: Tensor) -> Tensor:
        """plan_BHK by searching the simulator, with the model's states only as what tells ends from goals: what is left
        is due to those, to the search and to the goal. Raises SimulatorError where the episodes' scenes cannot be
        played again.
        """
        world, plans = build_robot(self.robot, frames_per_second=model.frames_per_second), []

        def encode(frame_SCHW: Tensor) -> Tensor:
            small_SCHW = enlarge(frame_SCHW, model.frame_size).to(model.device)
            return torch.cat([model.encode(part[:, None])[:, 0] for part in small_SCHW.split(64)])

        for b, (seed, frame) in enumerate(self.pieces.scene_B2.tolist()):
            dynamics = SimulatorDynamics(world, return_to(world, seed, frame), encode)
            if not np.allclose(world.pose(), self.pieces.pose_BTK[b, 0], atol=ALIKE):
                raise SimulatorError(f"scene {seed} is another one here; the simulator that made it is needed.")
            plans.append(self._search(dynamics, ends_B2ND[b, 1], b).action_HK)
        world.close()
        return torch.stack(plans)

    def _search(self, dynamics: Dynamics, goal_ND: Tensor, b: int) -> Plan:
        generator = Generator().manual_seed(self.seed + b)
        return plan_by_cem(dynamics, GoalState(goal_ND), self.search, self.cem, generator)

    def by_habit(self, about: ControllerConfig) -> Tensor:
        """plan_BHK of the data's mean action again and again."""
        clips, steps, _ = self.pieces.action_BUK.shape
        return torch.tensor(about.mean).expand(clips, steps, -1)

    def by_chance(self) -> Tensor:
        """plan_BHK drawn evenly from where the search looks first."""
        search, generator = self.search, Generator().manual_seed(self.seed)
        reach_P = torch.minimum(search.high_P, 3 * search.spread_P)
        chance_BP = 2 * torch.rand(len(self.pieces.frame_BTCHW), len(reach_P), generator=generator) - 1
        return search.shape(reach_P * chance_BP)


@dataclass(frozen=True)
class Searched:
    """A row to come: whose plans through which model at which setting. how: the search, where it is not the suite's."""

    planner: Planner
    model: LatentActionModel
    ends_B2ND: Tensor
    setting: Setting
    how: str = ""

    def title(self) -> str:
        """The row's name."""
        return f"{self.setting.family} {self.how}".strip()


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
