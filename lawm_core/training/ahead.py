"""Batches drawn while the one before is learned from."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch

from lawm_core.shares import Share


class Source(Protocol):
    """Where a trainer's batches come from: pure functions of (seed, step, part)."""

    device: torch.device

    def draw(self, step: int, part: Share | None = None) -> Any:
        """A part of batch number `step`."""
        ...


class DrawnAhead:
    """A source whose next part is drawn by a thread of its own meanwhile. What is drawn is the same: draws depend on
    nothing but their number. It pays on a processor too: much of drawing keeps one core busy, and of learning all.
    """

    def __init__(self, source: Source, ahead: bool = True) -> None:
        self.source, self.ahead = source, ahead
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._next: tuple[tuple[int, Share], Future] | None = None

    def draw(self, step: int, part: Share, then: tuple[int, Share] | None = None) -> Any:
        """This part; `then` is drawn ahead. Errors of drawing come out where the part is asked for."""
        ready, self._next = self._next, None
        drawn = ready[1].result() if ready and ready[0] == (step, part) else self.source.draw(step, part)
        if then and self.ahead:
            self._next = then, self._thread.submit(self.source.draw, *then)
        return drawn
