"""Parts of a batch: ranks share it out, and each may take its share in several passes. What chance gives a row depends
on the row's number in the whole batch, so a step is the same however its batch is cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lawm_core.runtime import rank, ranks


@dataclass(frozen=True)
class Share:
    """The part number `index`, from 0, of `count` equal ones that follow each other in a batch."""

    index: int
    count: int


_taken: list[Share] = []


def share() -> Share:
    """What this process works on now: the pass that `taking` names, else its rank's part."""
    return _taken[-1] if _taken else Share(rank(), ranks())


@contextlib.contextmanager
def taking(one_pass: int, passes: int) -> Iterator[Share]:
    """For the block, this rank works on one of so many passes over its part of the batch."""
    _taken.append(Share(rank() * passes + one_pass, ranks() * passes))
    try:
        yield _taken[-1]
    finally:
        _taken.pop()


def pace() -> float:
    """How much of a step is done now, 1 / passes: what moves a little at each step moves so much less at each pass."""
    return ranks() / share().count


def row_numbers(rows: int, stacks: int = 1) -> list[int]:
    """The numbers in the whole batch of the `rows` that this process holds now.

    stacks: how often the batch's clips come one after another, as in a source on top of a target.
    """
    part, each = share(), rows // stacks
    return [(stack * part.count + part.index) * each + row for stack in range(stacks) for row in range(each)]


def even_rows(rows: int, *shape: int, device: torch.device, stacks: int = 1) -> Tensor:
    """Numbers spread evenly over [0, 1), (rows, *shape); see `row_numbers`."""
    return _each_row(torch.rand, rows, shape, device, stacks)


def normal_rows(rows: int, *shape: int, device: torch.device, stacks: int = 1) -> Tensor:
    """Numbers from N(0, 1), (rows, *shape); see `row_numbers`."""
    return _each_row(torch.randn, rows, shape, device, stacks)


def _each_row(draw, rows: int, shape: tuple[int, ...], device: torch.device, stacks: int) -> Tensor:
    """One number moves PyTorch's own generator on, everywhere alike; the row's number does the rest. Nobody draws for
    rows that others hold: noise on states would fill a GPU.
    """
    first, generator = int(torch.randint(2**62, ())), Generator(device)
    drawn = [
        draw(shape, generator=generator.manual_seed(first + number), device=device)
        for number in row_numbers(rows, stacks)
    ]
    return torch.stack(drawn) if drawn else torch.empty(0, *shape, device=device)
