"""Texts of the tab `Drive and plan`: numbers have units and a direction."""

import math

import pytest
import torch

import lawm_core as lawm
from app.components.plan import distance_text, search_text
from app.driving import Distance, SearchRound
from app.tabs.drive import progress_text


def search_round(done: int, rounds: int, seconds_left: float) -> SearchRound:
    """Return a round of a search with `done` rounds so far."""
    plan = lawm.Plan(
        action_KR=torch.zeros(3, 2),
        cost=1.2884,
        cost_I=(1.0,) * done,
        mean_cost_I=(1.0,) * done,
        elite_EKR=torch.zeros(4, 3, 2),
        elite_cost_E=torch.zeros(4),
    )
    return SearchRound(plan=plan, end_frames=[], rounds=rounds, seconds_left=seconds_left)


def test_progress_says_which_round_runs_and_how_long_the_search_takes():
    assert progress_text(None, 59.2) == "Round 1, about 60 s left"
    assert progress_text(search_round(1, 4, 50.0), 59.2) == "Round 2 of 4, about 60 s left"


@pytest.mark.parametrize(
    ("done", "left", "start"),
    [(1, 5.0, "Round 1 of 4. "), (4, 0.0, "Search finished, 4 rounds. ")],
)
def test_a_search_says_what_its_plan_is_expected_to_reach(done, left, start):
    expected = "Predicted difference from the goal: 1.288 (lower is closer)."
    assert search_text(search_round(done, 4, left)) == start + expected


def test_distances_have_units():
    far = Distance(state=0.4, metres=0.31, radians=math.pi / 2)
    near = Distance(state=0.1, metres=0.12, radians=0.0)
    assert distance_text(far) == "0.31 m and 90° away"
    assert distance_text(near, far) == "Distance from the goal: 0.12 m and 0° (0.31 m and 90° at the start)."
    unknown = Distance(state=0.1234)
    assert distance_text(unknown) == ""
    assert distance_text(unknown, Distance(state=0.4)) == (
        "Difference from the goal: 0.123 (0.400 at the start). Lower is closer."
    )
