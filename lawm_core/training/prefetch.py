"""Drawing of the next batch in a background thread while the model is trained on the current one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch

from lawm_core.batch_slice import BatchSlice


class BatchSource(Protocol):
    """Interface of sources of training batches. A batch depends only on the seed, the step and the batch slice."""

    device: torch.device

    def draw(self, step: int, batch_slice: BatchSlice) -> Any:
        """Return a slice of the batch of a step."""
        ...


class Prefetcher:
    """Draws the next batch of a source in a background thread. The batches are the same as without it.

    It also saves time on a CPU, because drawing a batch keeps only one core busy.

    enabled: with False, batches are drawn when they are requested.
    """

    def __init__(self, source: BatchSource, enabled: bool = True) -> None:
        self.source, self.enabled = source, enabled
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: tuple[tuple[int, BatchSlice], Future] | None = None

    def draw(self, step: int, batch_slice: BatchSlice, then: tuple[int, BatchSlice] | None = None) -> Any:
        """Return a slice of the batch of a step, and start to draw the slice that is requested next.

        then: step and batch slice of the next request, or None if there is none. An error in the background thread is
        raised when the batch is requested.
        """
        ready, self._next = self._next, None
        if ready and ready[0] == (step, batch_slice):
            batch = ready[1].result()
        else:
            batch = self.source.draw(step, batch_slice)
        if then and self.enabled:
            self._next = then, self._thread.submit(self.source.draw, *then)
        return batch
