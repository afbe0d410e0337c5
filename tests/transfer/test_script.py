"""Action scripts are weighted sums of actions, relative to rest."""

import pytest
import torch

from lawm_core.transfer.script import ActionScript, ScriptStep, Term, read_script

ACTIONS = {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([0.0, 4.0])}
REST = torch.tensor([1.0, 1.0])


def run(*steps: ScriptStep) -> list[list[float]]:
    return ActionScript(steps=steps).actions(ACTIONS.__getitem__, REST).tolist()


def step(*terms: tuple[str, float], repeat: int = 1) -> ScriptStep:
    return ScriptStep(terms=tuple(Term(action=name, weight=weight) for name, weight in terms), repeat=repeat)


def test_single_action_is_unchanged_and_repeats():
    assert run(step(("a", 1), repeat=3)) == [[2, 0]] * 3


def test_weights_reverse_scale_add_and_interpolate_relative_to_rest():
    assert run(step(("a", -1))) == [[0, 2]]
    assert run(step(("a", 2))) == [[3, -1]]
    assert run(step(("a", 1), ("b", 1))) == [[1, 3]]
    assert run(step(("a", 0.5), ("b", 0.5))) == [[1, 2]]
    assert run(step(("a", 1), ("a", -1))) == [REST.tolist()]


def test_step_without_actions_is_rest_and_empty_script_has_no_actions():
    assert run(step()) == [REST.tolist()]
    assert ActionScript().actions(ACTIONS.__getitem__, REST).shape == (0, 2)


def test_values_out_of_range_are_rejected():
    with pytest.raises(ValueError, match=r"repeat must be in \[1, 64\], got 65"):
        step(("a", 1), repeat=65)
    with pytest.raises(ValueError, match=r"at most 8 actions, got 9"):
        step(*[("a", 1)] * 9)
    for weight in (5.0, float("nan")):
        with pytest.raises(ValueError, match=rf"weight must be in \[-4, 4\], got {weight}"):
            Term(action="a", weight=weight)
    with pytest.raises(ValueError, match=r"at most 64 frames, got 80"):
        ActionScript(steps=(step(repeat=40), step(repeat=40)))


def test_script_is_read_from_json_values():
    fields = {"steps": [{"terms": [{"action": "a", "weight": -1}], "repeat": 2}, {}]}
    assert read_script(fields) == ActionScript(steps=(step(("a", -1.0), repeat=2), ScriptStep()))
    with pytest.raises(ValueError, match="no field 'evil'"):
        read_script({"evil": 1})
