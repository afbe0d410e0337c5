"""A canvas that is painted in layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Colour = str | Tensor  # "#rrggbb", or (3, H, W) in [0, 1]


def ink(colour: Colour) -> Tensor:
    """Return a colour as a tensor (3, 1, 1) or (3, H, W)."""
    if isinstance(colour, Tensor):
        return colour
    return torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])[:, None, None]


def mix(one: Colour, two: Colour, share: Tensor | float) -> Tensor:
    """Interpolate from `one` (share 0) to `two` (share 1)."""
    share = torch.as_tensor(share).clamp(0, 1)
    return ink(one) * (1 - share) + ink(two) * share


def ramp(share_HW: Tensor, *colours: Colour) -> Tensor:
    """Interpolate through all colours as share goes from 0 to 1."""
    place = share_HW.clamp(0, 1) * (len(colours) - 1)
    out = ink(colours[0])
    for i, colour in enumerate(colours[1:]):
        out = mix(out, colour, place - i)
    return out


class Canvas:
    """A square picture that spans +-1 (two frame widths), painted in layers; transparent where nothing is painted.

    x_HW and y_HW are the places of its pixels; y points down. Distances below are negative inside a shape.
    """

    def __init__(self, seed: int = 0, pixels: int = 1024) -> None:
        line = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
        self.y_HW, self.x_HW = torch.meshgrid(line, line, indexing="ij")
        self.generator = torch.Generator().manual_seed(seed)
        self.edge = 5 / pixels
        self.rgba_4HW = torch.zeros(4, pixels, pixels)  # colours already weighted by alpha

    def lay(self, colour: Colour, alpha_HW: Tensor | float = 1.0) -> None:
        """Paint a layer."""
        layer = torch.cat((ink(colour).expand(3, *self.x_HW.shape), torch.ones(1, *self.x_HW.shape)))
        alpha = torch.as_tensor(alpha_HW).clamp(0, 1)
        self.rgba_4HW = self.rgba_4HW * (1 - alpha) + layer * alpha

    def fill(self, colour: Colour, distance_HW: Tensor, strength: float = 1.0) -> None:
        """Paint a shape with an anti-aliased edge."""
        self.lay(colour, strength * self.inside(distance_HW))

    def inside(self, distance_HW: Tensor) -> Tensor:
        """Return 1 inside the shape and 0 outside, with an edge of one or two pixels."""
        return (0.5 - distance_HW / self.edge).clamp(0, 1)

    def tint(self, factor_HW: Tensor) -> None:
        """Multiply every colour by a factor."""
        self.rgba_4HW[:3] = (self.rgba_4HW[:3] * factor_HW).clamp(max=1) * (self.rgba_4HW[3:] > 0)

    def draw(self, *shape: int) -> Tensor:
        """Return random numbers in [0, 1) of this canvas."""
        return torch.rand(*shape, generator=self.generator)

    def disc(self, x: float, y: float, radius: float, squash: float = 1.0) -> Tensor:
        """Return the distance to a disc, `squash` times as high as it is wide."""
        return torch.hypot(self.x_HW - x, (self.y_HW - y) / squash) - radius

    def glow(self, colour: Colour, x: float, y: float, radius: float, reach: float = 3.0) -> None:
        """Paint a bright disc with a halo."""
        distance = self.disc(x, y, radius)
        self.lay(colour, 0.55 * torch.exp(-distance.clamp(min=0) / (radius * reach) * 2))
        self.fill(colour, distance)

    def clouds(self, rows: int, columns: int, octaves: int = 4) -> Tensor:
        """Return smooth noise around 0, mostly within +-1."""
        noise, size = torch.zeros_like(self.x_HW), self.x_HW.shape
        for i in range(octaves):
            coarse = self.draw(1, 1, rows * 2**i + 1, columns * 2**i + 1) - 0.5
            noise += F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[0, 0] * 0.5**i
        return noise * 1.6

    def skyline(self, waves: int, octaves: int = 5) -> Tensor:
        """Return smooth noise that depends on the column alone, around 0, mostly within +-1."""
        return self.clouds(1, waves, octaves)[:1].expand_as(self.x_HW)

    def scatter(self, cells: int, jitter: float = 0.6) -> tuple[Tensor, Tensor]:
        """Return the distance to a random point per grid cell, and a random number per cell."""
        column, row = (((place + 1) / 2 * cells).floor().long() for place in (self.x_HW, self.y_HW))
        place = (1 - jitter) / 2 + jitter * self.draw(2, cells, cells)
        x, y = place[0][row, column] + column, place[1][row, column] + row
        offset = torch.hypot(self.x_HW - (x / cells * 2 - 1), self.y_HW - (y / cells * 2 - 1))
        return offset, self.draw(cells, cells)[row, column]

    def stars(self, colour: Colour, cells: int, largest: float) -> None:
        """Paint stars of all sizes, few of them large."""
        offset, value = self.scatter(cells, 0.85)
        size = largest * (0.25 + 0.75 * (1.6 * value - 0.6).clamp(0, 1) ** 2) - (value < 0.4).float()
        self.lay(colour, 0.3 * torch.exp(-offset / (0.8 * size.clamp(min=1e-4))))
        self.fill(colour, offset - size, 0.95)

    def mosaic(self, cells: int, jitter: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the distance to the seams of irregular stones (negative inside), and a random number per stone."""
        column, row = (((place + 1) / 2 * cells).floor().long() for place in (self.x_HW, self.y_HW))
        offset, value = self.draw(2, cells, cells) * jitter + (1 - jitter) / 2, self.draw(cells, cells)
        near, next_near, own = torch.full_like(self.x_HW, 9), torch.full_like(self.x_HW, 9), torch.zeros_like(self.x_HW)
        for i, j in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            r, c = (row + i) % cells, (column + j) % cells
            x, y = (column + j + offset[0][r, c]) / cells * 2 - 1, (row + i + offset[1][r, c]) / cells * 2 - 1
            distance = torch.hypot(self.x_HW - x, self.y_HW - y)
            own = torch.where(distance < near, value[r, c], own)
            next_near = torch.minimum(next_near, torch.maximum(near, distance))
            near = torch.minimum(near, distance)
        return near - next_near, own
