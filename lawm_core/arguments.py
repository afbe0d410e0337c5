"""Types of command-line arguments: each turns a text into a checked value or says what is wrong with it.

Nothing heavy is imported here, so that a mistake is answered at once. argparse turns ArgumentTypeError into a usage
error, and a ValueError of `int` or `float` too.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import math
import re
import sys
from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

DEVICE = re.compile(r"auto|mps|(cpu|cuda|xpu)(:\d+)?")


class HelpfulParser(argparse.ArgumentParser):
    """Says what was probably meant where a command, an option or a choice is misspelt."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and one line, and exit with 2."""
        if wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += suggestion(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        elif wrong := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            message += suggestion(wrong[1], self.all_options())
        super().error(message)

    def all_options(self) -> list[str]:
        """Option strings of this parser and of its commands."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [option for parser in action.choices.values() for option in parser.all_options()]
        return found


def suggestion(wrong: str, known: list[str]) -> str:
    """The end of a message that names the nearest of what is known; nothing where none is near."""
    near = difflib.get_close_matches(wrong, [name for name in known if name != wrong], n=1)
    return f"; did you mean {near[0]}?" if near else ""


# ---- numbers --------------------------------------------------------------------------------------------------------


def capacity(text: str) -> float:
    """How much an action may carry, in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"capacity must be in [0, 1], got {text}.")
    return value


def positive_int(text: str) -> int:
    """A count of 1 or more."""
    return at_least(1, text)


def frame_count(text: str) -> int:
    """A number of frames: 2 or more, since an action lies between two frames."""
    return at_least(2, text)


def point_count(text: str) -> int:
    """A number of points on a map: 4 or more."""
    return at_least(4, text)


def at_least(least: int, text: str) -> int:
    """A whole number with a lower bound."""
    value = int(text)
    if value < least:
        raise ArgumentTypeError(f"must be at least {least}, got {text}.")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f"must be a finite number above 0, got {text}.")
    return value


def not_negative(text: str) -> float:
    """A finite number of 0 or more."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(f"must be a finite number of at least 0, got {text}.")
    return value


def share_below_one(text: str) -> float:
    """A share that leaves something for the rest, in [0, 1)."""
    value = float(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"must be in [0, 1), got {text}.")
    return value


def share_above_zero(text: str) -> float:
    """A share that is not empty, in (0, 1]."""
    value = float(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"must be in (0, 1], got {text}.")
    return value


# ---- names ----------------------------------------------------------------------------------------------------------


def device(text: str) -> str:
    """A device as PyTorch names it, or auto."""
    if not DEVICE.fullmatch(text):
        raise ArgumentTypeError(f"device must be auto, cpu, cuda or cuda:N, got {text!r}.")
    return text


def recipe(text: str) -> str:
    """The name of a training recipe."""
    return one_of("recipe", text, registered("lawm_core.training.recipes", "RECIPES"))


def suites(text: str) -> str:
    """Names of evaluation suites, separated by commas, or all."""
    known = [
        name
        for table in ("SUITES", "FLOW_SUITES", "ROBOT_SUITES")
        for name in registered("lawm_core.evaluation.suites", table)
    ]
    for name in text.split(",") if text != "all" else ():
        one_of("suite", name, known)
    return text


def one_of(kind: str, name: str, known: list[str]) -> str:
    """The name, if it is known."""
    if name not in known:
        raise ArgumentTypeError(f"{kind} must be one of {', '.join(known)}, got {name!r}.")
    return name


def registered(module: str, table: str) -> list[str]:
    """The keys of a dictionary at the top of a module, from its source where it has not been imported.

    The tables stay with what they list, and importing that would take seconds.
    """
    if module in sys.modules:
        return list(getattr(sys.modules[module], table))
    source = Path(find_spec(module).origin).read_text(encoding="utf-8")
    return [key for statement in ast.parse(source).body for key in assigned_keys(statement, table)]


def assigned_keys(statement: ast.stmt, table: str) -> list[str]:
    """The keys that `TABLE = {...}` or `TABLE["key"] = ...` puts into a dictionary."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return []
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    if isinstance(target, ast.Subscript) and ast.unparse(target.value) == table:
        return [ast.literal_eval(target.slice)]
    if ast.unparse(target) == table and isinstance(statement.value, ast.Dict):
        return [ast.literal_eval(key) for key in statement.value.keys]
    return []
