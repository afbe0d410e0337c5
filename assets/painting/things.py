"""Objects: balls, fish, kites and more, each a function of its colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from painting.canvas import Canvas, mix, ramp


def polar(c: Canvas) -> tuple[Tensor, Tensor]:
    """Return radius and angle on an object's canvas."""
    return torch.hypot(c.x_HW, c.y_HW), torch.atan2(c.y_HW, c.x_HW)


def thing() -> Canvas:
    """Return an empty canvas for an object, which should stay within the unit circle."""
    return Canvas(pixels=256)


def roundness(c: Canvas, strength: float = 0.45) -> None:
    """Shade the canvas with light from the upper left."""
    away = torch.hypot(c.x_HW + 0.35, c.y_HW + 0.4)
    c.tint(1.12 - strength * away**2 * 0.6)


def ball(*inks: str) -> Canvas:
    """A beach ball."""
    c = thing()
    radius = polar(c)[0]
    c.lay("#101020", 0.35 * (1 - (c.disc(0.06, 0.1, 0.86) + 0.02) / 0.1).clamp(0, 1))
    u, v = c.x_HW + 0.22, c.y_HW + 0.26
    sector = ((torch.atan2(v, u) + 0.6 * radius) / math.tau * 6) % 6
    for k in range(6):
        near = ((sector - k - 0.5 + 3) % 6 - 3).abs() - 0.5
        c.fill(inks[k % len(inks)], torch.maximum(near * torch.hypot(u, v), radius - 0.87))
    c.fill(inks[0], torch.hypot(u, v) - 0.15)
    roundness(c)
    c.lay("#ffffff", 0.5 * torch.exp(-(((c.x_HW + 0.4) ** 2 + (c.y_HW + 0.48) ** 2) / 0.03)))
    return c


def lantern(paper: str, rib: str, cap: str, light: str) -> Canvas:
    """A paper lantern with a light in it."""
    c = thing()
    c.lay(light, 0.5 * torch.exp(-((polar(c)[0] / 0.62) ** 4)))
    c.fill(cap, torch.maximum(c.x_HW.abs() - 0.03, (c.y_HW - 0.78).abs() - 0.18))
    c.fill(cap, torch.maximum(c.x_HW.abs() - 0.1, (c.y_HW - 0.9).abs() - 0.08))
    body = c.disc(0, 0, 0.74, 0.82)
    warm = mix(light, paper, torch.hypot(c.x_HW * 1.1, (c.y_HW - 0.1) * 1.4) / 0.62)
    ribs = torch.sin(
        math.tau
        * 4.5
        * torch.asin((c.x_HW / (0.76 * (1 - (c.y_HW / 0.64) ** 2).clamp(0.02).sqrt())).clamp(-1, 1))
        / math.pi
        * 2
    )
    c.fill(mix(warm, rib, 0.75 * torch.sigmoid(9 * ribs - 4)), body)
    for y in (-0.6, 0.6):
        c.fill(cap, torch.maximum(c.x_HW.abs() - 0.32, (c.y_HW - y).abs() - 0.07))
    c.fill(cap, (torch.hypot(c.x_HW, c.y_HW + 0.72) - 0.13).abs() - 0.03)
    return c


def pinwheel(*inks: str) -> Canvas:
    """Six paper sails around a pin."""
    c = thing()
    radius, angle = polar(c)
    sail = ((angle + 0.9 * radius) / math.tau * 6) % 6
    turn = sail - sail.floor()
    reach = 0.94 - 0.42 * turn**1.5
    c.fill("#141428", radius - reach - 0.05, 0.3)
    for k, colour in enumerate(inks):
        mine = (sail.floor() % len(inks)) == k
        c.lay(mix(colour, mix(colour, "#20103a", 0.45), turn), c.inside(radius - reach) * mine)
    c.fill("#fff6e0", radius - 0.13)
    c.fill(inks[0], radius - 0.07)
    return c


def fish(body: str, stripe: str, fin: str, facing: int = 1) -> Canvas:
    """A striped fish that faces right (1) or left (-1)."""
    c = thing()
    x, y = 1.13 * c.x_HW * facing - 0.1, 1.13 * c.y_HW
    tail = torch.maximum(y.abs() - 0.1 + 0.85 * (x + 0.55), (x + 0.75).abs() - 0.32 + 0.12 * torch.cos(5 * y))
    c.fill(mix(fin, body, 0.5 + 0.5 * torch.sin(34 * y)), tail)
    back = torch.hypot(x + 0.08, (y + 0.32) / 0.75) - 0.38
    c.fill(mix(fin, "#ffffff", 0.2 * torch.sin(30 * x)), torch.minimum(back, torch.hypot(x + 0.05, y - 0.45) - 0.2))
    outline = torch.hypot(x / 0.72, y / 0.5) - 1
    c.fill(mix(body, "#ffffff", 0.55 * (y / 0.5).clamp(0, 1)), outline * 0.5)
    band = torch.cos(9.5 * (x + 0.08) + 1.2 * y**2) - 0.45
    c.fill(stripe, torch.maximum(-band * 0.1, outline * 0.5))
    c.fill("#ffffff", torch.hypot(x - 0.43, y + 0.1) - 0.11)
    c.fill("#141428", torch.hypot(x - 0.46, y + 0.1) - 0.065)
    return c


def leaf(blade: str, edge: str, vein: str) -> Canvas:
    """A leaf with its veins."""
    c = thing()
    x, y = c.x_HW * 0.8 + c.y_HW * 0.6, c.y_HW * 0.8 - c.x_HW * 0.6
    width = 0.5 * (1 - (x / 0.9) ** 2).clamp(min=0) ** 0.8 * (1 + 0.25 * x) + 0.03 * torch.sin(26 * x)
    outline = y.abs() - width
    outline = torch.where(x.abs() > 0.9, outline.clamp(min=0.1), outline)
    c.fill(mix(blade, edge, (1.2 * y.abs() / (width + 0.1)) ** 2), outline)
    side = torch.sin(24 * (x - 0.7 * y.abs()))
    c.fill(vein, torch.maximum((side.abs() - 0.12) * 0.06, outline + 0.03), 0.7)
    c.fill(vein, torch.maximum(y.abs() - 0.03, (x - 0.02).abs() - 0.95))
    return c


def kite(*inks: str) -> Canvas:
    """A diamond kite with a tail of bows."""
    c = thing()
    x, y = c.x_HW, c.y_HW + 0.22
    swing = x - 0.1 * torch.sin(9 * c.y_HW)
    c.fill(inks[0], torch.maximum(swing.abs() - 0.025, (c.y_HW - 0.68).abs() - 0.28))
    for k, place in enumerate((0.62, 0.85)):
        bow = torch.maximum(swing.abs() - 0.16, (c.y_HW - place).abs() - 0.02 - 0.45 * swing.abs())
        c.fill(inks[(k + 1) % len(inks)], bow)
    diamond = x.abs() / 0.62 + torch.where(y < 0, -y / 0.68, y / 0.82) - 1
    for k, (right, low) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        part = torch.maximum(-right * (x + 0.0), -low * y)
        c.fill(inks[k % len(inks)], torch.maximum(diamond * 0.45, part))
    c.fill("#fffaf0", torch.maximum(diamond * 0.45, torch.minimum(x.abs(), y.abs()) - 0.018))
    c.fill("#fffaf0", (diamond * 0.45 + 0.02).abs() - 0.022)
    return c


def planet(*inks: str, ring: str) -> Canvas:
    """A banded planet with a ring."""
    c = thing()
    x, y = c.x_HW * 0.94 + c.y_HW * 0.34, c.y_HW * 0.94 - c.x_HW * 0.34
    loop = torch.hypot(x, y / 0.28)
    rings = torch.maximum((loop - 0.8).abs() - 0.15, 0.02 - (loop - 0.79).abs())
    globe = torch.hypot(x, y) - 0.56
    colour = mix(ring, "#ffffff", 0.4 * torch.sin(40 * loop))
    c.fill(colour, rings * 0.6)
    bands = 0.5 + 0.5 * torch.sin(13 * y + 0.6 * torch.sin(5 * x))
    night = (torch.hypot(x + 0.22, y + 0.24) / 0.75 - 0.35).clamp(0, 0.75)
    c.fill(mix(ramp(bands, *inks), "#0d0a26", night), globe)
    c.lay(colour, c.inside(rings * 0.6) * (y > 0))
    return c


def balloon(*inks: str) -> Canvas:
    """A hot-air balloon."""
    c = thing()
    y = c.y_HW + 0.22
    outline = torch.hypot(c.x_HW, torch.where(y > 0, y * 0.82, y)) - 0.7 + 0.16 * y.clamp(min=0) ** 2
    c.fill(
        inks[0],
        torch.maximum((c.x_HW.abs() - 0.26 + 0.28 * (c.y_HW - 0.45)).abs() - 0.02, (c.y_HW - 0.62).abs() - 0.14),
    )
    half = (0.72**2 - (y * 0.85) ** 2).clamp(0.01).sqrt()
    gore = torch.asin((c.x_HW / half).clamp(-1, 1)) / math.pi * 7 + 0.5
    for k, colour in enumerate(inks):
        c.lay(colour, c.inside(torch.maximum(outline, (c.y_HW - 0.52))) * ((gore.floor() % len(inks)) == k))
    roundness(c, 0.5)
    c.fill(inks[-1], torch.maximum(outline, (y - 0.02).abs() - 0.07))
    c.fill("#6b4226", torch.maximum(c.x_HW.abs() - 0.19, (c.y_HW - 0.84).abs() - 0.12))
    c.fill("#c58b52", torch.maximum(c.x_HW.abs() - 0.22, (c.y_HW - 0.75).abs() - 0.04))
    return c


def snowflake(ice: str, core: str) -> Canvas:
    """A six-armed crystal."""
    c = thing()
    radius, angle = polar(c)
    arm = ((angle / math.tau * 6 + 0.5) % 1 - 0.5) / 6 * math.tau
    along, across = radius * arm.cos(), (radius * arm.sin()).abs()
    shape = torch.maximum(across - 0.065, along - 0.93)
    for place, length in ((0.32, 0.3), (0.56, 0.24), (0.76, 0.13)):
        twig = torch.maximum((along - place - 0.6 * across).abs() * 0.85 - 0.055, across - length)
        shape = torch.minimum(shape, twig)
    c.fill(core, shape - 0.05, 0.85)
    c.fill(ice, shape)
    return c


def boat(hull: str, sail: str, stripe: str) -> Canvas:
    """A sailing boat."""
    c = thing()
    x, y = c.x_HW, c.y_HW
    c.fill("#4a2c1a", torch.maximum(x.abs() - 0.03, (y + 0.15).abs() - 0.72))
    main = torch.maximum(torch.maximum(0.06 - x, y - 0.3), (x - 0.06) * 0.78 - (y + 0.85) * 0.52)
    jib = torch.maximum(torch.maximum(x + 0.06, y - 0.3), (-x - 0.06) * 0.86 - (y + 0.7) * 0.5)
    for shape, colour in ((main, sail), (jib, mix(sail, stripe, 0.35))):
        c.fill(mix(colour, "#c8743c", 0.3 * (y + 0.8)), shape)
    c.fill(stripe, torch.maximum(main, (y + 0.05).abs() - 0.08))
    c.fill(stripe, torch.maximum(main, (y + 0.38).abs() - 0.05))
    bottom = torch.maximum(torch.maximum(0.38 - y, y - 0.72), x.abs() - 0.82 + 0.75 * (y - 0.38))
    c.fill(mix(hull, "#140c1e", 1.4 * (y - 0.4)), bottom)
    c.fill("#fff4dc", torch.maximum(bottom, (y - 0.43).abs() - 0.035))
    return c
