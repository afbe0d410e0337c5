"""The part of a video that a user selects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

FRAMES, MIN_FRAMES, MAX_FRAMES = 16, 2, 32  # number of frames: default, minimum, maximum


@dataclass(frozen=True, kw_only=True)
class ClipSelection:
    """A part of a video: file, start, and maximum number of frames.

    Raises ValueError if the start or the number of frames is out of range.
    """

    path: Path
    start_seconds: float = 0.0
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise ValueError(f"The start must be at least 0 seconds, got {self.start_seconds:g}.")
        if not MIN_FRAMES <= self.frames <= MAX_FRAMES:
            raise ValueError(f"The number of frames must be in [{MIN_FRAMES}, {MAX_FRAMES}], got {self.frames:g}.")

    @staticmethod
    def of(path: str | Path, start_seconds: float | None = None, frames: float | None = None) -> ClipSelection:
        """Build a selection from the values of the page's inputs. For None, a start of 0 or FRAMES frames is used."""
        start = 0.0 if start_seconds is None else round(float(start_seconds), 3)
        length = FRAMES if frames is None or not math.isfinite(frames) else round(frames)
        return ClipSelection(path=Path(path), start_seconds=start, frames=length)
