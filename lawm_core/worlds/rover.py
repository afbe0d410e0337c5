"""A rover in the open or between walls: navigation with known actions, in MuJoCo.

The picture is what the rover's camera sees. An action is a displacement in its own axes, forwards and to the left, in
metres, and then a turn to the left in radians. Nothing has weight here: poses follow from actions exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lawm_core.worlds.simulator import KnownAction, Stage, colour, grey, reserve_texture, sky, textures

TEXTURE = 128  # pixels


@dataclass(frozen=True, kw_only=True)
class RoverConfig:
    """frame_size in pixels; lengths in metres, angles in degrees. indoors: share of scenes that have walls."""

    frame_size: int = 96
    frames_per_second: float = 6.0
    things: int = 45
    field: float = 9.0  # half of its side
    indoors: float = 0.4
    clearance: float = 0.7  # a demonstrator stays so far from things
    eye: tuple[float, float] = (0.45, 0.8)  # height of the camera
    tilt: tuple[float, float] = (2.0, 14.0)  # how far it looks down
    view: tuple[float, float] = (65.0, 90.0)  # its field of view


class RoverWorld:
    """One scene at a time; `reset` makes another."""

    known = (
        KnownAction("dx", "m", 0.4), KnownAction("dy", "m", 0.15, sided=True),
        KnownAction("dyaw", "rad", 0.25, sided=True),
    )  # fmt: skip

    def __init__(self, config: RoverConfig | None = None) -> None:
        self.config = config or RoverConfig()
        self.frames_per_second = self.config.frames_per_second
        self.stage: Stage | None = None

    def reset(self, seed: int) -> Tensor:
        """A fresh scene: looks, things, camera and where the rover starts. frame_CHW."""
        self.rng = np.random.default_rng(seed)
        self.close()
        paints = textures(4, TEXTURE, torch.Generator().manual_seed(seed), calm=float(self.rng.uniform(0.1, 0.8)))
        scene = RoverScene(self.config, self.rng)
        names = ("ground", "wall", "first", "second")
        self.stage = Stage(scene.xml, self.config.frame_size, dict(zip(names, paints, strict=True)))
        self.thing_X3 = scene.thing_X3
        self.place = np.array((0.0, 0.0, self.rng.uniform(-math.pi, math.pi)))
        for _ in range(200):
            place = np.array((*self.rng.uniform(-0.6, 0.6, 2) * self.config.field, self.place[2]))
            if self.free(place[:2]) and self.free(moved(place, np.array((1.0, 0, 0)))[:2]):
                self.place = place
                break
        return self._look()

    def step(self, action_K: np.ndarray) -> Tensor:
        """Moves by (dx, dy), then turns by dyaw; each is cut to its limit, and the field's border stops the rover."""
        limit_K = np.array([k.limit for k in self.known])
        self.place = moved(self.place, np.clip(np.asarray(action_K, dtype=np.float64), -limit_K, limit_K))
        self.place[:2] = np.clip(self.place[:2], -self.config.field + 0.3, self.config.field - 0.3)
        return self._look()

    def pose(self) -> np.ndarray:
        """(x, y, yaw) in the field's axes, metres and radians."""
        return self.place.copy()

    def action_between(self, before_K: np.ndarray, after_K: np.ndarray) -> np.ndarray:
        """What was really done between two poses, in the first one's axes."""
        return relative(before_K, after_K)

    def save(self) -> np.ndarray:
        """The moment, to come back to with `restore`."""
        return self.pose()

    def restore(self, moment: np.ndarray) -> None:
        """Back to a saved moment of this scene."""
        self.place = moment.copy()

    def free(self, at: np.ndarray) -> bool:
        """Whether a place is inside the field and clear of things."""
        apart = np.hypot(*(self.thing_X3[:, :2] - at).T) - self.thing_X3[:, 2]
        return bool(np.abs(at).max() < self.config.field - 0.8 and apart.min() > self.config.clearance)

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Drives in curves, slows down, stands, looks around, backs off, and turns away from what is in the way."""
        rng, left = self.rng, 0
        for _ in range(frames):
            if left == 0:
                left = int(rng.integers(2, 9))
                kind = rng.choice(("drive", "look", "rest", "back", "slip"), p=(0.62, 0.16, 0.06, 0.08, 0.08))
                ahead, turn = rng.uniform(0.08, 0.36), rng.normal(0, 0.07)
                intent = {
                    "drive": (ahead, 0, turn), "look": (0, 0, rng.uniform(-0.22, 0.22)), "rest": (0, 0, 0),
                    "back": (-ahead / 2, 0, turn), "slip": (ahead / 2, rng.uniform(-0.13, 0.13), turn),
                }[str(kind)]  # fmt: skip
                evade = rng.choice((-0.2, 0.2))
            left -= 1
            action = np.array(intent) + rng.normal(0, (0.012, 0.005, 0.012))
            if not self.free(moved(self.place, 3 * np.array((action[0], action[1], 0)))[:2]):
                action = np.array((0.0, 0.0, evade + rng.normal(0, 0.02)))
            yield np.clip(action, *(sign * np.array([k.limit for k in self.known]) for sign in (-1, 1)))

    def _look(self) -> Tensor:
        """The picture from where the rover is."""
        x, y, yaw = self.place
        self.stage.data.mocap_pos[0] = (x, y, 0)
        self.stage.data.mocap_quat[0] = (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
        self.stage.settle()
        return self.stage.picture()

    def close(self) -> None:
        """Lets the scene go."""
        if self.stage is not None:
            self.stage.close()
            self.stage = None


def moved(place: np.ndarray, action_K: np.ndarray) -> np.ndarray:
    """A pose (x, y, yaw) after an action (dx, dy, dyaw) in the rover's own axes: first the way, then the turn."""
    x, y, yaw = place
    dx, dy, dyaw = action_K
    return np.array(
        (x + dx * math.cos(yaw) - dy * math.sin(yaw), y + dx * math.sin(yaw) + dy * math.cos(yaw), yaw + dyaw)
    )


def relative(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The action (dx, dy, dyaw) that leads from one pose to another: `moved` undone."""
    (dx, dy), yaw = after[:2] - before[:2], before[2]
    return np.array((dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw), after[2] - yaw))


class RoverScene:
    """A random field in MuJoCo's words; thing_X3: where things are and how wide, (x, y, radius) in metres."""

    def __init__(self, config: RoverConfig, rng: np.random.Generator) -> None:
        self.config, self.rng = config, rng
        self.indoors = bool(rng.random() < config.indoors)
        self.field = config.field
        things = [self._thing() for _ in range(config.things)]
        self.thing_X3 = np.array([place for place, _ in things])
        self.xml = self._scene("".join(shape for _, shape in things))

    def _thing(self) -> tuple[tuple[float, float, float], str]:
        """A tree, a post, a stone, a crate or a building."""
        rng = self.rng
        kind = rng.choice(("tree", "post", "stone", "crate", "building"), p=(0.3, 0.15, 0.2, 0.25, 0.1))
        x, y = rng.uniform(-self.field, self.field, 2)
        look = f"material='{rng.choice(('first', 'second'))}' rgba='{colour(rng, 0.25, 1.0)}'"
        plain = f"rgba='{colour(rng)}'"
        if kind == "tree":
            trunk, crown, high = rng.uniform(0.06, 0.16), rng.uniform(0.35, 0.8), rng.uniform(0.7, 1.6)
            shape = (
                f"<geom type='cylinder' pos='{x:.2f} {y:.2f} {high / 2:.2f}' "
                f"size='{trunk:.3f} {high / 2:.3f}' {plain}/>"
                f"<geom type='ellipsoid' pos='{x:.2f} {y:.2f} {high + 0.6 * crown:.2f}' "
                f"size='{crown:.2f} {crown:.2f} {crown * rng.uniform(0.8, 1.6):.2f}' {look}/>"
            )
            return (x, y, trunk), shape
        wide, high = {
            "post": (rng.uniform(0.04, 0.1), rng.uniform(0.4, 1.3)),
            "stone": (rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.35)),
            "crate": (rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.7)),
            "building": (rng.uniform(0.8, 1.6), rng.uniform(0.9, 2.0)),
        }[str(kind)]
        form = {"post": "cylinder", "stone": "ellipsoid"}.get(str(kind), "box")
        size = (
            f"{wide:.3f} {high:.3f}"
            if form == "cylinder"
            else f"{wide:.3f} {wide * rng.uniform(0.6, 1):.3f} {high:.3f}"
        )
        shape = (
            f"<geom type='{form}' pos='{x:.2f} {y:.2f} {0 if kind == 'stone' else high:.2f}' size='{size}' "
            f"euler='0 0 {rng.uniform(0, 90):.0f}' {plain if kind == 'post' else look}/>"
        )
        return (x, y, wide * 1.2), shape

    def _scene(self, things: str) -> str:
        rng, config = self.rng, self.config
        walls = "".join(
            f"<geom type='box' pos='{x * self.field} {y * self.field} 1.2' material='wall' "
            f"size='{0.1 if x else self.field} {0.1 if y else self.field} 1.2'/>"
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
        tilt = math.radians(rng.uniform(*config.tilt))
        axes = f"0 -1 0 {math.sin(tilt):.5f} 0 {math.cos(tilt):.5f}"
        return f"""
<mujoco>
  <visual><quality shadowsize='1024' offsamples='0'/><map znear='.02' zfar='60'/>
    <headlight ambient='{grey(rng, 0.35, 0.6)}' diffuse='{grey(rng, 0.0, 0.2)}' specular='0 0 0'/></visual>
  <statistic extent='8'/>
  <asset>
    {sky(colour(rng, 0.3, 0.9), colour(rng, 0.5, 1.0))}
    {"".join(reserve_texture(n, TEXTURE) for n in ("ground", "wall", "first", "second"))}
    <material name='ground' texture='ground' texrepeat='{rng.integers(6, 15)} {rng.integers(6, 15)}' specular='0'/>
    <material name='wall' texture='wall' texrepeat='6 1' specular='0'/>
    <material name='first' texture='first'/><material name='second' texture='second'/>
  </asset>
  <worldbody>
    <light directional='true' dir='{rng.uniform(-1, 1):.2f} {rng.uniform(-1, 1):.2f} -1.3'
      diffuse='{grey(rng, 0.3, 0.7)}' castshadow='{"false" if self.indoors else "true"}'/>
    <geom type='plane' size='{2 * self.field} {2 * self.field} 1' material='ground'/>
    {walls if self.indoors else ""}
    {things}
    <body name='rover' mocap='true'>
      <camera name='camera' pos='0 0 {rng.uniform(*config.eye):.3f}' xyaxes='{axes}'
        fovy='{rng.uniform(*config.view):.1f}'/>
    </body>
  </worldbody>
</mujoco>"""
