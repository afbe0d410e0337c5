"""How an encoder divides a frame into tokens, and tokens into sub-patches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lawm_core.registry import Registered


@dataclass(frozen=True, kw_only=True)
class FrameGeometry(Registered):
    """Base class of encoder configs. It has all that other networks need to know about an encoder.

    frame_size: height and width of a frame in pixels.
    patch_size: height and width of the patch of a token in pixels.
    width: D, the number of channels per token.
    subpatches: number of sub-patches along each side of a token, 1 or an even number.
    """

    frame_size: int
    patch_size: int
    width: int
    subpatches: int

    def __post_init__(self) -> None:
        sizes = (self.frame_size, self.patch_size, self.width, self.subpatches)
        if min(sizes) < 1 or self.frame_size % self.patch_size or self.patch_size % self.subpatches:
            raise ValueError(
                f"frame_size={self.frame_size} must be a multiple of patch_size={self.patch_size}, patch_size must be "
                f"a multiple of subpatches={self.subpatches}, and these and width={self.width} must be at least 1."
            )
        if self.width % self.subpatches**2 or (self.subpatches > 1 and self.subpatches % 2):
            raise ValueError(
                f"subpatches must be 1 or even, and its square must divide width={self.width}, got {self.subpatches}."
            )

    def build(self) -> nn.Module:
        """Return an untrained encoder, a module that maps frame_BTCHW in [0, 1] to state_BTND."""
        raise NotImplementedError

    @property
    def grid(self) -> int:
        """Number of tokens along each side of a frame."""
        return self.frame_size // self.patch_size

    @property
    def tokens(self) -> int:
        """N, the number of tokens per frame."""
        return self.grid**2

    @property
    def map_size(self) -> int:
        """Height and width of a state's feature map, which has one position per sub-patch."""
        return self.grid * self.subpatches

    @property
    def subpatch_channels(self) -> int:
        """Number of channels per sub-patch."""
        return self.width // self.subpatches**2

    @property
    def subpatch_pixels(self) -> int:
        """Height and width of a sub-patch in pixels."""
        return self.patch_size // self.subpatches
