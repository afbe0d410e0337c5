"""Several sources of unlabelled video as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Generator, Tensor


class VideoWorld(Protocol):
    """Where training clips come from."""

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """frame_BTCHW in [0, 1] on the generator's device."""
        ...

    def stills(self, a_clip: int, size: int) -> Tensor:
        """still_SCHW in [0, 1]: pictures for the looks of procedural scenes."""
        ...


class MixedWorld:
    """Each clip of a batch comes from one of the worlds, drawn by their shares."""

    def __init__(self, worlds: Sequence[VideoWorld], shares: Sequence[float]) -> None:
        if not worlds or len(worlds) != len(shares) or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"{len(worlds)} worlds with shares {list(shares)}; needed: a share of 0 or more for each.")
        self.worlds = tuple(worlds)
        self.share_W = torch.tensor(shares, dtype=torch.float64) / sum(shares)

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Clips world by world; the counts are a fresh draw, so small shares have their turn too."""
        pick_B = torch.multinomial(
            self.share_W.to(generator.device), clips, replacement=True, generator=generator
        ).tolist()
        counts = [pick_B.count(i) for i in range(len(self.worlds))]
        drawn = zip(self.worlds, counts, strict=True)
        return torch.cat([world.draw(count, frames, generator) for world, count in drawn if count])

    def stills(self, a_clip: int, size: int) -> Tensor:
        """Of every world that is drawn from."""
        return torch.cat([w.stills(a_clip, size) for w, share in zip(self.worlds, self.share_W, strict=True) if share])
