"""Several ranks on this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import torch.multiprocessing


def run_ranks(work: Callable, arguments: tuple, ranks: int) -> None:
    """Run `work(rank, *arguments)` in one process per rank and raise the first error of any of them.

    The processes are forked from a server that has imported the caller's module, and torch with it, once.
    """
    multiprocessing.set_forkserver_preload([work.__module__])
    torch.multiprocessing.start_processes(work, arguments, nprocs=ranks, start_method="forkserver")
