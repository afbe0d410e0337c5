"""Types of command-line arguments: functions that convert a text to a value, or raise an error that says what is wrong.

Nothing heavy is imported here, so that usage errors are reported before torch is imported. argparse turns
ArgumentTypeError, and ValueError of `int` and `float`, into a usage error.
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
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # package.module:name


class HelpfulParser(argparse.ArgumentParser):
    """Parser that suggests the nearest name for a misspelt command, option or choice."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error on one line, and exit with code 2."""
        if wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message += suggestion(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        elif wrong := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            message += suggestion(wrong[1], self.all_options())
        super().error(message)

    def all_options(self) -> list[str]:
        """Return the option strings of this parser and of its commands."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [option for parser in action.choices.values() for option in parser.all_options()]
        return found


def suggestion(wrong: str, valid: list[str]) -> str:
    """Return the end of a message that suggests the nearest valid name; an empty text if none is near."""
    near = difflib.get_close_matches(wrong, [name for name in valid if name != wrong], n=1)
    return f"; did you mean {near[0]}?" if near else ""


# ---- numbers --------------------------------------------------------------------------------------------------------


def capacity(text: str) -> float:
    """Parse the capacity of actions, in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"capacity must be in [0, 1], got {text}.")
    return value


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    return at_least(1, text)


def frame_count(text: str) -> int:
    """Parse a number of frames of at least 2, since an action lies between two frames."""
    return at_least(2, text)


def point_count(text: str) -> int:
    """Parse a number of points of a map, at least 4."""
    return at_least(4, text)


def at_least(least: int, text: str) -> int:
    """Parse an integer with a lower bound."""
    value = int(text)
    if value < least:
        raise ArgumentTypeError(f"must be at least {least}, got {text}.")
    return value


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f"must be a finite number above 0, got {text}.")
    return value


def not_negative(text: str) -> float:
    """Parse a finite number of at least 0."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentTypeError(f"must be a finite number of at least 0, got {text}.")
    return value


def fraction_below_one(text: str) -> float:
    """Parse a fraction in [0, 1)."""
    value = float(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"must be in [0, 1), got {text}.")
    return value


def fraction_above_zero(text: str) -> float:
    """Parse a fraction in (0, 1]."""
    value = float(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"must be in (0, 1], got {text}.")
    return value


# ---- names ----------------------------------------------------------------------------------------------------------


def device(text: str) -> str:
    """Check the name of a PyTorch device, or `auto`."""
    if not DEVICE.fullmatch(text):
        raise ArgumentTypeError(f"device must be auto, cpu, cuda, mps, xpu or cuda:N, got {text!r}.")
    return text


def recipe(text: str) -> str:
    """Check the name of a training recipe, or the form of an import path `package.module:function`. Nothing is run."""
    names = registered("lawm_core.training.recipes", "RECIPES")
    if text not in names and not IMPORT_PATH.fullmatch(text):
        raise ArgumentTypeError(
            f"recipe must be one of {', '.join(names)} or package.module:function, got {text!r}"
            f"{suggestion(text, names) or '.'}"
        )
    return text


def suites(text: str) -> str:
    """Check the names of evaluation suites, separated by commas, or `all`."""
    valid = [name for table in ("SUITES", "ROBOT_SUITES") for name in registered("lawm_core.evaluation.suites", table)]
    for name in text.split(",") if text != "all" else ():
        if name not in valid:
            raise ArgumentTypeError(f"suite must be one of {', '.join(valid)}, got {name!r}.")
    return text


def registered(module: str, table: str) -> list[str]:
    """Return the keys of a dictionary at the top level of a module.

    If the module has not been imported, the keys are read from its source, since importing it would take seconds.
    """
    if module in sys.modules:
        return list(getattr(sys.modules[module], table))
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None, module
    source = Path(spec.origin).read_text(encoding="utf-8")
    return [key for statement in ast.parse(source).body for key in assigned_keys(statement, table)]


def assigned_keys(statement: ast.stmt, table: str) -> list[str]:
    """Return the keys that a statement `TABLE = {...}` or `TABLE["key"] = ...` adds to a dictionary."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return []
    target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
    if isinstance(target, ast.Subscript) and ast.unparse(target.value) == table:
        return [ast.literal_eval(target.slice)]
    if ast.unparse(target) == table and isinstance(statement.value, ast.Dict):
        return [ast.literal_eval(key) for key in statement.value.keys if key is not None]
    return []
