"""Replay specs and scripts from strangers: any text is a valid replay spec or raises ValueError with a message."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lawm_core.transfer.replay import ReplaySpec

FUZZ = settings(max_examples=400, deadline=None, derandomize=True)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
VALID = {
    "format": 1, "model": "nano", "fingerprint": "abc", "family": "noisy", "capacity": 1.0,
    "target": {"file": "a.mp4", "sha256": "0", "start_seconds": 0.0, "frames": 16},
    "script": {"steps": [{"terms": [{"action": "a", "weight": 1.0}], "repeat": 2}]},
    "actions": {"a": [0.1, 0.2]},
}  # fmt: skip


def paths(value: object, path: tuple = ()) -> list[tuple]:
    """Return the paths of all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in paths(part, (*path, key)))]


def replaced(value: object, path: tuple, new: object) -> object:
    """Return a JSON value with the value at a path replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def is_valid_or_raises(text: str) -> bool:
    """Return whether a text is a replay spec that can be written and read, or raises a ValueError with a message."""
    try:
        spec = ReplaySpec.from_json(text)
    except ValueError as error:
        return len(str(error)) > 10
    return ReplaySpec.from_json(spec.to_json()) == spec


def test_the_unchanged_spec_is_valid():
    assert ReplaySpec.from_json(json.dumps(VALID)).script.frames == 2


@FUZZ
@given(data=st.data(), new=anything)
def test_a_spec_with_any_value_replaced(data, new):
    assert is_valid_or_raises(json.dumps(replaced(VALID, data.draw(st.sampled_from(paths(VALID))), new)))


@FUZZ
@given(anything)
def test_any_json(value):
    assert is_valid_or_raises(json.dumps(value))


@FUZZ
@given(st.text())
def test_any_text(text):
    assert is_valid_or_raises(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, '{"format": 1, "format": 2}'])
def test_texts_that_break_naive_parsers_raise(text):
    with pytest.raises(ValueError):
        ReplaySpec.from_json(text)
