"""Config classes that are found by a name, their `kind`, inside this package or outside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Registered:
    """Base class of configs that have several variants. config.json stores `kind`, by which the class is found again.

    A subclass in this package has a short kind such as `noisy`. A subclass outside it has its import path as kind,
    `package.module:ClassName`, so that a checkpoint says which code it needs.
    """

    kind: str = ""


def find_kind(base: type, kind: str, allow_imports: bool = False) -> type:
    """Return the subclass of `base` with this kind.

    allow_imports: whether a kind of the form `package.module:ClassName` may be imported, which runs its code. Raises
    ValueError if there is none, if importing is needed but not allowed, or if the imported object is not a subclass of
    `base`.
    """
    known = {subclass.kind: subclass for subclass in subclasses(base) if subclass.kind}
    if kind in known:
        return known[kind]
    if ":" not in kind:
        built_in = ", ".join(sorted(name for name in known if ":" not in name))
        raise ValueError(f"kind must be one of {built_in} or an import path package.module:ClassName, got {kind!r}.")
    if not allow_imports:
        raise ValueError(
            f"kind {kind!r} needs code from outside lawm_core. "
            f"Import that module first, or pass trust_code=True if you "
            "trust it."
        )
    found = import_object(kind)
    if not isinstance(found, type) or not issubclass(found, base):
        raise ValueError(f"{kind} must be a subclass of {base.__name__}, got {found!r:.80}.")
    return found


def subclasses(base: type) -> Iterator[type]:
    """Yield `base` and all of its subclasses that have been imported."""
    yield base
    for subclass in base.__subclasses__():
        yield from subclasses(subclass)


def import_object(path: str) -> Any:
    """Import `package.module:name` and return the object. Raises ValueError if it cannot be found."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} cannot be imported: {error}.") from error
