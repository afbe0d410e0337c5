"""A simulated rover with a camera, in a field with or without walls, for navigation.

An action is a displacement (dx, dy), forwards and to the left in the rover's own axes, in metres, followed by a turn
dyaw to the left, in radians. No physics is simulated: the next pose is computed from the pose and the action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lawm_core.simulation.simulator import (
    ActionDimension,
    MujocoScene,
    MujocoSimulator,
    random_colour,
    random_grey,
    random_textures,
    sky_xml,
    texture_xml,
)

TEXTURE_SIZE = 128  # height and width in pixels
TEXTURES = ("ground", "wall", "first", "second")


@dataclass(frozen=True, kw_only=True)
class RoverConfig:
    """Settings of the rover's simulator. Lengths are in metres, angles in degrees.

    frame_size: height and width of frames, in pixels. obstacles: number of obstacles in a scene. indoor_fraction:
    fraction of the scenes that have walls. The pairs of numbers are ranges from which a scene's camera is drawn.
    """

    frame_size: int = 96
    frames_per_second: float = 6.0
    obstacles: int = 45
    half_side: float = 9.0  # half the side of the square field
    indoor_fraction: float = 0.4
    clearance: float = 0.7  # distance that the demonstrator keeps from obstacles
    camera_height: tuple[float, float] = (0.45, 0.8)
    camera_tilt: tuple[float, float] = (2.0, 14.0)  # downwards
    field_of_view: tuple[float, float] = (65.0, 90.0)


class RoverSimulator(MujocoSimulator):
    """Simulates the rover; see `Simulator`. A pose is (x, y, yaw) in the field's axes, in metres and radians."""

    action_dims = (
        ActionDimension("dx", "m", 0.4), ActionDimension("dy", "m", 0.15, mirrored=True),
        ActionDimension("dyaw", "rad", 0.25, mirrored=True),
    )  # fmt: skip

    def __init__(self, config: RoverConfig | None = None) -> None:
        super().__init__(config or RoverConfig())

    def reset(self, seed: int) -> Tensor:
        """Build a scene of random appearance, obstacles, camera and start pose; return its first frame, frame_CHW."""
        self.rng = np.random.default_rng(seed)
        self.close()
        generator, flatness = torch.Generator().manual_seed(seed), float(self.rng.uniform(0.1, 0.8))
        textures = random_textures(len(TEXTURES), TEXTURE_SIZE, generator, flatness)
        indoors = bool(self.rng.random() < self.config.indoor_fraction)
        obstacles = [draw_obstacle(self.rng, self.config.half_side) for _ in range(self.config.obstacles)]
        self.obstacle_X3 = np.array([position for position, _ in obstacles])
        xml = scene_xml(self.config, self.rng, indoors, "".join(shape for _, shape in obstacles))
        self._scene = MujocoScene(xml, self.config.frame_size, dict(zip(TEXTURES, textures, strict=True)))
        self.pose_R = np.array((0.0, 0.0, self.rng.uniform(-math.pi, math.pi)))
        for _ in range(200):
            pose_R = np.array((*self.rng.uniform(-0.6, 0.6, 2) * self.config.half_side, self.pose_R[2]))
            if self.is_free(pose_R) and self.is_free(next_pose(pose_R, np.array((1.0, 0, 0)))):
                self.pose_R = pose_R
                break
        return self._render()

    def step(self, action_R: np.ndarray) -> Tensor:
        """Move by (dx, dy), then turn by dyaw; return the next frame, frame_CHW.

        The action is clipped to its limits and the position to the field. Obstacles do not stop the rover.
        """
        self.pose_R = next_pose(self.pose_R, self.clip_action(action_R))
        border = self.config.half_side - 0.3
        self.pose_R[:2] = np.clip(self.pose_R[:2], -border, border)
        return self._render()

    def pose(self) -> np.ndarray:
        """Return a copy of the pose (x, y, yaw)."""
        return self.pose_R.copy()

    def action_between(self, before_R: np.ndarray, after_R: np.ndarray) -> np.ndarray:
        """Return the action that leads from one pose to another."""
        return relative_action(before_R, after_R)

    def save(self) -> np.ndarray:
        """Return the state of the scene, which is the rover's pose, for `restore`."""
        return self.pose()

    def restore(self, saved_state: np.ndarray) -> None:
        """Bring the rover back to a pose that `save` returned since the last `reset`."""
        self.pose_R = saved_state.copy()

    def is_free(self, pose_R: np.ndarray) -> bool:
        """Return whether a pose is well inside the field and at least `clearance` away from every obstacle."""
        distance_X = np.hypot(*(self.obstacle_X3[:, :2] - pose_R[:2]).T) - self.obstacle_X3[:, 2]
        inside = np.abs(pose_R[:2]).max() < self.config.half_side - 0.8
        return bool(inside and distance_X.min() > self.config.clearance)

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Yield `frames` actions that drive in curves, reverse, slip sideways, stop, look around or evade obstacles."""
        rng, left = self.rng, 0
        for _ in range(frames):
            if left == 0:
                left = int(rng.integers(2, 9))
                kind = rng.choice(("drive", "look", "rest", "reverse", "slip"), p=(0.62, 0.16, 0.06, 0.08, 0.08))
                ahead, turn = rng.uniform(0.08, 0.36), rng.normal(0, 0.07)
                intended_R = {
                    "drive": (ahead, 0, turn), "look": (0, 0, rng.uniform(-0.22, 0.22)), "rest": (0, 0, 0),
                    "reverse": (-ahead / 2, 0, turn), "slip": (ahead / 2, rng.uniform(-0.13, 0.13), turn),
                }[str(kind)]  # fmt: skip
                evade = rng.choice((-0.2, 0.2))
            left -= 1
            action_R = np.array(intended_R) + rng.normal(0, (0.012, 0.005, 0.012))
            if not self.is_free(next_pose(self.pose_R, 3 * np.array((*action_R[:2], 0)))):
                action_R = np.array((0.0, 0.0, evade + rng.normal(0, 0.02)))
            yield self.clip_action(action_R)

    def _render(self) -> Tensor:
        """Render the camera's view at the current pose, frame_CHW."""
        x, y, yaw = self.pose_R
        self.scene.data.mocap_pos[0] = (x, y, 0)
        self.scene.data.mocap_quat[0] = (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))
        self.scene.update()
        return self.scene.render()


def next_pose(pose_R: np.ndarray, action_R: np.ndarray) -> np.ndarray:
    """Return the pose (x, y, yaw) after an action (dx, dy, dyaw) in the axes of the pose before it."""
    x, y, yaw = pose_R
    dx, dy, dyaw = action_R
    return np.array(
        (x + dx * math.cos(yaw) - dy * math.sin(yaw), y + dx * math.sin(yaw) + dy * math.cos(yaw), yaw + dyaw)
    )


def relative_action(before_R: np.ndarray, after_R: np.ndarray) -> np.ndarray:
    """Return the action that leads from one pose to another, the inverse of `next_pose`."""
    (dx, dy), yaw = after_R[:2] - before_R[:2], before_R[2]
    turn = after_R[2] - yaw
    return np.array((dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw), turn))


def draw_obstacle(rng: np.random.Generator, half_side: float) -> tuple[tuple[float, float, float], str]:
    """Draw a tree, post, stone, crate or building; return its (x, y, radius) in metres, and its XML."""
    kind = str(rng.choice(("tree", "post", "stone", "crate", "building"), p=(0.3, 0.15, 0.2, 0.25, 0.1)))
    x, y = rng.uniform(-half_side, half_side, 2)
    textured = f"material='{rng.choice(('first', 'second'))}' rgba='{random_colour(rng, 0.25, 1.0)}'"
    plain = f"rgba='{random_colour(rng)}'"
    if kind == "tree":
        trunk, crown, height = rng.uniform(0.06, 0.16), rng.uniform(0.35, 0.8), rng.uniform(0.7, 1.6)
        return (x, y, trunk), (
            f"<geom type='cylinder' pos='{x:.2f} {y:.2f} {height / 2:.2f}' "
            f"size='{trunk:.3f} {height / 2:.3f}' {plain}/>"
            f"<geom type='ellipsoid' pos='{x:.2f} {y:.2f} {height + 0.6 * crown:.2f}' "
            f"size='{crown:.2f} {crown:.2f} {crown * rng.uniform(0.8, 1.6):.2f}' {textured}/>"
        )
    width, height = {
        "post": (rng.uniform(0.04, 0.1), rng.uniform(0.4, 1.3)),
        "stone": (rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.35)),
        "crate": (rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.7)),
        "building": (rng.uniform(0.8, 1.6), rng.uniform(0.9, 2.0)),
    }[kind]
    shape = {"post": "cylinder", "stone": "ellipsoid"}.get(kind, "box")
    depth = "" if shape == "cylinder" else f"{width * rng.uniform(0.6, 1):.3f} "
    return (x, y, width * 1.2), (
        f"<geom type='{shape}' pos='{x:.2f} {y:.2f} {0 if kind == 'stone' else height:.2f}' "
        f"size='{width:.3f} {depth}{height:.3f}' euler='0 0 {rng.uniform(0, 90):.0f}' "
        f"{plain if kind == 'post' else textured}/>"
    )


def scene_xml(config: RoverConfig, rng: np.random.Generator, indoors: bool, obstacles: str) -> str:
    """Draw the ground, light and camera of a scene, and return its MuJoCo XML.

    indoors: whether walls surround the field. obstacles: the XML of all obstacles.
    """
    side = config.half_side
    walls = "".join(
        f"<geom type='box' pos='{x * side} {y * side} 1.2' material='wall' "
        f"size='{0.1 if x else side} {0.1 if y else side} 1.2'/>"
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )
    tilt = math.radians(rng.uniform(*config.camera_tilt))
    axes = f"0 -1 0 {math.sin(tilt):.5f} 0 {math.cos(tilt):.5f}"
    return f"""
<mujoco>
  <visual><quality shadowsize='1024' offsamples='0'/><map znear='.02' zfar='60'/>
    <headlight ambient='{random_grey(rng, 0.35, 0.6)}' diffuse='{random_grey(rng, 0.0, 0.2)}'
      specular='0 0 0'/></visual>
  <statistic extent='8'/>
  <asset>
    {sky_xml(random_colour(rng, 0.3, 0.9), random_colour(rng, 0.5, 1.0))}
    {"".join(texture_xml(name, TEXTURE_SIZE) for name in TEXTURES)}
    <material name='ground' texture='ground' texrepeat='{rng.integers(6, 15)} {rng.integers(6, 15)}' specular='0'/>
    <material name='wall' texture='wall' texrepeat='6 1' specular='0'/>
    <material name='first' texture='first'/><material name='second' texture='second'/>
  </asset>
  <worldbody>
    <light directional='true' dir='{rng.uniform(-1, 1):.2f} {rng.uniform(-1, 1):.2f} -1.3'
      diffuse='{random_grey(rng, 0.3, 0.7)}' castshadow='{"false" if indoors else "true"}'/>
    <geom type='plane' size='{2 * side} {2 * side} 1' material='ground'/>
    {walls if indoors else ""}
    {obstacles}
    <body name='rover' mocap='true'>
      <camera name='camera' pos='0 0 {rng.uniform(*config.camera_height):.3f}' xyaxes='{axes}'
        fovy='{rng.uniform(*config.field_of_view):.1f}'/>
    </body>
  </worldbody>
</mujoco>"""
