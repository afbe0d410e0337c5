"""The cross-entropy method: draw plans, keep the best, draw nearer to them (Rubinstein 1999; protocols: [LAWM §4])."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.contracts import Dynamics, Objective, Plan
from lawm_core.models.controller import ControllerConfig

PLAN_STEPS = {"arm": 3, "rover": 8}  # the paper's for manipulation and for navigation


def plan_steps(robot: str) -> int:
    """How many steps a robot's plans have; as many as a rover's where nobody says."""
    return PLAN_STEPS.get(robot, PLAN_STEPS["rover"])


@dataclass(frozen=True, kw_only=True)
class CemConfig:
    """Defaults are the paper's for manipulation. least_spread: of its first value, where the search stops narrowing."""

    samples: int = 300
    elites: int = 10
    iterations: int = 15
    least_spread: float = 0.02

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.samples or self.iterations < 1:
            raise ValueError(
                f"{self.samples} samples, {self.elites} elites, {self.iterations} iterations; needed: "
                "at least one of each, and no more elites than samples."
            )


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched: P numbers between low_P and high_P, drawn at first around mean_P with spread_P.

    shape: parameters to plans, parameter_SP to plan_SHK. first: draws the first parameters, instead of a Gaussian.
    """

    mean_P: Tensor
    spread_P: Tensor
    low_P: Tensor
    high_P: Tensor
    shape: Callable[[Tensor], Tensor]
    first: Callable[[int, Generator], Tensor] | None = None

    def __post_init__(self) -> None:
        if not (self.low_P <= self.high_P).all() or not (self.spread_P > 0).all():
            raise ValueError(f"bounds {self.low_P} to {self.high_P}, spread {self.spread_P}; spreads must be above 0.")


def free_search(limit_K: Tensor, steps: int, spread_K: Tensor | None = None) -> Search:
    """Every step on its own, within +- limit_K.

    Drawn at first with spread_K, or with the limits [jepa-wms' planning].
    """
    limit_P = limit_K.repeat(steps)
    return Search(
        mean_P=torch.zeros_like(limit_P),
        spread_P=limit_P if spread_K is None else spread_K.repeat(steps),
        low_P=-limit_P,
        high_P=limit_P,
        shape=lambda parameter_SP: parameter_SP.unflatten(1, (steps, -1)),
    )


def straight_search(mean_K: Tensor, spread_K: Tensor, limit_K: Tensor, steps: int) -> Search:
    """One straight way: the same displacement at every step, and all of the turn in the last [NWM's planning].

    The last of the K numbers is the turn; it is given whole, and may be as large as `steps` turns together.
    """
    limit_P = limit_K.clone()
    limit_P[-1] *= steps

    def shape(parameter_SP: Tensor) -> Tensor:
        plan_SHK = parameter_SP[:, None].repeat(1, steps, 1)
        plan_SHK[:, :-1, -1] = 0
        return plan_SHK

    return Search(mean_P=mean_K, spread_P=spread_K, low_P=-limit_P, high_P=limit_P, shape=shape)


def steady_search(mean_K: Tensor, spread_K: Tensor, limit_K: Tensor, steps: int) -> Search:
    """One action again and again: straight ahead, or along an arc."""
    return Search(
        mean_P=mean_K,
        spread_P=spread_K,
        low_P=-limit_K,
        high_P=limit_K,
        shape=lambda parameter_SP: parameter_SP[:, None].expand(-1, steps, -1),
    )


def known_search(robot: str, about: ControllerConfig) -> Search:
    """How a robot's known actions are searched: an arm's steps each on their own, drawn at first as wide as the data's
    around none; a rover's as one action again and again, drawn as the data's are.

    Draws as wide as the limits are mostly what nobody would do, and what no model has seen.
    """
    mean_K, spread_K, limit_K = (torch.tensor(x) for x in (about.mean, about.spread, about.limits))
    if robot == "arm":
        return free_search(limit_K, plan_steps(robot), spread_K)
    return steady_search(mean_K, spread_K, limit_K, plan_steps(robot))


def plan_by_cem(
    dynamics: Dynamics, objective: Objective, search: Search, config: CemConfig, generator: Generator
) -> Plan:
    """The plan after the last iteration. The same for the same generator state."""
    *_, found = search_by_cem(dynamics, objective, search, config, generator)
    return found


def search_by_cem(
    dynamics: Dynamics, objective: Objective, search: Search, config: CemConfig, generator: Generator
) -> Iterator[Plan]:
    """The plan so far after each iteration: whoever asks may stop. The mean of what is drawn is always tried too.

    A plan is the mean of the elites, not the best of them: where costs are unsure, the best is the luckiest.
    """
    mean_P, spread_P = search.mean_P.clone(), search.spread_P.clone()
    costs, means = [], []
    for iteration in range(config.iterations):
        if iteration == 0 and search.first is not None:
            parameter_SP = search.first(config.samples, generator)
        else:
            noise_SP = torch.randn(config.samples, len(mean_P), generator=generator, device=mean_P.device)
            noise_SP[0] = 0
            parameter_SP = mean_P + spread_P * noise_SP
        parameter_SP = parameter_SP.clamp(search.low_P, search.high_P)
        cost_S = objective.cost(dynamics.unroll(search.shape(parameter_SP)))
        cost_E, order_E = cost_S.sort(stable=True)
        elite_EP, cost_E = parameter_SP[order_E[: config.elites]], cost_E[: config.elites]
        mean_P = elite_EP.mean(dim=0)
        spread_P = elite_EP.std(dim=0, correction=0).clamp_min(config.least_spread * search.spread_P)
        agreed_1HK = search.shape(mean_P[None])
        costs.append(min([*costs[-1:], cost_E[0].item()]))
        means.append(cost_E.mean().item())
        yield Plan(
            action_HK=agreed_1HK[0],
            cost=objective.cost(dynamics.unroll(agreed_1HK)).item(),
            cost_I=tuple(costs),
            mean_cost_I=tuple(means),
            elite_EHK=search.shape(elite_EP),
            elite_cost_E=cost_E,
        )
