"""The cross-entropy method finds what is to be found, inside its bounds, the same for a seed."""

from types import SimpleNamespace

import pytest
import torch

from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.cem import (
    CemConfig,
    Search,
    free_search,
    known_search,
    plan_by_cem,
    search_by_cem,
    steady_search,
    straight_search,
)
from lawm_core.planning.objectives import GoalState


class Line:
    """A perfect toy world: a place moves by what it is told; its end is a state of one token."""

    def __init__(self, start=(0.0, 0.0)):
        self.start, self.asked = torch.tensor(start), []

    def unroll(self, plan_SHK):
        self.asked.append(plan_SHK)
        return (self.start + plan_SHK.sum(dim=1))[:, None]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_perfect_world_is_planned_to_zero_error():
    goal = torch.tensor([[0.21, -0.17]])
    found = plan_by_cem(
        Line(), GoalState(goal), free_search(torch.tensor([0.1, 0.1]), steps=3), CemConfig(least_spread=0.0), seeded()
    )
    assert torch.allclose(found.action_HK.sum(dim=0), goal[0], atol=2e-3) and found.cost < 3e-3


def test_the_minimum_of_a_quadratic_is_found():
    least = torch.tensor([0.3, -1.2, 0.7, 2.0])
    quadratic = SimpleNamespace(cost=lambda end: ((end[:, 0] - least) ** 2 * torch.tensor([1, 10, 0.5, 3])).sum(dim=1))
    toy = SimpleNamespace(unroll=lambda plan_SHK: plan_SHK.flatten(1)[:, None])
    search = free_search(torch.full((4,), 3.0), steps=1)
    found = plan_by_cem(toy, quadratic, search, CemConfig(iterations=40, least_spread=0.0), seeded())
    assert torch.allclose(found.action_HK[0], least, atol=0.01)
    assert list(found.cost_I) == sorted(found.cost_I, reverse=True) and len(found.cost_I) == 40


def test_bounds_hold_also_where_the_goal_lies_beyond():
    world, limit = Line(), torch.tensor([0.05, 0.02])
    found = plan_by_cem(world, GoalState(torch.tensor([[9.0, -9.0]])), free_search(limit, 4), CemConfig(), seeded())
    assert all((plan.abs() <= limit + 1e-7).all() for plan in world.asked)
    assert torch.allclose(found.action_HK, torch.tensor([0.05, -0.02]).expand(4, 2), atol=2e-3)


def test_the_same_seed_finds_the_same_plan():
    plans = [
        plan_by_cem(
            Line(), GoalState(torch.ones(1, 2)), free_search(torch.ones(2), 2), CemConfig(samples=20), seeded(s)
        )
        for s in (4, 4, 5)
    ]
    assert torch.equal(plans[0].action_HK, plans[1].action_HK) and plans[0].cost_I == plans[1].cost_I
    assert not torch.equal(plans[0].action_HK, plans[2].action_HK)


def test_elites_come_in_order_and_the_mean_is_tried():
    world = Line()
    found = plan_by_cem(
        world, GoalState(torch.ones(1, 2)), free_search(torch.ones(2), 2), CemConfig(iterations=2), seeded()
    )
    assert (found.elite_cost_E.diff() >= 0).all() and found.elite_EHK.shape == (10, 2, 2)
    assert torch.equal(world.asked[0][0], torch.zeros(2, 2))
    first_cost = GoalState(torch.ones(1, 2)).cost(world.unroll(world.asked[0]))
    elites = world.asked[0][first_cost.sort(stable=True).indices[:10]]
    assert torch.allclose(world.asked[1][0], elites.mean(dim=0), atol=1e-6)


def test_a_plan_is_what_the_elites_agree_on_and_its_cost_its_own():
    world, goal = Line(), GoalState(torch.tensor([[0.3, 0.1]]))
    found = plan_by_cem(world, goal, free_search(torch.ones(2), 2), CemConfig(samples=30, iterations=1), seeded())
    assert torch.allclose(found.action_HK, found.elite_EHK.mean(dim=0), atol=1e-6)
    assert found.cost == pytest.approx(goal.cost(world.unroll(found.action_HK[None])).item())
    assert found.elite_cost_E[0].item() == pytest.approx(found.cost_I[0])  # the curve tells the least that was met


def test_a_straight_plan_goes_straight_and_turns_at_the_end():
    search = straight_search(torch.tensor([0.2, 0.0, 0.0]), torch.full((3,), 0.1), torch.tensor([0.4, 0.15, 0.25]), 8)
    plan_SHK = search.shape(torch.tensor([[0.3, -0.05, 1.5]]))
    assert torch.allclose(plan_SHK[0, :, :2], torch.tensor([0.3, -0.05]).expand(8, 2))
    assert plan_SHK[0, :, 2].tolist() == [0] * 7 + [1.5] and search.high_P[2] == 2.0


def test_a_proposal_may_draw_the_first_plans():
    world = Line()
    search = Search(
        mean_P=torch.zeros(2), spread_P=torch.ones(2), low_P=torch.full((2,), -5.0), high_P=torch.full((2,), 5.0),
        shape=lambda p: p[:, None], first=lambda count, generator: torch.full((count, 2), 4.0),
    )  # fmt: skip
    plan_by_cem(world, GoalState(torch.zeros(1, 2)), search, CemConfig(samples=12, elites=3, iterations=1), seeded())
    assert torch.equal(world.asked[0], torch.full((12, 1, 2), 4.0))


def test_a_search_goes_on_only_while_it_is_asked():
    world = Line()
    rounds = search_by_cem(world, GoalState(torch.ones(1, 2)), free_search(torch.ones(2), 2), CemConfig(), seeded())
    found = [next(rounds), next(rounds)]
    assert [len(plan_SHK) for plan_SHK in world.asked] == [300, 1, 300, 1]  # draws, and what their elites agree on
    assert [len(plan.cost_I) for plan in found] == [1, 2]
    assert found[1].cost <= found[0].cost


def test_a_steady_plan_repeats_itself():
    search = steady_search(torch.tensor([0.2, 0.0]), torch.ones(2), torch.tensor([0.4, 0.1]), 5)
    assert torch.equal(search.shape(torch.tensor([[0.3, 0.05]])), torch.tensor([0.3, 0.05]).expand(1, 5, 2))


def test_a_robot_is_searched_as_wide_as_its_data_go_and_no_further_than_its_limits():
    about = ControllerConfig(mean=(0.1, 0.0), spread=(0.02, 0.3), limits=(0.5, 0.4))
    arm, rover = known_search("arm", about), known_search("rover", about)
    world = Line()
    for search in (arm, rover):
        plan_by_cem(world, GoalState(torch.zeros(1, 2)), search, CemConfig(samples=4000, iterations=1), seeded())
    free_SHK, _, steady_SHK, _ = world.asked
    assert free_SHK.shape[1:] == (3, 2) and steady_SHK.shape[1:] == (8, 2)
    assert free_SHK[..., 0].std().item() == pytest.approx(0.02, rel=0.1)
    assert free_SHK[..., 1].abs().max().item() == pytest.approx(0.4)  # 0.3 is often beyond the limit
    assert not torch.equal(free_SHK[:, 0], free_SHK[:, 1]) and torch.equal(steady_SHK[:, 0], steady_SHK[:, 7])
    assert steady_SHK[:, 0, 0].mean().item() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("wrong", [{"elites": 0}, {"elites": 301}, {"iterations": 0}])
def test_impossible_searches_are_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        CemConfig(**wrong)
