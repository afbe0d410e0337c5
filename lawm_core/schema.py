"""JSON from elsewhere to dataclasses: data, never code, checked field by field against the annotations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from pathlib import Path

MOST_ITEMS = 65_536  # of a list: nobody fills the memory with a small file
MOST_BYTES = 16 * 2**20  # of a file of JSON
MOST_WHOLE = 2**53  # beyond it a whole number has no float of its own


class Bytes(int):
    """How long a file is: the only whole number in a dataclass that may be large."""


def read_json(text: str) -> typing.Any:
    """Plain values from text. Raises ValueError where it is no JSON, or nested too deep to read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json_file(path: Path) -> typing.Any:
    """Plain values from a file. Raises OSError where it cannot be read, ValueError where it is too large or no JSON."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it is {size >> 20} MiB long; at most {MOST_BYTES >> 20} MiB can be read")
    return read_json(path.read_text(encoding="utf-8"))


def sum_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_dataclass(kind: type, fields: object) -> typing.Any:
    """A dataclass from plain JSON values, checked field by field against its annotations."""
    if not isinstance(fields, dict):
        raise ValueError(f"{kind.__name__} must be a JSON object with named fields, got {shown(fields)}.")
    hints = typing.get_type_hints(kind)
    if unknown := set(fields) - set(hints):
        raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}.")
    needed = {f.name for f in dataclasses.fields(kind) if f.init and is_needed(f)}
    if missing := needed - set(fields):
        raise ValueError(f"{kind.__name__} lacks the field {sorted(missing)[0]!r}.")
    return kind(**{name: build_value(hints[name], value, f"{kind.__name__}.{name}") for name, value in fields.items()})


def is_needed(field: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def build_value(hint: typing.Any, value: object, name: str) -> typing.Any:
    """One field's value in its annotated type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build_dataclass(hint, value)
    if origin is tuple and isinstance(value, list | tuple):
        if len(value) > MOST_ITEMS:
            raise ValueError(f"{name} has {len(value)} items; needed: at most {MOST_ITEMS}.")
        return tuple(build_value(inner[0], v, f"{name}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: build_value(inner[1], v, f"{name}.{key}") for key, v in value.items()}
    if origin is types.UnionType:
        hint = choose_kind(inner, value, name)
        return None if value is None else build_value(hint, value, name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < MOST_WHOLE else math.inf
    wanted = int if hint is Bytes else origin or hint
    if not isinstance(value, wanted if isinstance(wanted, type) else object) or isinstance(value, bool) != (
        hint is bool
    ):
        raise ValueError(f"{name} is {shown(value)}; needed: {getattr(hint, '__name__', hint)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; needed: a finite number.")
    most = MOST_WHOLE if hint is Bytes else MOST_ITEMS
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= most:
        raise ValueError(f"{name} is {shown(value)}; needed: 0 to {most}.")
    return value


def choose_kind(kinds: tuple[type, ...], value: object, name: str) -> type:
    """Which of a union's types a JSON value is meant for: configs of one family of parts are told apart by `kind`."""
    if value is None and type(None) in kinds:
        return type(None)
    kinds = tuple(k for k in kinds if k is not type(None))
    if len(kinds) == 1 or not isinstance(value, dict) or "kind" not in value:
        return kinds[0]
    by_name = {k.kind: k for k in kinds if hasattr(k, "kind")}
    if not isinstance(value["kind"], str) or value["kind"] not in by_name:
        raise ValueError(f"{name}.kind is {shown(value['kind'])}; needed: one of {', '.join(by_name)}.")
    return by_name[value["kind"]]


def shown(value: object) -> str:
    """A value in a message, however long it is."""
    if isinstance(value, int) and abs(value) >= MOST_WHOLE:
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
