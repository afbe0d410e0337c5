"""Docstrings as the site shows them: tensors and errors in type, lines about fields as a list.

Griffe loads this file while the site is built; it reads the code and never runs it.
"""

from __future__ import annotations

import re

import griffe

NAME = re.compile(r"(?<![\w.])(?:[a-z]\w*_[A-Z][A-Z0-9]*\b(?:\[[^\]]*\])?|[A-Z]\w+Error\b)")
FIELDS = re.compile(r"(\w+(?:, \w+)*): ")


class Docstrings(griffe.Extension):
    """What is written for readers of the code, set for readers of pages."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Every object, once it is read with all that is in it."""
        if obj.docstring:
            obj.docstring.value = set_names(set_fields(obj.docstring.value, names_of(obj)))


def names_of(thing: griffe.Object) -> set[str]:
    """What a docstring may speak of by name: parameters and attributes."""
    return {parameter.name for parameter in getattr(thing, "parameters", ())} | set(thing.members)


def set_fields(text: str, names: set[str]) -> str:
    """Paragraphs that begin with a name and a colon as a list, each item with what goes on below its line."""
    return "\n\n".join(set_list(paragraph, names) for paragraph in text.split("\n\n"))


def set_list(paragraph: str, names: set[str]) -> str:
    """One paragraph; as it is where it does not begin with a name."""
    lines = [(line, about(line, names)) for line in paragraph.splitlines()]
    if not lines or not lines[0][1]:
        return paragraph
    return "\n".join(set_item(line, said) if said else f"  {line}" for line, said in lines)


def set_item(line: str, said: list[str]) -> str:
    """`- a, b: what they are`, the names in type."""
    return "- " + ", ".join(f"`{name}`" for name in said) + line[len(", ".join(said)) :]


def about(line: str, names: set[str]) -> list[str]:
    """Which of `names` a line begins by explaining."""
    found = FIELDS.match(line)
    said = found[1].split(", ") if found else []
    return said if set(said) <= names else []


def set_names(text: str) -> str:
    """`state_BTND` wherever state_BTND stands, but not in code, which is every second part between backticks."""
    if "\n    " in text:  # a block of code; none of what the site shows has both
        return text
    parts = text.split("`")
    parts[::2] = [NAME.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)
