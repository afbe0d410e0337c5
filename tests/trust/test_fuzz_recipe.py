"""A recipe or a script from a stranger: the recipe it claims to be, or a sentence; nothing else ever."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lawm_core.evaluation.recipe import Recipe

FUZZ = settings(max_examples=400, deadline=None, derandomize=True)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
NEARLY = {
    "format": 1, "model": "nano", "fingerprint": "abc", "family": "noisy", "capacity": 1.0,
    "target": {"file": "a.mp4", "sha256": "0", "start_seconds": 0.0, "frames": 16},
    "script": {"steps": [{"terms": [{"action": "a", "weight": 1.0}], "repeat": 2}]},
    "actions": {"a": [0.1, 0.2]},
}  # fmt: skip


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


def changed(value: object, path: tuple, new: object) -> object:
    """The value with another one at a place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def is_recipe_or_sentence(text: str) -> bool:
    """Whether what came is a recipe that can be written and read again, or a ValueError with a sentence."""
    try:
        recipe = Recipe.from_json(text)
    except ValueError as error:
        return len(str(error)) > 10
    return Recipe.from_json(recipe.to_json()) == recipe


def test_what_is_changed_below_is_a_recipe():
    assert Recipe.from_json(json.dumps(NEARLY)).script.frames == 2


@FUZZ
@given(data=st.data(), new=anything)
def test_a_recipe_with_anything_in_any_place(data, new):
    assert is_recipe_or_sentence(json.dumps(changed(NEARLY, data.draw(st.sampled_from(places(NEARLY))), new)))


@FUZZ
@given(anything)
def test_any_json_at_all(value):
    assert is_recipe_or_sentence(json.dumps(value))


@FUZZ
@given(st.text())
def test_any_text_at_all(text):
    assert is_recipe_or_sentence(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, '{"format": 1, "format": 2}'])
def test_texts_that_are_meant_to_break_a_reader(text):
    with pytest.raises(ValueError):
        Recipe.from_json(text)
