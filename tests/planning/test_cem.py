"""The cross-entropy method finds optimal plans, respects bounds and is deterministic given a seed."""

from types import SimpleNamespace

import pytest
import torch
from torch import Generator, Tensor

from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.cem import (
    CemConfig,
    SearchSpace,
    constant_action,
    independent_steps,
    iterate_cem,
    plan_by_cem,
    robot_search_space,
    straight_then_turn,
)
from lawm_core.planning.costs import GoalStateCost


class AdditiveDynamics:
    """Exact toy dynamics: a position moves by every action; the final position is a state of one token."""

    def __init__(self, start: tuple[float, float] = (0.0, 0.0)) -> None:
        self.start, self.plans = torch.tensor(start), []

    def unroll(self, plan_SKR: Tensor) -> Tensor:
        self.plans.append(plan_SKR)
        return (self.start + plan_SKR.sum(dim=1))[:, None]


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


ONES = GoalStateCost(torch.ones(1, 2))
TWO_STEPS = independent_steps(torch.ones(2), steps=2)


def test_exact_dynamics_are_planned_without_error():
    goal_ND = torch.tensor([[0.21, -0.17]])
    space = independent_steps(torch.tensor([0.1, 0.1]), steps=3)
    plan = plan_by_cem(AdditiveDynamics(), GoalStateCost(goal_ND), space, CemConfig(min_std=0.0), seeded())
    assert torch.allclose(plan.action_KR.sum(dim=0), goal_ND[0], atol=2e-3) and plan.cost < 3e-3


def test_the_minimum_of_a_quadratic_is_found():
    minimum = torch.tensor([0.3, -1.2, 0.7, 2.0])
    weight = torch.tensor([1, 10, 0.5, 3])
    quadratic = SimpleNamespace(cost=lambda final_SND: ((final_SND[:, 0] - minimum) ** 2 * weight).sum(dim=1))
    identity = SimpleNamespace(unroll=lambda plan_SKR: plan_SKR.flatten(1)[:, None])
    space = independent_steps(torch.full((4,), 3.0), steps=1)
    plan = plan_by_cem(identity, quadratic, space, CemConfig(iterations=40, min_std=0.0), seeded())
    assert torch.allclose(plan.action_KR[0], minimum, atol=0.01)
    assert list(plan.cost_I) == sorted(plan.cost_I, reverse=True) and len(plan.cost_I) == 40


def test_plans_stay_within_bounds_if_the_goal_is_out_of_reach():
    dynamics, limit_R = AdditiveDynamics(), torch.tensor([0.05, 0.02])
    goal = GoalStateCost(torch.tensor([[9.0, -9.0]]))
    plan = plan_by_cem(dynamics, goal, independent_steps(limit_R, 4), CemConfig(), seeded())
    assert all((plan_SKR.abs() <= limit_R + 1e-7).all() for plan_SKR in dynamics.plans)
    assert torch.allclose(plan.action_KR, torch.tensor([0.05, -0.02]).expand(4, 2), atol=2e-3)


def test_equal_seeds_give_equal_plans():
    first, again, other = (
        plan_by_cem(AdditiveDynamics(), ONES, TWO_STEPS, CemConfig(samples=20), seeded(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first.action_KR, again.action_KR) and first.cost_I == again.cost_I
    assert not torch.equal(first.action_KR, other.action_KR)


def test_elites_are_sorted_and_their_mean_is_the_first_sample_of_the_next_iteration():
    dynamics = AdditiveDynamics()
    plan = plan_by_cem(dynamics, ONES, TWO_STEPS, CemConfig(iterations=2), seeded())
    assert (plan.elite_cost_E.diff() >= 0).all() and plan.elite_EKR.shape == (10, 2, 2)
    first_SKR, _, second_SKR, _ = dynamics.plans
    assert torch.equal(first_SKR[0], torch.zeros(2, 2))
    order_S = ONES.cost(dynamics.unroll(first_SKR)).sort(stable=True).indices
    assert torch.allclose(second_SKR[0], first_SKR[order_S[:10]].mean(dim=0), atol=1e-6)


def test_the_plan_is_the_mean_of_the_elites_with_its_own_cost():
    dynamics, goal = AdditiveDynamics(), GoalStateCost(torch.tensor([[0.3, 0.1]]))
    plan = plan_by_cem(dynamics, goal, TWO_STEPS, CemConfig(samples=30, iterations=1), seeded())
    assert torch.allclose(plan.action_KR, plan.elite_EKR.mean(dim=0), atol=1e-6)
    assert plan.cost == pytest.approx(goal.cost(dynamics.unroll(plan.action_KR[None])).item())
    assert plan.cost_I[0] == pytest.approx(plan.elite_cost_E[0].item())
    assert plan.mean_cost_I[0] == pytest.approx(plan.elite_cost_E.mean().item())


def test_the_search_stops_narrowing_at_the_minimal_standard_deviation():
    dynamics = AdditiveDynamics()
    plan_by_cem(dynamics, ONES, TWO_STEPS, CemConfig(iterations=30, min_std=0.1), seeded())
    last_SKR = dynamics.plans[-2]  # the last samples; the plan itself is evaluated after them
    assert last_SKR.std(dim=0).mean().item() == pytest.approx(0.1, rel=0.2)


def test_straight_plans_turn_in_the_last_step():
    mean_R, limit_R = torch.tensor([0.2, 0.0, 0.0]), torch.tensor([0.4, 0.15, 0.25])
    space = straight_then_turn(mean_R, torch.full((3,), 0.1), limit_R, steps=8)
    plan_SKR = space.to_plan(torch.tensor([[0.3, -0.05, 1.5]]))
    assert torch.allclose(plan_SKR[0, :, :2], torch.tensor([0.3, -0.05]).expand(8, 2))
    assert plan_SKR[0, :, 2].tolist() == [0] * 7 + [1.5] and space.high_V[2] == 2.0


def test_constant_plans_repeat_one_action():
    space = constant_action(torch.tensor([0.2, 0.0]), torch.ones(2), torch.tensor([0.4, 0.1]), steps=5)
    action_R = torch.tensor([0.3, 0.05])
    assert torch.equal(space.to_plan(action_R[None]), action_R.expand(1, 5, 2))


def test_a_search_space_can_sample_the_first_variables():
    dynamics = AdditiveDynamics()
    space = SearchSpace(
        mean_V=torch.zeros(2), std_V=torch.ones(2), low_V=torch.full((2,), -5.0), high_V=torch.full((2,), 5.0),
        to_plan=lambda variable_SV: variable_SV[:, None],
        init=lambda count, generator: torch.full((count, 2), 4.0),
    )  # fmt: skip
    config = CemConfig(samples=12, elites=3, iterations=1)
    plan_by_cem(dynamics, GoalStateCost(torch.zeros(1, 2)), space, config, seeded())
    assert torch.equal(dynamics.plans[0], torch.full((12, 1, 2), 4.0))


def test_iterations_are_computed_on_demand():
    dynamics = AdditiveDynamics()
    plans = iterate_cem(dynamics, ONES, TWO_STEPS, CemConfig(), seeded())
    first, second = next(plans), next(plans)
    assert [len(plan_SKR) for plan_SKR in dynamics.plans] == [300, 1, 300, 1]  # samples, then the mean of the elites
    assert (len(first.cost_I), len(second.cost_I)) == (1, 2)
    assert second.cost <= first.cost


def test_robots_are_searched_with_the_standard_deviation_of_the_data_within_their_limits():
    robot = ControllerConfig(mean=(0.1, 0.0), std=(0.02, 0.3), limits=(0.5, 0.4))
    dynamics, config = AdditiveDynamics(), CemConfig(samples=4000, iterations=1)
    for name in ("arm", "rover"):
        plan_by_cem(dynamics, GoalStateCost(torch.zeros(1, 2)), robot_search_space(name, robot), config, seeded())
    arm_SKR, _, rover_SKR, _ = dynamics.plans
    assert arm_SKR.shape[1:] == (3, 2) and rover_SKR.shape[1:] == (8, 2)
    assert arm_SKR[..., 0].std().item() == pytest.approx(0.02, rel=0.1)
    assert arm_SKR[..., 1].abs().max().item() == pytest.approx(0.4)  # samples with a deviation of 0.3 are clamped
    assert not torch.equal(arm_SKR[:, 0], arm_SKR[:, 1]) and torch.equal(rover_SKR[:, 0], rover_SKR[:, 7])
    assert rover_SKR[:, 0, 0].mean().item() == pytest.approx(0.1, abs=0.005)


def test_goal_cost_is_the_mean_absolute_difference():
    goal_ND = torch.zeros(2, 3)
    final_SND = torch.stack((goal_ND, goal_ND + 2.0, goal_ND - 1.0))
    assert GoalStateCost(goal_ND).cost(final_SND).tolist() == [0.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elites": 0}, "elites must be at least 1 and at most samples, got elites=0 and samples=300"),
        ({"elites": 301}, "elites must be at least 1 and at most samples, got elites=301 and samples=300"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_invalid_configs_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        CemConfig(**settings)


@pytest.mark.parametrize("changes", [{"low_V": torch.ones(1) * 2}, {"std_V": torch.zeros(1)}])
def test_invalid_search_spaces_raise(changes):
    bounds = {"mean_V": torch.zeros(1), "std_V": torch.ones(1), "low_V": -torch.ones(1), "high_V": torch.ones(1)}
    with pytest.raises(ValueError, match="low_V must not exceed high_V, and std_V must be above 0"):
        SearchSpace(**bounds | changes, to_plan=lambda variable_SV: variable_SV[:, None])
