"""How a frame is cut into tokens, and tokens into cells: all that other networks need to know of an encoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FrameGeometry:
    """frame_size and patch_size in pixels; a token is one patch, a cell is `patch_size / cells` pixels wide."""

    frame_size: int
    patch_size: int
    width: int  # D, channels a token
    cells: int  # cells a side of a token: 1, or an even number

    def __post_init__(self) -> None:
        sizes = (self.frame_size, self.patch_size, self.width, self.cells)
        if min(sizes) < 1 or self.frame_size % self.patch_size or self.patch_size % self.cells:
            raise ValueError(
                f"frame_size {self.frame_size}, patch_size {self.patch_size}, cells {self.cells}: "
                "frame_size must be a multiple of patch_size, and patch_size of cells."
            )
        if self.width % self.cells**2 or (self.cells > 1 and self.cells % 2):
            raise ValueError(
                f"width {self.width}, cells {self.cells}: cells must be 1 or even, their square a divisor of width."
            )

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.frame_size // self.patch_size

    @property
    def tokens(self) -> int:
        """N, tokens a frame."""
        return self.grid**2

    @property
    def cell_channels(self) -> int:
        """Channels a cell."""
        return self.width // self.cells**2

    @property
    def cell_pixels(self) -> int:
        """Width of a cell in pixels."""
        return self.patch_size // self.cells
