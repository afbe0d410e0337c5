"""Untrusted JSON becomes a dataclass, or a ValueError says what is wrong. Classes are found by `kind`."""

import math
import sys
from dataclasses import dataclass, field

import pytest
import torch

from lawm_core.models.bottlenecks import BottleneckConfig, DiscreteConfig, NoisyConfig, SparseConfig
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.vjepa2 import VJepa2Config
from lawm_core.registry import Registered, find_kind
from lawm_core.schema import MAX_INTEGER, MAX_ITEMS, Bytes, build_dataclass, file_sha256, read_json, read_json_file


@dataclass(frozen=True, kw_only=True)
class Vehicle(Registered):
    seats: int = 1


@dataclass(frozen=True, kw_only=True)
class Car(Vehicle):
    kind: str = "car"
    kilometres: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Boat(Vehicle):
    kind: str = "boat"
    sails: bool = False


@dataclass(frozen=True, kw_only=True)
class Trip:
    name: str
    legs: tuple[Car, ...] = ()
    last: Vehicle = field(default_factory=Car)
    spare: Boat | None = None
    stops: dict[str, int] = field(default_factory=dict)
    luggage: Bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    bottleneck: BottleneckConfig = field(default_factory=NoisyConfig)


# ---- values ---------------------------------------------------------------------------------------------------------


def test_nested_dataclasses_are_built_by_their_kind():
    fields = {
        "name": "north", "legs": [{"kilometres": 3}, {}], "last": {"kind": "boat", "sails": True}, "spare": None,
        "stops": {"a": 1}, "luggage": 2**40,
    }  # fmt: skip
    expected = Trip(
        name="north", legs=(Car(kilometres=3.0), Car()), last=Boat(sails=True), stops={"a": 1}, luggage=Bytes(2**40)
    )
    trip = build_dataclass(Trip, fields)
    assert trip == expected and type(trip.legs[0].kilometres) is float


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"legs": [{"kilometres": "long"}]}, r"Car\.kilometres must be float, got 'long'"),
        ({"legs": {"kilometres": 1}}, r"Trip\.legs must be tuple, got"),
        ({"last": {"kind": "plane"}}, r"Trip\.last: kind must be one of boat, car or an import path .* got 'plane'"),
        ({"last": {"kind": ["boat"]}}, r"Trip\.last\.kind must be str, got \['boat'\]"),
        ({"last": {"kind": "boat", "sails": 1}}, r"Boat\.sails must be bool, got 1"),
        ({"last": {"seats": 1}}, r"Trip\.last: kind must be one of boat, car or an import path .* got ''"),
        ({"last": {"kind": "car", "seats": True}}, r"Car\.seats must be int, got True"),
        ({"last": {"kind": "boat", "seats": -1}}, rf"Boat\.seats must be in \[0, {MAX_ITEMS}\], got -1"),
        ({"last": {"kind": "boat", "seats": MAX_ITEMS + 1}}, r"Boat\.seats must be in"),
        ({"luggage": MAX_INTEGER + 1}, rf"Trip\.luggage must be in \[0, {MAX_INTEGER}\], got an integer with many"),
        ({"legs": [{"kilometres": math.nan}]}, r"Car\.kilometres must be finite, got nan"),
        ({"legs": [{"kilometres": 10**400}]}, r"Car\.kilometres must be finite, got inf"),
        ({"shoes": 2}, "Trip has no field 'shoes'"),
        ({"legs": [{}] * (MAX_ITEMS + 1)}, rf"Trip\.legs must have at most {MAX_ITEMS} items"),
    ],
)
def test_invalid_values_raise(fields, message):
    with pytest.raises(ValueError, match=message):
        build_dataclass(Trip, {"name": "north"} | fields)


def test_missing_fields_and_other_json_values_raise():
    with pytest.raises(ValueError, match="Trip lacks the field 'name'"):
        build_dataclass(Trip, {})
    with pytest.raises(ValueError, match=r"Trip must be a JSON object with named fields, got \[\]"):
        build_dataclass(Trip, [])


def test_long_values_are_shortened_in_messages():
    with pytest.raises(ValueError, match=r"got 'aaa") as error:
        build_dataclass(Trip, {"name": "north", "legs": "a" * 1000})
    assert len(str(error.value)) < 150 and "..." in str(error.value)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_json_that_is_nested_too_deeply_or_too_large_raises(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json("[" * 100_000)
    path = tmp_path / "config.json"
    path.write_text("{}")
    assert read_json_file(path) == {}
    monkeypatch.setattr("lawm_core.schema.MAX_BYTES", 1)
    with pytest.raises(ValueError, match="at most 0 MiB are allowed"):
        read_json_file(path)


def test_checksums_are_sha256(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert file_sha256(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# ---- kinds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "kind", "expected"),
    [
        (BottleneckConfig, "noisy", NoisyConfig),
        (BottleneckConfig, "sparse", SparseConfig),
        (BottleneckConfig, "discrete", DiscreteConfig),
        (FrameGeometry, "convolutions", ConvEncoderConfig),
        (FrameGeometry, "vjepa2", VJepa2Config),
    ],
)
def test_built_in_kinds_are_found_by_name(base, kind, expected):
    assert find_kind(base, kind) is expected


def test_a_kind_of_another_base_is_not_found():
    with pytest.raises(ValueError, match=r"kind must be one of .*noisy.* or an import path .* got 'vjepa2'"):
        find_kind(BottleneckConfig, "vjepa2")


def test_an_external_class_is_imported_only_with_permission(external_module):
    path = f"{external_module}:ScaledConfig"
    with pytest.raises(ValueError, match=r"needs code from outside lawm_core.* trust_code=True"):
        find_kind(BottleneckConfig, path)
    assert external_module not in sys.modules, "nothing is imported before it is allowed"
    found = find_kind(BottleneckConfig, path, allow_imports=True)
    assert found.__name__ == "ScaledConfig" and issubclass(found, BottleneckConfig)
    assert find_kind(BottleneckConfig, path) is found, "a class that has been imported needs no permission"


def test_an_external_class_is_built_from_json(external_module):
    fields = {"kind": f"{external_module}:ScaledConfig", "action_width": 4, "factor": 3.0}
    with pytest.raises(ValueError, match="trust_code=True"):
        build_dataclass(Family, {"bottleneck": fields})
    family = build_dataclass(Family, {"bottleneck": fields}, allow_imports=True)
    assert (family.bottleneck.action_width, family.bottleneck.factor) == (4, 3.0)
    out = family.bottleneck.build()(torch.ones(1, 2, 4), torch.ones(1))
    assert torch.equal(out.action_BUA, torch.full((1, 2, 4), 3.0))


def test_an_external_object_that_is_not_a_subclass_raises(external_module):
    for name in ("NotAConfig", "dataclass", "ReferenceBottleneck"):
        with pytest.raises(ValueError, match=f"{external_module}:{name} must be a subclass of BottleneckConfig"):
            find_kind(BottleneckConfig, f"{external_module}:{name}", allow_imports=True)
    with pytest.raises(ValueError, match="must be a subclass of FrameGeometry"):
        find_kind(FrameGeometry, f"{external_module}:ScaledConfig", allow_imports=True)


@pytest.mark.parametrize("path", ["no_such_module:Config", "json:no_such_name", ":Config", "json:"])
def test_an_import_path_that_leads_nowhere_raises(path):
    with pytest.raises(ValueError, match=f"{path} cannot be imported"):
        find_kind(BottleneckConfig, path, allow_imports=True)
