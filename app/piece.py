"""Which part of which video a person means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

FRAMES, FEWEST_FRAMES, MOST_FRAMES = 16, 2, 32  # of a clip: usual, least, most


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Which piece of which video is meant. Raises ValueError for a moment or a length that no video has."""

    path: Path
    start_seconds: float = 0.0
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise ValueError(f"The start came as {self.start_seconds:g} seconds; 0 or later is needed.")
        if not FEWEST_FRAMES <= self.frames <= MOST_FRAMES:
            raise ValueError(
                f"The length came as {self.frames:g} frames; {FEWEST_FRAMES} to {MOST_FRAMES} are possible."
            )

    @staticmethod
    def of(path: str | Path, start_seconds: float | None = None, frames: float | None = None) -> Piece:
        """From what a page sends: an empty field means the usual."""
        start = 0.0 if start_seconds is None else round(float(start_seconds), 3)
        length = FRAMES if frames is None or not math.isfinite(frames) else round(frames)
        return Piece(path=Path(path), start_seconds=start, frames=length)
