"""Convert untrusted JSON to dataclasses, with each field checked against its annotation.

No code that the JSON names is run unless the caller allows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from pathlib import Path

from lawm_core.registry import Registered, find_kind

MAX_ITEMS = 65_536  # largest length of a list and largest integer, so that a small file cannot fill the memory
MAX_BYTES = 16 * 2**20  # largest size of a JSON file
MAX_INTEGER = 2**53  # larger integers are not exact as a float


class Bytes(int):
    """A file size. Fields of this type may be up to MAX_INTEGER; other integers may be up to MAX_ITEMS."""


def read_json(text: str) -> typing.Any:
    """Parse JSON. Raises ValueError if the text is not JSON or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists and objects are nested too deeply") from None


def read_json_file(path: Path) -> typing.Any:
    """Parse a JSON file. Raises OSError if it cannot be read, ValueError if it is too large or not JSON."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path.name} has {size >> 20} MiB; at most {MAX_BYTES >> 20} MiB are allowed")
    return read_json(path.read_text(encoding="utf-8"))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_dataclass(kind: type, fields: object, allow_imports: bool = False) -> typing.Any:
    """Build a dataclass from JSON values, checked field by field against its annotations.

    kind: the dataclass. fields: a dictionary of its fields. A field annotated with a `registry.Registered` class is
    built as the subclass that the JSON value names in `kind`. allow_imports: whether that subclass may be imported from
    outside this package, which runs its code. Raises ValueError for unknown or missing fields, and for values of
    another type or out of range.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{kind.__name__} must be a JSON object with named fields, got {shown(fields)}.")
    hints = typing.get_type_hints(kind)
    if unknown := set(fields) - set(hints):
        raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}.")
    needed = {f.name for f in dataclasses.fields(kind) if f.init and is_needed(f)}
    if missing := needed - set(fields):
        raise ValueError(f"{kind.__name__} lacks the field {sorted(missing)[0]!r}.")
    values = {
        name: build_value(hints[name], value, f"{kind.__name__}.{name}", allow_imports)
        for name, value in fields.items()
    }
    return kind(**values)


def is_needed(field: dataclasses.Field) -> bool:
    """Return whether a field must be given because it has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def build_value(hint: typing.Any, value: object, name: str, allow_imports: bool = False) -> typing.Any:
    """Convert a JSON value to the annotated type of a field, `hint`. name: name of the field in error messages."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build_dataclass(choose_kind(hint, value, name, allow_imports), value, allow_imports)
    if origin is tuple and isinstance(value, list | tuple):
        if len(value) > MAX_ITEMS:
            raise ValueError(f"{name} must have at most {MAX_ITEMS} items, got {len(value)}.")
        return tuple(build_value(inner[0], v, f"{name}[{i}]", allow_imports) for i, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: build_value(inner[1], v, f"{name}.{key}", allow_imports) for key, v in value.items()}
    if origin is types.UnionType:  # X | None
        if value is None and type(None) in inner:
            return None
        return build_value(next(t for t in inner if t is not type(None)), value, name, allow_imports)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < MAX_INTEGER else math.inf
    wanted = int if hint is Bytes else origin or hint
    if not isinstance(value, wanted if isinstance(wanted, type) else object) or isinstance(value, bool) != (
        hint is bool
    ):
        raise ValueError(f"{name} must be {getattr(hint, '__name__', hint)}, got {shown(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    most = MAX_INTEGER if hint is Bytes else MAX_ITEMS
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= most:
        raise ValueError(f"{name} must be in [0, {most}], got {shown(value)}.")
    return value


def choose_kind(hint: typing.Any, value: object, name: str, allow_imports: bool) -> type:
    """Return the class to build.

    It is `hint` or, for a registered class, the subclass that the JSON value names in `kind`.
    """
    if not issubclass(hint, Registered) or not isinstance(value, dict):
        return hint
    kind = value.get("kind", hint.kind)
    if not isinstance(kind, str):
        raise ValueError(f"{name}.kind must be str, got {shown(kind)}.")
    try:
        return find_kind(hint, kind, allow_imports)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def shown(value: object) -> str:
    """Return a value as text for an error message, shortened if it is long."""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return "an integer with many digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
