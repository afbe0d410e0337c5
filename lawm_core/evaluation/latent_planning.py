"""Plans searched straight in latent actions, which the paper leaves open, beside plans searched in known ones.

No command is needed to imagine a way to a goal: latent actions are drawn at first by a sampler, the bottleneck's own or
the learned one, and then narrowed down. What a command would have to be is read back afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from lawm_core.evaluation.bench import Bench, Setting
from lawm_core.evaluation.planning import arm_errors, rover_errors
from lawm_core.evaluation.scores import Progress, Score, SuiteResult, ratio_score
from lawm_core.model import LatentActionModel
from lawm_core.planning.cem import CemConfig, Search, free_search, known_search, plan_by_cem, plan_steps
from lawm_core.planning.dynamics import ControllerDynamics, WorldModelDynamics
from lawm_core.planning.objectives import GoalState
from lawm_core.planning.present import Present

EPISODES = 16  # at most: every one is searched in three ways
DRAWN = 256  # actions that tell how wide a sampler's draws lie
READ_BACK = CemConfig(samples=64, elites=8, iterations=8)
MEASURES = {"arm": arm_errors, "rover": rover_errors}


@torch.inference_mode()
def measure_planning_latents(bench: Bench, progress: Progress) -> SuiteResult:
    """For each robot and family at the highest capacity, of plans searched in `known` actions, in latent ones first
    drawn from the `prior`, or by the `learned` sampler: ROBOT_HOW_`goal`, the imagined end's distance to the goal over
    the start's; ROBOT_HOW_`missed`, the suite's own error (delta_xyz, ATE) of the commands over standing still's.
    """
    if not bench.labelled:
        raise ValueError("this suite plans for robots; a folder of labelled episodes is needed.")
    config = bench.config
    cem = CemConfig(samples=config.plan_samples, elites=min(10, config.plan_samples), iterations=config.plan_iterations)
    scores: list[Score] = []
    settings = list(bench.settings(config.ends[-1:]))
    for r, (robot, world) in enumerate(bench.labelled.items()):
        pieces = world.windows(plan_steps(robot) + 1, min(config.episodes, EPISODES), config.seed)
        state_B2ND = bench.encode(pieces.frame_BTCHW[:, [0, -1]].to(bench.model.device))
        still_B = next(iter(MEASURES[robot](torch.zeros_like(pieces.action_BUK), pieces).values()))
        for i, setting in enumerate(settings):
            searcher = LatentPlanner(bench.model, robot, setting, cem)
            for j, how in enumerate(hows := ("known", *reversed(bench.model.samplers(setting.family)))):
                progress((r + (i + j / len(hows)) / len(settings)) / len(bench.labelled), f"{robot}, {setting}, {how}")
                found = [searcher.plan(e_12ND, how, config.seed + b) for b, e_12ND in enumerate(state_B2ND.split(1))]
                known_BHK, cost_B = torch.stack([k for k, _ in found]), torch.tensor([cost for _, cost in found])
                apart_B = torch.cat([GoalState(e_2ND[1]).cost(e_2ND[:1]) for e_2ND in state_B2ND])
                missed_B = next(iter(MEASURES[robot](known_BHK.cpu(), pieces).values()))
                where = setting.where()
                scores.append(ratio_score(f"{robot}_{how}_goal", cost_B, apart_B, **where))
                scores.append(ratio_score(f"{robot}_{how}_missed", missed_B, still_B, **where))
    return SuiteResult(scores=scores)


@dataclass(frozen=True)
class LatentPlanner:
    """Searches ways for one robot at one setting. An arm's steps differ; a rover's are one action again and again."""

    model: LatentActionModel
    robot: str
    setting: Setting
    cem: CemConfig

    def plan(self, ends_12ND: Tensor, how: str, seed: int) -> tuple[Tensor, float]:
        """The commands of the best way from one state to another, known_HK, and how far from the goal it is imagined to
        end. how: `known`, or the name of a sampler.
        """
        generator, goal = Generator().manual_seed(seed), GoalState(ends_12ND[0, 1])
        present = self.model.begin(ends_12ND[:, :1], robot=self.robot, **self.setting.arguments())
        if how == "known":
            search = known_search(self.robot, self.model.robot(self.robot))
            plan = plan_by_cem(WorldModelDynamics(present), goal, search, self.cem, generator)
            return plan.action_HK, plan.cost
        search = self.latent_search(ends_12ND[:, 0], how, generator)
        told_in_latents = WorldModelDynamics(replace(present, controller=None))
        plan = plan_by_cem(told_in_latents, goal, search, self.cem, generator)
        return self.read_back(present, plan.action_HK, generator), plan.cost

    def latent_search(self, state_1ND: Tensor, sampler: str, generator: Generator) -> Search:
        """Over latent actions, within what the sampler draws in this state."""
        steps = plan_steps(self.robot)
        free = steps if self.robot == "arm" else 1

        def draw(count: int, generator: Generator) -> Tensor:
            """count searched vectors, parameter_SP: a sampled action for each free step, one after another."""
            state_XND = state_1ND.expand(count * free, -1, -1)
            drawn_XA = self.model.sample_actions(
                state_XND, sampler=sampler, generator=generator, **self.setting.arguments()
            )
            return drawn_XA.unflatten(0, (count, free)).flatten(1)

        def shape(parameter_SP: Tensor) -> Tensor:
            latent_SHA = parameter_SP.unflatten(1, (free, -1)).expand(-1, steps if free == 1 else -1, -1)
            arguments = self.setting.arguments()
            capacity_S = self.model.dial(arguments["capacity"], latent_SHA)
            return self.model.settle(latent_SHA, arguments["family"], capacity_S)

        drawn_XP = draw(DRAWN, generator)
        return Search(
            mean_P=drawn_XP.mean(dim=0),
            spread_P=drawn_XP.std(dim=0).clamp_min(1e-6),
            low_P=drawn_XP.amin(dim=0),
            high_P=drawn_XP.amax(dim=0),
            shape=shape,
            first=draw,
        )

    def read_back(self, present: Present, latent_HA: Tensor, generator: Generator) -> Tensor:
        """The known actions whose latent ones come nearest, step by step on the imagined way: known_HK."""
        limit_K, told = torch.tensor(self.model.robot(self.robot).limits), []
        for latent_1A in latent_HA.split(1):
            search = free_search(limit_K, steps=1)
            told.append(plan_by_cem(ControllerDynamics(present), GoalState(latent_1A), search, READ_BACK, generator))
            present = present.act(latent_1A)
        return torch.cat([plan.action_HK for plan in told])
