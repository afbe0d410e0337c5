"""A simulated robot arm at a table, for manipulation.

A turret, two links and a wrist hold a two-fingered gripper upright. An action is a displacement of the gripper's tip
(dx, dy, dz) in the base's axes and the change of the gap between the fingers, all in metres. The camera, light,
colours, textures and objects differ between scenes; the camera does not move within a scene.
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

LOW, HIGH = np.array((0.2, -0.32, 0.015)), np.array((0.58, 0.32, 0.4))  # workspace of the tip, metres from the base
MAX_GAP = 0.1  # metres between the open fingers
# In metres: height of the shoulder, lengths of the upper and the fore link, distance from the wrist to the tip.
SHOULDER, UPPER, FORE, HAND = 0.3, 0.36, 0.34, 0.16
REACH = 0.985 * (UPPER + FORE)  # largest distance from shoulder to wrist; the elbow is never quite straight
SPEEDS = (0.015, 0.06)  # range of the demonstrator's speed, in metres per frame
TEXTURE_SIZE = 96  # height and width in pixels


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """Settings of the arm's simulator.

    frame_size: height and width of frames, in pixels. max_objects: largest number of objects on the table. azimuth,
    elevation, distance: ranges from which the camera's position is drawn, in degrees, degrees and metres.
    """

    frame_size: int = 96
    frames_per_second: float = 6.0
    max_objects: int = 4
    azimuth: tuple[float, float] = (-70.0, 70.0)  # at 0, the camera faces the robot
    elevation: tuple[float, float] = (18.0, 50.0)
    distance: tuple[float, float] = (0.72, 1.0)
    time_step: float = 0.004  # time step of the physics, in seconds


class ArmSimulator(MujocoSimulator):
    """Simulates the arm; see `Simulator`. A pose is (x, y, z) of the tip and the fingers' gap, in metres."""

    action_dims = (
        ActionDimension("dx", "m", 0.06), ActionDimension("dy", "m", 0.06, mirrored=True),
        ActionDimension("dz", "m", 0.06), ActionDimension("gripper", "m", 0.045),
    )  # fmt: skip

    def __init__(self, config: ArmConfig | None = None) -> None:
        super().__init__(config or ArmConfig())

    def reset(self, seed: int) -> Tensor:
        """Build a scene of random appearance, camera, objects and arm pose; return its first frame, frame_CHW."""
        self.rng = np.random.default_rng(seed)
        self.close()
        generator, flatness = torch.Generator().manual_seed(seed), float(self.rng.uniform(0.45, 0.97))
        textures = random_textures(3, TEXTURE_SIZE, generator, flatness)
        self.objects = int(self.rng.integers(1, self.config.max_objects + 1))
        xml = scene_xml(self.config, self.rng, self.objects)
        names = ("table", "floor", "wall")
        self._scene = MujocoScene(xml, self.config.frame_size, dict(zip(names, textures, strict=True)))
        self.target_R = np.array((*self.rng.uniform(LOW + 0.06, HIGH - 0.06), self.rng.choice((0.02, MAX_GAP))))
        self.target_R[:3] = clamp_to_reach(self.target_R[:3])
        self.scene.data.qpos[:4] = joint_angles(self.target_R[:3])
        self.scene.data.qpos[4:6] = self.target_R[3] / 2
        self._set_motors(self.target_R)
        self.scene.advance(60)  # until the objects are at rest
        return self.scene.render()

    def step(self, action_R: np.ndarray) -> Tensor:
        """Move the tip and the fingers by an action (dx, dy, dz, change of the gap); return the next frame, frame_CHW.

        The action is clipped to its limits and to the arm's reach. Contacts can prevent part of the motion.
        """
        start_R = self.target_R.copy()
        self.target_R = start_R + self.clip_action(action_R)
        self.target_R[:3] = clamp_to_reach(self.target_R[:3])
        self.target_R[3] = np.clip(self.target_R[3], 0.0, MAX_GAP)
        steps = round(1 / self.frames_per_second / self.config.time_step)
        for i in range(steps):
            self._set_motors(start_R + (self.target_R - start_R) * min(1.0, (i + 1) / (0.8 * steps)))
            self.scene.advance(1)
        return self.scene.render()

    def _set_motors(self, target_R: np.ndarray) -> None:
        """Set the target angles and finger positions of the motors for a pose (x, y, z, gap)."""
        self.scene.data.ctrl[:4] = joint_angles(target_R[:3])
        self.scene.data.ctrl[4:6] = target_R[3] / 2

    def pose(self) -> np.ndarray:
        """Return the measured pose (x, y, z, gap) in metres; it differs from the commanded one where contacts block."""
        return np.array((*self.scene.data.site("tip").xpos, self.scene.data.qpos[4:6].sum()))

    def action_between(self, before_R: np.ndarray, after_R: np.ndarray) -> np.ndarray:
        """Return the action that leads from one pose to another."""
        return after_R - before_R

    def object_positions(self) -> np.ndarray:
        """Return the positions (x, y, z) of all objects in metres, an array of shape (objects, 3)."""
        return np.array([self.scene.data.body(f"object{i}").xpos for i in range(self.objects)])

    def save(self) -> tuple[np.ndarray, ...]:
        """Return a copy of the state of the scene, which `restore` accepts."""
        data = self.scene.data
        return tuple(array.copy() for array in (data.qpos, data.qvel, data.act, data.ctrl, self.target_R))

    def restore(self, saved_state: tuple[np.ndarray, ...]) -> None:
        """Bring the scene back to a state that `save` returned since the last `reset`."""
        data = self.scene.data
        for array, saved in zip((data.qpos, data.qvel, data.act, data.ctrl), saved_state[:4], strict=True):
            array[:] = saved
        self.target_R = saved_state[4].copy()
        self.scene.update()

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Yield `frames` actions that reach for, lift, push and drop objects, with noise."""
        sent = 0
        while sent < frames:
            for goal, gap, speed in self._draw_goals():
                for _ in range(12):  # at most, because contacts can make a goal unreachable
                    move = goal - self.target_R[:3]
                    distance = float(np.linalg.norm(move))
                    grip = np.clip(gap - self.target_R[3], -0.03, 0.03)
                    if (distance < 0.004 and abs(grip) < 0.004) or sent == frames:
                        break
                    move = move * min(1.0, speed / max(distance, 1e-9)) + self.rng.normal(0, 0.002, 3)
                    yield np.array((*move, grip))
                    sent += 1

    def _draw_goals(self) -> list[tuple[np.ndarray, float, float]]:
        """Draw a task for the demonstrator; return its goals in order, each (position of the tip, gap, speed)."""
        rng = self.rng
        gap, speed = float(rng.choice((0.015, MAX_GAP))), float(rng.uniform(*SPEEDS))
        free = clamp_to_reach(rng.uniform(LOW, HIGH))
        kind = rng.choice(("wander", "lift", "push", "grip"), p=(0.4, 0.3, 0.2, 0.1))
        if kind == "wander":
            return [(free, self.target_R[3], speed)]
        if kind == "grip":
            return [(self.target_R[:3].copy(), gap, speed)]
        x, y, z = self.object_positions()[rng.integers(self.objects)]
        if not (LOW[0] < x < HIGH[0] and LOW[1] < y < HIGH[1]):
            return [(free, gap, speed)]  # the object has fallen off the table
        above, at = np.array((x, y, 0.14)), np.array((x, y, max(0.02, z - 0.005)))
        if kind == "lift":
            return [
                (above, MAX_GAP, speed), (at, MAX_GAP, min(speed, 0.04)), (at, 0.0, speed),
                (above, 0.0, min(speed, 0.04)), (clamp_to_reach(np.array((*free[:2], 0.16))), 0.0, speed),
                (clamp_to_reach(free), MAX_GAP, speed),
            ]  # fmt: skip
        push = rng.normal(size=2)
        push = np.append(0.11 * push / np.linalg.norm(push), 0)
        before, after = at - push, at + push
        raised = before + np.array((0, 0, 0.1))
        return [(clamp_to_reach(p), 0.015, speed) for p in (raised, before, after)]


def clamp_to_reach(tip: np.ndarray) -> np.ndarray:
    """Return the position (x, y, z) that the arm can reach and that is close to a wanted position of the tip.

    The wanted position is clipped to the workspace and, if it is still too far, moved horizontally towards the base.
    """
    x, y, z = np.clip(tip, LOW, HIGH)
    radius = math.hypot(x, y)
    max_radius = math.sqrt(max(REACH**2 - (z + HAND - SHOULDER) ** 2, 0.04))
    scale = min(1.0, max_radius / max(radius, 1e-9))
    return np.array((x * scale, y * scale, z))


def joint_angles(tip: np.ndarray) -> np.ndarray:
    """Return the angles in radians of turret, shoulder, elbow and wrist that bring the tip to a position (x, y, z)."""
    x, y, z = tip
    radius, height = math.hypot(x, y), z + HAND - SHOULDER
    distance = min(math.hypot(radius, height), REACH)
    inner = math.acos((UPPER**2 + distance**2 - FORE**2) / (2 * UPPER * distance))
    shoulder = math.pi / 2 - (math.atan2(height, radius) + inner)  # 0 is upright; positive angles lean forwards
    elbow = math.pi - math.acos((UPPER**2 + FORE**2 - distance**2) / (2 * UPPER * FORE))
    return np.array((math.atan2(y, x), shoulder, elbow, math.pi - shoulder - elbow))


def scene_xml(config: ArmConfig, rng: np.random.Generator, objects: int) -> str:
    """Draw a random scene with a number of objects and return its MuJoCo XML."""
    joints, metal, dark = "damping='4' armature='0.02'", random_colour(rng), random_colour(rng, 0.05, 0.5)
    tool = random_colour(rng)
    names = ("turret", "shoulder", "elbow", "wrist")
    motors = "".join(f"<position joint='{n}' kp='600' dampratio='1'/>" for n in names)
    motors += "".join(f"<position joint='{n}' kp='200' dampratio='1' ctrlrange='0 .055'/>" for n in ("left", "right"))
    width = rng.uniform(0.032, 0.055)
    return f"""
<mujoco>
  <option timestep='{config.time_step}' integrator='implicitfast' cone='elliptic' impratio='10'/>
  <visual><quality shadowsize='512' offsamples='0'/><map znear='.02' zfar='8'/>
    <headlight ambient='{random_grey(rng, 0.3, 0.6)}' diffuse='{random_grey(rng, 0.1, 0.4)}'
      specular='0 0 0'/></visual>
  <asset>
    {sky_xml(random_colour(rng), random_colour(rng))}
    {"".join(texture_xml(name, TEXTURE_SIZE) for name in ("table", "floor", "wall"))}
    <material name='table' texture='table' texuniform='true' texrepeat='1.5 1.5'/>
    <material name='floor' texture='floor' texrepeat='3 3'/><material name='wall' texture='wall'/>
    <material name='metal' rgba='{metal}' specular='.4'/><material name='dark' rgba='{dark}'/>
    <material name='tool' rgba='{tool}'/>
  </asset>
  <worldbody>
    <light pos='{_random_position(rng, (-1, -1, 1.4), (1.2, 1, 2.2))}' dir='0 0 -1'
      diffuse='{random_grey(rng, 0.3, 0.7)}' castshadow='true'/>
    {_camera_xml(config, rng)}
    <geom type='plane' pos='0 0 -.7' size='4 4 .1' material='floor'/>
    <geom type='box' pos='{-rng.uniform(0.5, 1.6):.2f} 0 .4' size='.05 4 1.8' material='wall'/>
    <geom type='box' pos='.33 0 -.03' size='.5 .6 .03' material='table' friction='1 .01 .001'/>
    <geom type='cylinder' pos='0 0 .1' size='.08 .1' material='dark'/>
    <body pos='0 0 .2' gravcomp='1'><joint name='turret' axis='0 0 1' {joints}/>
      <geom type='cylinder' size='.065 .05' pos='0 0 .05' material='metal' mass='1' contype='0' conaffinity='0'/>
      <body pos='0 0 {SHOULDER - 0.2}' gravcomp='1'><joint name='shoulder' axis='0 1 0' {joints}/>
        <geom type='capsule' fromto='0 0 0 0 0 {UPPER}' size='{width}' material='metal' mass='1' contype='0'
          conaffinity='0'/>
        <body pos='0 0 {UPPER}' gravcomp='1'><joint name='elbow' axis='0 1 0' {joints}/>
          <geom type='sphere' size='{width * 1.25}' material='dark' mass='.2' contype='0' conaffinity='0'/>
          <geom type='capsule' fromto='0 0 0 0 0 {FORE}' size='{width * 0.8}' material='metal' mass='.6' contype='0'
            conaffinity='0'/>
          <body pos='0 0 {FORE}' gravcomp='1'><joint name='wrist' axis='0 1 0' {joints}/>
            <geom type='cylinder' fromto='0 0 0 0 0 .06' size='.03' material='dark' mass='.2' contype='0'
              conaffinity='0'/>
            <geom type='box' size='.028 .07 .016' pos='0 0 .075' material='tool' mass='.1'/>
            <site name='tip' pos='0 0 {HAND}'/>{_finger_xml("left", 1)}{_finger_xml("right", -1)}
          </body>
        </body>
      </body>
    </body>
    {"".join(_object_xml(rng, i) for i in range(objects))}
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


def _finger_xml(name: str, side: int) -> str:
    """Return the XML of a finger that slides along the y axis. side: 1 for towards positive y, -1 for negative y."""
    return (
        f"<body name='{name}' pos='0 0 .09'>"
        f"<joint name='{name}' type='slide' axis='0 {side} 0' range='0 .055' damping='4'/>"
        f"<geom type='box' size='.018 .009 .036' pos='0 {side * 0.009} .034' material='tool' friction='2 .05 .01' "
        "condim='4' mass='.05'/></body>"
    )


def _random_position(rng: np.random.Generator, low: tuple, high: tuple) -> str:
    """Draw a position in the box between two corners; return it as the text of an XML attribute."""
    return " ".join(f"{c:.3f}" for c in rng.uniform(low, high))


def _camera_xml(config: ArmConfig, rng: np.random.Generator) -> str:
    """Draw a camera that points at about the middle of the workspace; return its XML."""
    azimuth, elevation = (math.radians(rng.uniform(*bounds)) for bounds in (config.azimuth, config.elevation))
    flat = math.cos(elevation)
    outwards = np.array((flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)))
    at = np.array((0.3, 0, 0.14)) + rng.uniform(-0.04, 0.04, 3) + rng.uniform(*config.distance) * outwards
    right = np.array((-math.sin(azimuth), math.cos(azimuth), 0))
    axes = " ".join(f"{c:.5f}" for c in (*right, *np.cross(outwards, right)))
    position = " ".join(f"{c:.4f}" for c in at)
    return f"<camera name='camera' pos='{position}' xyaxes='{axes}' fovy='{rng.uniform(42, 55):.2f}'/>"


def _object_xml(rng: np.random.Generator, index: int) -> str:
    """Draw an object above a random position on the table; return its XML."""
    kind = rng.choice(("box", "sphere", "cylinder", "ellipsoid"))
    half = rng.uniform(0.022, 0.042, 3)
    size = {"sphere": half[:1], "cylinder": half[:2]}.get(kind, half)
    position = f"{rng.uniform(0.24, 0.54):.3f} {rng.uniform(-0.28, 0.28):.3f} {0.06 + 0.07 * index:.3f}"
    return (
        f"<body name='object{index}' pos='{position}' euler='0 0 {rng.uniform(0, 180):.1f}'><freejoint/>"
        f"<geom type='{kind}' size='{' '.join(f'{s:.4f}' for s in size)}' rgba='{random_colour(rng)}' mass='.06' "
        "condim='4' friction='1.2 .02 .003'/></body>"
    )
