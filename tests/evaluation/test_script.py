"""Action scripts: sums around rest."""

import pytest
import torch

from lawm_core.evaluation.script import ActionScript, ScriptStep, Term

ACTIONS = {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([0.0, 4.0])}
REST = torch.tensor([1.0, 1.0])


def run(*steps: ScriptStep) -> list[list[float]]:
    return ActionScript(steps=steps).actions(ACTIONS.__getitem__, REST).tolist()


def step(*terms: tuple[str, float], repeat: int = 1) -> ScriptStep:
    return ScriptStep(terms=tuple(Term(action=name, weight=weight) for name, weight in terms), repeat=repeat)


def test_an_action_alone_is_itself_and_repeats():
    assert run(step(("a", 1), repeat=3)) == [[2, 0]] * 3


def test_weights_invert_scale_add_and_interpolate_around_rest():
    assert run(step(("a", -1))) == [[0, 2]]
    assert run(step(("a", 2))) == [[3, -1]]
    assert run(step(("a", 1), ("b", 1))) == [[1, 3]]
    assert run(step(("a", 0.5), ("b", 0.5))) == [[1, 2]]
    assert run(step(("a", 1), ("a", -1))) == [REST.tolist()]


def test_no_action_is_rest_and_no_step_is_nothing():
    assert run(step()) == [REST.tolist()]
    assert ActionScript().actions(ACTIONS.__getitem__, REST).shape == (0, 2)


def test_limits_are_said():
    with pytest.raises(ValueError, match=r"65 times.*1 to 64"):
        step(("a", 1), repeat=65)
    with pytest.raises(ValueError, match=r"weight is 5.*-4 to 4"):
        Term(action="a", weight=5.0)
    with pytest.raises(ValueError, match=r"weight is nan"):
        Term(action="a", weight=float("nan"))
    with pytest.raises(ValueError, match=r"runs for 80 frames.*64"):
        ActionScript(steps=(step(repeat=40), step(repeat=40)))
