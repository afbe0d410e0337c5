"""Stores of a data set's frames: the interface, and a store that memory-maps one file of uncompressed frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class StoredClip:
    """A video in a store. It has `frames` frames of shape (3, height, width), uint8."""

    name: str
    split: str
    frames: int
    height: int
    width: int


class FrameStore(Protocol):
    """Interface of a store of the frames of all videos of a data set, at one frame rate.

    short_side: shorter side of the frames, in pixels. skipped: reason for each video that could not be read, by name.
    """

    frames_per_second: float
    short_side: int
    skipped: dict[str, str]

    def clips(self, split: str) -> Sequence[StoredClip]:
        """Return the clips of a split."""
        ...

    def lengths(self, split: str) -> np.ndarray:
        """Return length_X, the number of frames of each clip of a split, in the order of `clips`."""
        ...

    def read(self, windows: Sequence[tuple[Any, int]], count: int, stride: int) -> list[np.ndarray]:
        """Return byte_TCHW uint8 of each window. A window is a clip of this store and the index of its first frame.

        count: number of frames to return. stride: step between their indices; 1 returns consecutive frames.
        """
        ...


@dataclass(frozen=True)
class CachedClip(StoredClip):
    """A clip whose frames start at byte `offset` of frames.bin."""

    offset: int


class CachedFrameStore:
    """Store of a folder in which `build_cache` has written index.json and frames.bin.

    The file of frames is memory-mapped, and `read` returns views of it without copying.
    """

    def __init__(self, home: str | Path) -> None:
        self.home = Path(home)
        index = json.loads((self.home / "index.json").read_text())
        self.frames_per_second: float = index["config"]["frames_per_second"]
        self.short_side: int = index["config"]["short_side"]
        self.skipped: dict[str, str] = index["refused"]
        self._clips = [CachedClip(**clip) for clip in index["clips"]]
        self._bytes = np.memmap(self.home / "frames.bin", dtype=np.uint8, mode="r")

    def all_clips(self) -> list[CachedClip]:
        """Return the clips of every split, in the order in which their frames are stored."""
        return list(self._clips)

    def clips(self, split: str) -> Sequence[CachedClip]:
        """Return the clips of a split."""
        return [clip for clip in self._clips if clip.split == split]

    def lengths(self, split: str) -> np.ndarray:
        """Return length_X, the number of frames of each clip of a split, in the order of `clips`."""
        return np.array([clip.frames for clip in self.clips(split)], np.int64)

    def read(self, windows: Sequence[tuple[CachedClip, int]], count: int, stride: int) -> list[np.ndarray]:
        """Same as `FrameStore.read`. The arrays are views of the file, not copies."""
        return [self._frames(clip)[start : start + stride * (count - 1) + 1 : stride] for clip, start in windows]

    def _frames(self, clip: CachedClip) -> np.ndarray:
        """Return all frames of a clip, byte_TCHW, as a view of the file."""
        count = clip.frames * 3 * clip.height * clip.width
        return self._bytes[clip.offset : clip.offset + count].reshape(clip.frames, 3, clip.height, clip.width)
