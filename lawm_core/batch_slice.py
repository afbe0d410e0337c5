"""The slice of a training batch that one process handles in one micro-batch, and its random numbers.

Ranks split a batch, and gradient accumulation splits each rank's part again. The random numbers of each row are seeded
by the index of the row in the whole batch, so that a training step is the same however its batch is split.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class BatchSlice:
    """Slice number `index`, from 0, of `count` equal consecutive slices of a batch."""

    index: int = 0
    count: int = 1

    def row_indices(self, rows: int, stacks: int = 1) -> list[int]:
        """Return the index in the whole batch of each row of this slice.

        rows: number of rows in this slice. stacks: number of batches that are concatenated, for example 2 for sources
        followed by targets. The slice has rows / stacks rows of each.
        """
        each = rows // stacks
        return [(stack * self.count + self.index) * each + row for stack in range(stacks) for row in range(each)]

    def rand(self, rows: int, *shape: int, device: torch.device, stacks: int = 1) -> Tensor:
        """Return uniform random numbers in [0, 1), of shape (rows, *shape). rows, stacks: see `row_indices`."""
        return self._draw(torch.rand, rows, shape, device, stacks)

    def randn(self, rows: int, *shape: int, device: torch.device, stacks: int = 1) -> Tensor:
        """Return standard normal random numbers, of shape (rows, *shape). rows, stacks: see `row_indices`."""
        return self._draw(torch.randn, rows, shape, device, stacks)

    def _draw(self, draw, rows: int, shape: tuple[int, ...], device: torch.device, stacks: int) -> Tensor:
        # One number from PyTorch's global generator, which is in the same state on every rank, seeds all rows. A
        # rank draws numbers for its own rows only.
        first, generator = int(torch.randint(2**62, ())), Generator(device)
        drawn = [
            draw(shape, generator=generator.manual_seed(first + row), device=device)
            for row in self.row_indices(rows, stacks)
        ]
        return torch.stack(drawn) if drawn else torch.empty(0, *shape, device=device)


WHOLE_BATCH = BatchSlice()
