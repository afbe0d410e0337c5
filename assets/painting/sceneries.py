"""Backgrounds: hills, seas, cities and more, each a function of its colours and a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from painting.canvas import Canvas, Colour, mix, ramp


def land(c: Canvas, height_HW: Tensor, crest: Colour, foot: Colour, fade: float, rise: Tensor | float = 0.0) -> None:
    """Paint the ground below a height, from the colour of its crest to that of its foot; `rise` is what grows on it."""
    below = c.y_HW - height_HW
    c.fill(mix(crest, foot, below / fade), -below - rise)


def firs(c: Canvas, count: int, tall: float) -> Tensor:
    """Return the height of a row of fir trees above the ground, for each column."""
    place = (c.x_HW + 1) / 2 * count
    tree = place.floor().long().clamp(0, count - 1)
    size = (0.35 + 0.65 * c.draw(count))[tree]
    return tall * size * (1 - 2 * (place - tree - 0.5).abs() / (0.5 + 0.5 * size)).clamp(min=0)


def hills(sky: tuple[str, ...], sun: str, far: str, near: str, mist: str, seed: int = 1) -> Canvas:
    """Hills one behind the other in the mist."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 1.1, *sky))
    c.lay(sun, 0.35 * (c.clouds(14, 3) + 0.1).clamp(0, 1))
    c.glow(sun, 0.2, -0.24, 0.11)
    for i in range(8):
        depth = i / 7
        height = -0.12 + 0.15 * i + (0.10 + 0.04 * depth) * c.skyline(3 + i // 2)
        trees = firs(c, 90 - 6 * i, 0.02 + 0.11 * depth) * (i > 1)
        crest = mix(far, near, depth**0.8)
        land(c, height, crest, mix(crest, mist, 0.75 - 0.35 * depth), 0.2, trees)
    return c


def sea(
    sky: tuple[str, ...], light: str, water: tuple[str, ...], island: str, night: bool = True, seed: int = 2
) -> Canvas:
    """A calm sea under the moon or a low sun, with islands at the horizon."""
    c, horizon, x = Canvas(seed), 0.06, -0.16
    c.lay(ramp((c.y_HW + 1) / (1 + horizon), *sky))
    if night:
        c.stars(light, 24, 0.012)
    c.lay(mix(sky[-1], light, 0.3), 0.6 * (c.clouds(16, 4) - 0.05).clamp(0, 1))
    c.glow(light, x, -0.22, 0.12)
    for dx, dy, radius in ((-0.04, -0.03, 0.03), (0.045, 0.02, 0.022), (-0.02, 0.055, 0.018)) * night:
        c.fill(mix(light, sky[-1], 0.3), c.disc(x + dx, -0.22 + dy, radius))
    for i in range(2):
        height = horizon + 0.02 - (0.06 + 0.15 * c.skyline(5 + 2 * i)).clamp(min=0)
        land(c, height, mix(island, sky[-1], 0.45 - 0.35 * i), island, 0.3)
    depth = (c.y_HW - horizon).clamp(min=0)
    c.fill(ramp(depth, *water), horizon - c.y_HW)
    wave = torch.sin(26 * torch.log(depth + 0.07) * 2 + 5 * c.clouds(5, 5, 2) + 4 * c.x_HW)
    crest = torch.sigmoid(5 * (wave + 0.8 * c.clouds(30, 9, 2)) - 2) * c.inside(horizon - c.y_HW)
    path = torch.exp(-(((c.x_HW - x) / (0.1 + 0.35 * depth)) ** 2))
    c.lay(mix(water[0], light, 0.22), 0.55 * crest)
    c.lay(light, 0.85 * crest * path)
    return c


def dunes(sky: tuple[str, ...], sun: str, lit: str, shadow: str, seed: int = 3) -> Canvas:
    """Dunes with a lit side, a shaded side and ripples."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 1.0, *sky))
    c.lay(sun, 0.3 * c.clouds(12, 2, 3).clamp(0, 1))
    c.glow(sun, -0.22, -0.27, 0.1)
    for i in range(6):
        depth = i / 5
        swell = 0.09 + 0.05 * depth
        height = -0.1 + 0.2 * i**1.05 + swell * c.skyline(3, 2) - 0.02 * depth
        below = (c.y_HW - height).clamp(min=0)
        lean = torch.sin(2 * math.pi * (1.1 * c.x_HW + 0.37 * i + 1.6 * below) + 1.5 * c.clouds(2, 2, 2))
        ripple = torch.sin(95 * below / (0.7 + 0.5 * depth) + 7 * c.x_HW + 5 * c.clouds(3, 3, 2))
        shade = torch.sigmoid(7 * lean) * 0.85 + 0.13 * ripple + 0.5 * below
        haze = mix(lit, sky[-1], 0.6 * (1 - depth))
        c.fill(mix(haze, mix(shadow, sky[-1], 0.45 * (1 - depth)), shade), height - c.y_HW)
    return c


def city(sky: tuple[str, ...], sun: str, far: str, near: str, window: str, seed: int = 4) -> Canvas:
    """A skyline with lit windows."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 1.3, *sky))
    c.lay(sky[-1], 0.5 * c.clouds(14, 3).clamp(0, 1))
    c.glow(sun, 0.14, -0.2, 0.13)
    for i, (count, top, spread) in enumerate(((26, -0.1, 0.3), (19, 0.06, 0.3), (15, 0.26, 0.3), (11, 0.5, 0.3))):
        edges = torch.cumsum(0.5 + c.draw(count), 0)
        edges = edges / edges[-1] * 2 - 1
        house = torch.searchsorted(edges, c.x_HW.contiguous()).clamp(max=count - 1)
        height = (top - spread * (c.draw(count) - 0.4))[house]
        wall = mix(mix(far, near, i / 3), "#000000", (0.25 * c.draw(count))[house])
        c.fill(mix(wall, sky[-1], 0.45 - 0.12 * i), height - c.y_HW)
        windows(c, house, height, 0.042 + 0.008 * i, mix(wall, window, 0.35 + 0.2 * i))
    return c


def windows(c: Canvas, house: Tensor, height: Tensor, pitch: float, light: Colour) -> None:
    """Some of the windows below each roof are lit; `house` numbers the houses."""
    column, row = c.x_HW / pitch + 0.37 * house, (c.y_HW - height) / (1.25 * pitch)
    u, v = column - column.floor() - 0.5, row - row.floor() - 0.5
    table = c.draw(128, 128)
    lit = table[row.floor().long() % 128, (column.floor().long() * 7 + house * 31) % 128] < 0.5
    inside = c.inside(torch.maximum(u.abs() - 0.27, v.abs() - 0.3) * pitch)
    c.lay(light, inside * lit * (row > 1))


def forest(sky: tuple[str, ...], far: str, near: str, leaves: tuple[str, ...], seed: int = 5) -> Canvas:
    """Trunks in the mist, crowns above and fallen leaves below."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 2 + 0.05 * c.clouds(4, 4), *sky))
    c.glow(sky[1], 0.05, -0.1, 0.16, 4)
    for i in range(4):
        depth, count = i / 3, 15 - 3 * i
        ground = 0.16 + 0.12 * i + 0.03 * c.skyline(4)
        land(c, ground, mix(sky[-1], leaves[-1], 0.35 + 0.6 * depth), mix(leaves[-1], near, 0.2 + 0.5 * depth), 0.7)
        offset, value = c.scatter(34 - 5 * i, 0.8)
        size = (0.006 + 0.016 * depth) * (0.7 + 0.6 * value)
        c.fill(
            mix(ramp(value, *leaves[:3]), sky[-1], 0.4 - 0.4 * depth),
            torch.maximum(offset - size, ground + 0.03 - c.y_HW),
        )
        bark = mix(mix(far, near, depth), near, 0.25 * c.clouds(4, 40, 3).clamp(0, 1))
        for k in range(count):
            place = (k + 0.2 + 0.6 * float(c.draw(1))) / count * 2 - 1
            width = (0.012 + 0.03 * depth) * (0.8 + 0.5 * float(c.draw(1)))
            bend = 0.02 * torch.sin(3 * c.y_HW + 6 * float(c.draw(1)))
            flare = 0.04 * width / 0.03 * torch.exp((c.y_HW - ground) * 14)
            trunk = (c.x_HW - place - bend).abs() - width - flare
            c.fill(bark, torch.maximum(trunk, c.y_HW - ground - 0.03))
        crowns(c, -0.36 - 0.08 * i, mix(leaves[i % 3], sky[0], 0.5 * (1 - depth)))
    return c


def crowns(c: Canvas, low: float, leaf: Colour) -> None:
    """Leaves from the top of the picture down to about `low`, in clumps."""
    edge = c.y_HW - low - 0.2 * c.clouds(7, 7, 2) - 0.1 * c.skyline(6)
    c.fill(mix(leaf, "#ffffff", 0.15 * c.clouds(20, 20, 1)), edge)


def reef(water: tuple[str, ...], corals: tuple[str, ...], sand: str, seed: int = 6) -> Canvas:
    """Corals on a slope under rays of light."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 1.7, *water))
    ray = torch.sin(17 * (c.x_HW + 0.35 * c.y_HW) + 3 * c.skyline(3, 2)) * (0.7 - c.y_HW).clamp(0, 1)
    c.lay("#ffffff", 0.16 * ray.clamp(0, 1))
    kelp(c, mix(water[-2], water[-1], 0.6))
    offset, value = c.scatter(13, 0.7)
    c.fill("#ffffff", (offset - 0.03 * (value - 0.35)).abs() - 0.003 + (value < 0.5).float(), 0.5)
    for i in range(4):
        ground = 0.16 + 0.2 * i + 0.06 * c.skyline(4, 3)
        for k in range(10 - i):
            place = (k + float(c.draw(1))) / (10 - i) * 2 - 1
            colour = mix(corals[(k + 2 * i) % len(corals)], water[1], 0.5 - 0.2 * i)
            (coral, fan)[k % 2](c, place, 0.22 + 0.2 * i, 0.10 + 0.05 * float(c.draw(1)) + 0.02 * i, colour)
        land(c, ground + 0.03, mix(sand, water[1], 0.6 - 0.2 * i), mix(sand, water[2], 0.75), 0.35)
    return c


def kelp(c: Canvas, colour: Colour) -> None:
    """Far blades that sway up from the ground."""
    for k in range(16):
        place, top = (k + float(c.draw(1))) / 16 * 2 - 1, -0.55 + 0.6 * float(c.draw(1))
        sway = 0.03 * torch.sin(9 * c.y_HW + 6 * float(c.draw(1)))
        width = 0.035 * (c.y_HW - top).clamp(0, 0.4) ** 0.5 * (1 + 0.3 * torch.sin(40 * c.y_HW))
        c.fill(colour, (c.x_HW - place - sway).abs() - width + 0.004, 0.3 + 0.3 * float(c.draw(1)))


def coral(c: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """A round coral with meandering grooves."""
    distance = c.disc(x, y, size, 0.95)
    groove = torch.sin(70 * c.disc(x, y, 0) + 6 * torch.sin(6 * torch.atan2(c.y_HW - y, c.x_HW - x)))
    shade = 0.3 * torch.sigmoid(4 * groove) + 0.45 * ((c.y_HW - y) / size + 0.4).clamp(0, 1)
    c.fill(mix(colour, mix(colour, "#1b1140", 0.6), shade), distance)


def fan(c: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """A coral of branches that spread from its foot."""
    dx, dy = c.x_HW - x, y + 0.05 - c.y_HW
    radius, angle = torch.hypot(dx, dy) / (2.1 * size), torch.atan2(dx, dy)
    reach = 0.85 + 0.15 * torch.cos(9 * angle)
    branch = (torch.cos(angle * 11 + torch.sin(9 * radius)) + 0.35) * radius * size * 0.16
    c.fill(
        mix(colour, "#ffffff", 0.35 * radius), torch.maximum(torch.maximum(-branch, radius - reach), angle.abs() - 1.2)
    )


def space(dark: str, clouds: tuple[str, ...], star: str, planet: tuple[str, ...] = (), seed: int = 7) -> Canvas:
    """Nebulae, stars and, if it has colours, a planet."""
    c = Canvas(seed)
    c.lay(dark)
    for i, colour in enumerate(clouds):
        band = torch.exp(-((c.y_HW - 0.7 * c.x_HW + 0.5 - 0.5 * i) ** 2) * 3)
        c.lay(colour, (0.35 * band + 0.75 * band * c.clouds(4, 4)).clamp(0, 0.9))
    for cells, largest in ((20, 0.009), (9, 0.024)):
        c.stars(star, cells, largest)
    if planet:
        giant(c, 0.36, 0.34, 0.26, planet, dark)
    return c


def giant(c: Canvas, x: float, y: float, radius: float, inks: tuple[str, ...], dark: str) -> None:
    """A banded planet with a night side."""
    bands = torch.sin(10 * (c.y_HW - y + 0.25 * (c.x_HW - x)) / radius + 2 * c.clouds(3, 2, 3))
    night = (torch.hypot(c.x_HW - x + 0.1, c.y_HW - y + 0.12) / radius - 0.45).clamp(0, 1)
    c.fill(mix(ramp(0.5 + 0.5 * bands, *inks), dark, night), c.disc(x, y, radius))


def mountains(sky: tuple[str, ...], lights: tuple[str, ...], snow: str, rock: str, fir: str, seed: int = 8) -> Canvas:
    """Snow peaks under northern lights."""
    c = Canvas(seed)
    c.lay(ramp((c.y_HW + 1) / 1.2, *sky))
    c.stars("#ffffff", 22, 0.011)
    for i, light in enumerate(lights):
        foot = -0.14 - 0.22 * i + 0.12 * torch.sin(4 * c.x_HW + 2.3 * i) + 0.08 * c.skyline(5, 3)
        rise = (foot - c.y_HW).clamp(min=0)
        curtain = torch.exp(-rise * 4) * torch.sigmoid((foot - c.y_HW) * 60)
        c.lay(light, curtain * (0.6 + 0.3 * torch.sin(34 * c.x_HW + 7 * c.skyline(4, 3))))
    for i, (count, top) in enumerate(((6, -0.06), (4, 0.02), (3, 0.2))):
        for k in range(count):
            x = (k + 0.25 + 0.5 * float(c.draw(1))) / count * 2 - 1
            peak(
                c,
                x,
                top - 0.2 * float(c.draw(1)),
                mix(sky[-1], snow, 0.45 + 0.27 * i),
                mix(sky[-1], rock, 0.4 + 0.3 * i),
            )
    for i in range(4):
        crest, ground = mix(fir, sky[-1], 0.45 - 0.15 * i), 0.42 + 0.15 * i + 0.06 * c.skyline(4)
        land(c, ground, crest, mix(crest, sky[-1], 0.4), 0.25, firs(c, 44 - 6 * i, 0.14 + 0.03 * i))
    return c


def peak(c: Canvas, x: float, y: float, snow: Colour, stone: Colour) -> None:
    """One mountain: snow above, stone below, light from the left."""
    below, dx = c.y_HW - y, c.x_HW - x
    rough = c.clouds(12, 12, 3)
    shaded = torch.sigmoid((dx - below * (0.15 + 0.5 * rough)) * 90)
    cover = torch.sigmoid((0.2 + 0.16 * rough + 0.05 * torch.sin(45 * dx) - below) * 60)
    face = mix(mix(stone, snow, 0.25), stone, shaded)
    c.fill(mix(face, mix(snow, stone, 0.55 * shaded), cover), dx.abs() - (0.95 + 0.25 * rough) * below)


def tiles(ground: str, inks: tuple[str, ...], seed: int = 9) -> Canvas:
    """A floor of painted tiles, seen from above."""
    c, pitch = Canvas(seed), 0.5
    u, v = (((place / pitch) - (place / pitch).floor() - 0.5) * 2 for place in (c.x_HW, c.y_HW))
    odd = ((c.x_HW / pitch).floor() + (c.y_HW / pitch).floor()) % 2
    radius, angle = torch.hypot(u, v), torch.atan2(v, u)
    corner = torch.hypot(1 - u.abs(), 1 - v.abs())
    c.lay(mix(ground, mix(ground, inks[0], 0.16), odd))
    scale = pitch / 2
    c.fill(inks[0], (corner - 0.6) * scale)
    c.fill(mix(ground, inks[0], 0.25), (corner - 0.36) * scale)
    c.fill(mix(inks[1], inks[2], odd), (radius - 0.42 - 0.30 * torch.cos(4 * angle).abs()) * scale)
    c.fill(ground, (radius - 0.26 - 0.26 * torch.cos(4 * angle).abs()) * scale)
    c.fill(mix(inks[2], inks[3], odd), (radius - 0.3) * scale)
    c.tint(1 + 0.16 * c.clouds(2, 2, 3))
    return c


def terrazzo(ground: str, inks: tuple[str, ...], seed: int = 10) -> Canvas:
    """Polished stone chips, seen from above."""
    c = Canvas(seed)
    c.lay(mix(ground, "#ffffff", 0.25 * c.clouds(3, 3)))
    for cells, share in ((18, 0.4), (8, 0.85)):
        seam, value = c.mosaic(cells)
        gap = 0.25 / cells + 0.9 / cells * (value - share).clamp(min=0) * 9
        chip = ramp((value / share * 7.3) % 1 * 1.2 - 0.1, *inks)
        c.fill(mix(chip, "#ffffff", 0.2 * c.clouds(8, 8, 2)), seam + gap)
    c.tint(1 + 0.1 * c.clouds(2, 2, 2))
    return c


def fields(inks: tuple[str, ...], hedge: str, river: str, seed: int = 11) -> Canvas:
    """Fields, hedges and a river, seen from the air."""
    c = Canvas(seed)
    seam, value = c.mosaic(6, 0.75)
    angle = value * 977
    furrow = torch.sin(60 * (c.x_HW * angle.cos() + c.y_HW * angle.sin()) + 1.5 * c.clouds(3, 3, 2))
    crop = ramp((value * 13.7) % 1, *inks)
    c.lay(mix(crop, hedge, 0.12 + 0.09 * furrow + 0.12 * c.clouds(5, 5)))
    c.fill(mix(hedge, inks[0], 0.25 * c.clouds(24, 24, 1).clamp(0, 1)), -0.03 - seam - 0.012 * c.clouds(24, 24, 1))
    bend = c.x_HW + 0.12 - 0.22 * torch.sin(3.1 * c.y_HW + 0.6) - 0.05 * torch.sin(9 * c.y_HW)
    c.fill(mix(inks[-1], "#ffffff", 0.3), bend.abs() - 0.068)
    c.fill(mix(river, "#ffffff", 0.25 * c.clouds(18, 18, 1)), bend.abs() - 0.052)
    offset, value = c.scatter(8, 0.7)
    size = 0.03 + 0.04 * value - (value < 0.4).float()
    tree = torch.maximum(offset - size, 0.1 - bend.abs())
    c.fill(mix(hedge, "#000000", 0.4), tree - 0.006, 0.4)
    c.fill(mix(hedge, inks[0], 0.45 * (1 - offset / size)), tree)
    return c


def scallops(ground: str, inks: tuple[str, ...], seed: int = 12) -> Canvas:
    """Rows of paper waves."""
    c, width = Canvas(seed), 0.3
    c.lay(ground)
    tone = c.draw(64, 64)
    for row in range(19):
        middle = -1.3 + row * width / 2
        place = c.x_HW / (2 * width) + 0.5 * (row % 2)
        u = (place - place.floor() - 0.5) * 2 * width
        radius = torch.hypot(u, c.y_HW - middle - width / 2) / width
        share = tone[row, place.floor().long() % 64]
        for k, edge in enumerate((0.98, 0.9, 0.62, 0.54)):
            colour = ground if k % 2 == 0 else ramp(0.55 * share + 0.45 * (row / 18), *inks)
            c.fill(mix(colour, "#000000", 0.22 * (radius - 0.4) * (k % 2)), (radius - edge) * width)
    return c
