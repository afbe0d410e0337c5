"""The law that every training keeps: stopped and gone on with, it ends where it would have ended."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lawm_core.training.trainer import Trainer


def assert_resumes(build: Callable[[str], Trainer], stop_at: int = 3) -> None:
    """build: a trainer of a fresh model in a folder of this name."""
    straight, stopped = build("straight"), build("stopped")
    straight.run(show=False)
    for _ in range(stop_at):
        stopped.train_step()
    stopped.save()
    resumed = build("stopped")
    assert resumed.resume() and resumed.step == stop_at
    resumed.run(show=False)
    pairs = zip(straight.module.state_dict().values(), resumed.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
