"""Planning with the cross-entropy method (Rubinstein 1999): sample plans, keep those with the lowest cost (the elites),
and sample the next plans around them. The numbers of samples, elites and iterations follow [LAWM §4].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.models.controller import ControllerConfig
from lawm_core.types import Dynamics, Plan, PlanningCost

PLAN_STEPS = {"arm": 3, "rover": 8}  # as the paper plans for manipulation and for navigation


def plan_steps(robot: str) -> int:
    """Return the number of steps in a plan of a robot. Robots other than the simulated ones have the rover's number."""
    return PLAN_STEPS.get(robot, PLAN_STEPS["rover"])


@dataclass(frozen=True, kw_only=True)
class CemConfig:
    """Settings of the search. The defaults are the paper's for manipulation.

    samples: number of plans sampled in each iteration. elites: number of plans with the lowest cost, to which the next
    sampling distribution is fitted. min_std: lower limit of the sampling standard deviation, as a fraction of the
    initial one.
    """

    samples: int = 300
    elites: int = 10
    iterations: int = 15
    min_std: float = 0.02

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.samples:
            raise ValueError(
                f"elites must be at least 1 and at most samples, got elites={self.elites} and samples={self.samples}."
            )
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}.")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The V variables that describe a plan, and how they are sampled at first.

    mean_V, std_V: mean and standard deviation of the Gaussian that the first iteration samples from. low_V, high_V:
    limits to which samples are clamped. to_plan: maps variables, variable_SV, to plans, plan_SKR. init: if given, draws
    the variables of the first iteration instead of the Gaussian, from the number of samples and a generator.
    """

    mean_V: Tensor
    std_V: Tensor
    low_V: Tensor
    high_V: Tensor
    to_plan: Callable[[Tensor], Tensor]
    init: Callable[[int, Generator], Tensor] | None = None

    def __post_init__(self) -> None:
        if not (self.low_V <= self.high_V).all() or not (self.std_V > 0).all():
            raise ValueError(
                f"low_V must not exceed high_V, and std_V must be above 0, in every variable; got low_V={self.low_V}, "
                f"high_V={self.high_V}, std_V={self.std_V}."
            )


def independent_steps(limit_R: Tensor, steps: int, std_R: Tensor | None = None) -> SearchSpace:
    """Return a search space in which every step has variables of its own, as in jepa-wms.

    limit_R: largest absolute value of each action dimension. std_R: initial standard deviation of each dimension around
    0; by default limit_R.
    """
    limit_V = limit_R.repeat(steps)
    return SearchSpace(
        mean_V=torch.zeros_like(limit_V),
        std_V=limit_V if std_R is None else std_R.repeat(steps),
        low_V=-limit_V,
        high_V=limit_V,
        to_plan=lambda variable_SV: variable_SV.unflatten(1, (steps, -1)),
    )


def straight_then_turn(mean_R: Tensor, std_R: Tensor, limit_R: Tensor, steps: int) -> SearchSpace:
    """Return a search space of plans that repeat one displacement and turn in the last step only, as in NWM.

    The variables are one action: the displacement of every step, then the turn. mean_R, std_R: their initial mean and
    standard deviation. limit_R: largest absolute value of each dimension of a single action; the turn may be `steps`
    times as large.
    """
    limit_V = limit_R.clone()
    limit_V[-1] *= steps

    def to_plan(variable_SV: Tensor) -> Tensor:
        plan_SKR = variable_SV[:, None].repeat(1, steps, 1)
        plan_SKR[:, :-1, -1] = 0
        return plan_SKR

    return SearchSpace(mean_V=mean_R, std_V=std_R, low_V=-limit_V, high_V=limit_V, to_plan=to_plan)


def constant_action(mean_R: Tensor, std_R: Tensor, limit_R: Tensor, steps: int) -> SearchSpace:
    """Return a search space of plans that repeat one action in every step, such as straight lines and arcs.

    mean_R, std_R: initial mean and standard deviation of the action. limit_R: its largest absolute values.
    """
    return SearchSpace(
        mean_V=mean_R,
        std_V=std_R,
        low_V=-limit_R,
        high_V=limit_R,
        to_plan=lambda variable_SV: variable_SV[:, None].expand(-1, steps, -1),
    )


def robot_search_space(robot: str, config: ControllerConfig) -> SearchSpace:
    """Return the search space of a robot: independent steps for the arm, one repeated action for other robots.

    config: of the robot's controllers, with the mean, standard deviation and limits of the training actions. The first
    samples have that standard deviation, because samples as wide as the limits would mostly be actions that no model
    was trained on. Their mean is that of the training actions, or 0 for the arm.
    """
    mean_R, std_R, limit_R = (torch.tensor(x) for x in (config.mean, config.std, config.limits))
    if robot == "arm":
        return independent_steps(limit_R, plan_steps(robot), std_R)
    return constant_action(mean_R, std_R, limit_R, plan_steps(robot))


def plan_by_cem(
    dynamics: Dynamics, cost: PlanningCost, space: SearchSpace, config: CemConfig, generator: Generator
) -> Plan:
    """Search a plan of low cost and return the one of the last iteration; deterministic given the generator."""
    *_, plan = iterate_cem(dynamics, cost, space, config, generator)
    return plan


def iterate_cem(
    dynamics: Dynamics, cost: PlanningCost, space: SearchSpace, config: CemConfig, generator: Generator
) -> Iterator[Plan]:
    """Yield the plan after each iteration, so that the caller can stop early.

    The plan is the mean of the elites instead of the best sample, because predicted costs are uncertain, and the best
    sample is often one whose cost is underestimated. Whenever samples are drawn from the Gaussian, its mean is one of
    them.
    """
    mean_V, std_V = space.mean_V.clone(), space.std_V.clone()
    costs, means = [], []
    for iteration in range(config.iterations):
        if iteration == 0 and space.init is not None:
            variable_SV = space.init(config.samples, generator)
        else:
            noise_SV = torch.randn(config.samples, len(mean_V), generator=generator, device=mean_V.device)
            noise_SV[0] = 0
            variable_SV = mean_V + std_V * noise_SV
        variable_SV = variable_SV.clamp(space.low_V, space.high_V)
        cost_S = cost.cost(dynamics.unroll(space.to_plan(variable_SV)))
        cost_E, order_S = cost_S.sort(stable=True)
        elite_EV, cost_E = variable_SV[order_S[: config.elites]], cost_E[: config.elites]
        mean_V = elite_EV.mean(dim=0)
        std_V = elite_EV.std(dim=0, correction=0).clamp_min(config.min_std * space.std_V)
        plan_1KR = space.to_plan(mean_V[None])
        costs.append(min([*costs[-1:], cost_E[0].item()]))
        means.append(cost_E.mean().item())
        yield Plan(
            action_KR=plan_1KR[0],
            cost=cost.cost(dynamics.unroll(plan_1KR)).item(),
            cost_I=tuple(costs),
            mean_cost_I=tuple(means),
            elite_EKR=space.to_plan(elite_EV),
            elite_cost_E=cost_E,
        )
