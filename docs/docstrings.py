"""Griffe extension: formats docstrings for the site, with tensors and errors as code and field descriptions as lists.

Griffe reads the code and never runs it.
"""

from __future__ import annotations

import re

import griffe

NAME = re.compile(r"(?<![\w.])(?:[a-z]\w*_[A-Z][A-Z0-9]*\b(?:\[[^\]]*\])?|[A-Z]\w+Error\b)")
FIELDS = re.compile(r"(\w+(?:, \w+)*): ")


class Docstrings(griffe.Extension):
    """Formats the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Format an object's docstring after all its members are loaded."""
        if obj.docstring:
            obj.docstring.value = format_names(format_fields(obj.docstring.value, describable_names(obj)))


def describable_names(obj: griffe.Object) -> set[str]:
    """Return the names that a docstring can describe: parameters and attributes."""
    return {parameter.name for parameter in getattr(obj, "parameters", ())} | set(obj.members)


def format_fields(text: str, names: set[str]) -> str:
    """Turn paragraphs that begin with `name: ` into lists; following lines belong to their item."""
    return "\n\n".join(format_list(paragraph, names) for paragraph in text.split("\n\n"))


def format_list(paragraph: str, names: set[str]) -> str:
    """Format one paragraph; unchanged if it does not begin with a name."""
    lines = [(line, described_names(line, names)) for line in paragraph.splitlines()]
    if not lines or not lines[0][1]:
        return paragraph
    return "\n".join(format_item(line, described) if described else f"  {line}" for line, described in lines)


def format_item(line: str, described: list[str]) -> str:
    """Return `- a, b: description` with the names as code."""
    return "- " + ", ".join(f"`{name}`" for name in described) + line[len(", ".join(described)) :]


def described_names(line: str, names: set[str]) -> list[str]:
    """Return the names from `names` that a line describes."""
    found = FIELDS.match(line)
    described = found[1].split(", ") if found else []
    return described if set(described) <= names else []


def format_names(text: str) -> str:
    """Format tensor and error names as code, except in existing code, which is every second part between backticks."""
    if "\n    " in text:  # a code block; no docstring has a code block and tensor names in prose
        return text
    parts = text.split("`")
    parts[::2] = [NAME.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)
