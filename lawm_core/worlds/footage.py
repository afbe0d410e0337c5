"""Where a corpus's frames lie: as they are in one file, memory-mapped; shards.py has the other way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


class StoredClip(Protocol):
    """One video of a corpus, of (3, height, width) bytes a frame."""

    name: str
    split: str
    frames: int
    height: int
    width: int


class Footage(Protocol):
    """All videos of a corpus at one rate. refused: by name, why a video is not among them."""

    frames_per_second: float
    short_side: int
    refused: dict[str, str]

    def clips(self, split: str) -> Sequence[StoredClip]:
        """Those of a split."""
        ...

    def lengths(self, split: str) -> np.ndarray:
        """How many frames each of them has, length_C."""
        ...

    def read(self, pieces: Sequence[tuple[StoredClip, int]], count: int, stride: int) -> list[np.ndarray]:
        """Of each (clip, start) `count` frames, every `stride`-th from number `start` on: (count, 3, height, width)."""
        ...


@dataclass(frozen=True)
class CachedClip:
    """A clip whose frames lie in the cache's file from `offset` on."""

    name: str
    split: str
    frames: int
    height: int
    width: int
    offset: int


class CachedFootage:
    """A folder that `build_cache` made: index.json and frames.bin. Reading costs nothing until bytes are copied."""

    def __init__(self, home: str | Path) -> None:
        self.home = home = Path(home)
        index = json.loads((home / "index.json").read_text())
        self.frames_per_second: float = index["config"]["frames_per_second"]
        self.short_side: int = index["config"]["short_side"]
        self.refused: dict[str, str] = index["refused"]
        self._clips = [CachedClip(**clip) for clip in index["clips"]]
        self._bytes = np.memmap(home / "frames.bin", dtype=np.uint8, mode="r")

    def all_clips(self) -> list[CachedClip]:
        """Clips of every split, in the order in which their frames are stored."""
        return list(self._clips)

    def clips(self, split: str) -> Sequence[CachedClip]:
        """Those of a split."""
        return [clip for clip in self._clips if clip.split == split]

    def lengths(self, split: str) -> np.ndarray:
        """length_C."""
        return np.array([clip.frames for clip in self.clips(split)], np.int64)

    def read(self, pieces: Sequence[tuple[CachedClip, int]], count: int, stride: int) -> list[np.ndarray]:
        """Views into the file."""
        return [self._frames(clip)[start : start + stride * (count - 1) + 1 : stride] for clip, start in pieces]

    def _frames(self, clip: CachedClip) -> np.ndarray:
        count = clip.frames * 3 * clip.height * clip.width
        return self._bytes[clip.offset : clip.offset + count].reshape(clip.frames, 3, clip.height, clip.width)
