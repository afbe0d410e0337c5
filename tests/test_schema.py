"""JSON from elsewhere becomes the dataclass it claims to be, or a sentence that says what does not fit."""

from dataclasses import dataclass, field

import pytest

from lawm_core.schema import MOST_ITEMS, build_dataclass


@dataclass(frozen=True, kw_only=True)
class Near:
    kind: str = "near"
    metres: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Far:
    kind: str = "far"
    miles: int = 2


@dataclass(frozen=True, kw_only=True)
class Trip:
    legs: tuple[Near, ...] = ()
    end: Near | Far = field(default_factory=Near)
    guide: Far | None = None
    names: dict[str, int] = field(default_factory=dict)


def test_nested_parts_are_built_by_kind():
    trip = build_dataclass(
        Trip, {"legs": [{"metres": 3}, {}], "end": {"kind": "far", "miles": 7}, "guide": None, "names": {"a": 1}}
    )
    assert trip == Trip(legs=(Near(metres=3.0), Near()), end=Far(miles=7), names={"a": 1})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"legs": [{"metres": "long"}]}, r"Near\.metres is 'long'"),
        ({"legs": {"metres": 1}}, "legs"),
        ({"end": {"kind": "odd"}}, "one of near, far"),
        ({"end": {"kind": ["far"]}}, "one of near, far"),
        ({"end": {"kind": "far", "miles": True}}, "miles is True"),
        ({"end": {"kind": "far", "miles": -1}}, "0 to 65536"),
        ({"end": {"metres": float("nan")}}, "finite"),
        ({"shoes": 2}, "no field 'shoes'"),
        ({"legs": [{}] * (MOST_ITEMS + 1)}, "at most"),
        ([], "must be a JSON object"),
    ],
)
def test_what_does_not_fit_is_said(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        build_dataclass(Trip, fields)
