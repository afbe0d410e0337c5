"""A robot arm over a table: manipulation with known actions, in MuJoCo.

A turret, two links and a wrist that holds a two-fingered gripper upright; its tip is led in straight lines, so an
action is the tip's displacement (dx, dy, dz) in the base's axes and the change of the gap between the fingers, all in
metres. Cameras, light, colours, textures and objects differ in every scene; the camera stands still within one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lawm_core.worlds.simulator import KnownAction, Stage, colour, grey, reserve_texture, sky, textures

HOME = (0.38, 0.0, 0.25)  # of the tip, metres from the base
LOW, HIGH = np.array((0.2, -0.32, 0.015)), np.array((0.58, 0.32, 0.4))  # where the tip may go
GAP = 0.1  # metres between the fingers, open
SHOULDER, UPPER, FORE, HAND = 0.3, 0.36, 0.34, 0.16  # metres: height, two links, wrist to tip
REACH = 0.985 * (UPPER + FORE)
SPEEDS = (0.015, 0.06)  # metres a frame that a demonstrator moves at
TEXTURE = 96  # pixels


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """frame_size in pixels. azimuth, elevation in degrees, distance in metres: where cameras stand, and look from."""

    frame_size: int = 96
    frames_per_second: float = 6.0
    objects: int = 4  # at most, on the table
    azimuth: tuple[float, float] = (-70.0, 70.0)  # 0 looks the robot in the face
    elevation: tuple[float, float] = (18.0, 50.0)
    distance: tuple[float, float] = (0.72, 1.0)
    physics_seconds: float = 0.004


class ArmWorld:
    """One scene at a time; `reset` makes another."""

    known = (
        KnownAction("dx", "m", 0.06), KnownAction("dy", "m", 0.06, sided=True), KnownAction("dz", "m", 0.06),
        KnownAction("gripper", "m", 0.045),
    )  # fmt: skip

    def __init__(self, config: ArmConfig | None = None) -> None:
        self.config = config or ArmConfig()
        self.frames_per_second = self.config.frames_per_second
        self.stage: Stage | None = None

    def reset(self, seed: int) -> Tensor:
        """A fresh scene: looks, camera, objects and where the tip starts. frame_CHW."""
        self.rng = np.random.default_rng(seed)
        self.close()
        paints = textures(3, TEXTURE, torch.Generator().manual_seed(seed), calm=float(self.rng.uniform(0.45, 0.97)))
        self.objects = int(self.rng.integers(1, self.config.objects + 1))
        xml = scene_xml(self.config, self.rng, self.objects)
        self.stage = Stage(xml, self.config.frame_size, dict(zip(("table", "floor", "wall"), paints, strict=True)))
        self.aim = np.array((*self.rng.uniform(LOW + 0.06, HIGH - 0.06), self.rng.choice((0.02, GAP))))
        self.aim[:3] = within_reach(self.aim[:3])
        self.stage.data.qpos[:4] = joint_angles(self.aim[:3])
        self.stage.data.qpos[4:6] = self.aim[3] / 2
        self._steer(self.aim)
        self.stage.advance(60)  # objects come to rest
        return self.stage.picture()

    def step(self, action_K: np.ndarray) -> Tensor:
        """Moves the tip by (dx, dy, dz) and the gap by `gripper` over one frame, as far as reach and touch allow."""
        limit_K = np.array([k.limit for k in self.known])
        start = self.aim.copy()
        self.aim = start + np.clip(np.asarray(action_K, dtype=np.float64), -limit_K, limit_K)
        self.aim[:3] = within_reach(self.aim[:3])
        self.aim[3] = np.clip(self.aim[3], 0.0, GAP)
        steps = round(1 / self.frames_per_second / self.config.physics_seconds)
        for i in range(steps):
            self._steer(start + (self.aim - start) * min(1.0, (i + 1) / (0.8 * steps)))
            self.stage.advance(1)
        return self.stage.picture()

    def _steer(self, aim: np.ndarray) -> None:
        """Sets the motors' targets."""
        self.stage.data.ctrl[:4] = joint_angles(aim[:3])
        self.stage.data.ctrl[4:6] = aim[3] / 2

    def pose(self) -> np.ndarray:
        """(x, y, z, gap) in metres: where the tip really is, and how far the fingers really are apart."""
        return np.array((*self.stage.data.site("tip").xpos, self.stage.data.qpos[4:6].sum()))

    def action_between(self, before_K: np.ndarray, after_K: np.ndarray) -> np.ndarray:
        """What was really done between two poses."""
        return after_K - before_K

    def object_places(self) -> np.ndarray:
        """Where the objects are, (objects, 3) in metres."""
        return np.array([self.stage.data.body(f"object{i}").xpos for i in range(self.objects)])

    def save(self) -> tuple[np.ndarray, ...]:
        """The moment, to come back to with `restore`."""
        data = self.stage.data
        return data.qpos.copy(), data.qvel.copy(), data.act.copy(), data.ctrl.copy(), self.aim.copy()

    def restore(self, moment: tuple[np.ndarray, ...]) -> None:
        """Back to a saved moment of this scene."""
        data = self.stage.data
        for mine, saved in zip((data.qpos, data.qvel, data.act, data.ctrl), moment[:4], strict=True):
            mine[:] = saved
        self.aim = moment[4].copy()
        self.stage.settle()

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Reaches, lifts, pushes and drops, one after another, with an unsteady hand."""
        sent = 0
        while sent < frames:
            for goal, gap, speed in self._intention():
                for _ in range(12):  # a goal that touch denies is given up
                    move = goal - self.aim[:3]
                    far = float(np.linalg.norm(move))
                    close = np.clip(gap - self.aim[3], -0.03, 0.03)
                    if (far < 0.004 and abs(close) < 0.004) or sent == frames:
                        break
                    move = move * min(1.0, speed / max(far, 1e-9)) + self.rng.normal(0, 0.002, 3)
                    yield np.array((*move, close))
                    sent += 1

    def _intention(self) -> list[tuple[np.ndarray, float, float]]:
        """A few goals in a row: (place of the tip, gap, speed)."""
        rng = self.rng
        gap, speed = float(rng.choice((0.015, GAP))), float(rng.uniform(*SPEEDS))
        free = within_reach(rng.uniform(LOW, HIGH))
        kind = rng.choice(("wander", "lift", "push", "grip"), p=(0.4, 0.3, 0.2, 0.1))
        if kind == "wander":
            return [(free, self.aim[3], speed)]
        if kind == "grip":
            return [(self.aim[:3].copy(), gap, speed)]
        thing = self.object_places()[rng.integers(self.objects)]
        if not (np.all(thing[:2] > LOW[:2]) and np.all(thing[:2] < HIGH[:2])):
            return [(free, gap, speed)]  # it fell off the table
        over, at = np.array((*thing[:2], 0.14)), np.array((*thing[:2], max(0.02, thing[2] - 0.005)))
        if kind == "lift":
            return [
                (over, GAP, speed), (at, GAP, min(speed, 0.04)), (at, 0.0, speed), (over, 0.0, min(speed, 0.04)),
                (within_reach(np.array((*free[:2], 0.16))), 0.0, speed), (within_reach(free), GAP, speed),
            ]  # fmt: skip
        way = rng.normal(size=2)
        way = 0.11 * way / np.linalg.norm(way)
        before, after = at.copy(), at.copy()
        before[:2], after[:2] = at[:2] - way, at[:2] + way
        raised = before + np.array((0, 0, 0.1))
        return [(within_reach(p), 0.015, speed) for p in (raised, before, after)]

    def close(self) -> None:
        """Lets the scene go."""
        if self.stage is not None:
            self.stage.close()
            self.stage = None


def within_reach(tip: np.ndarray) -> np.ndarray:
    """The nearest place inside the workspace that the arm can reach, metres."""
    x, y, z = np.clip(tip, LOW, HIGH)
    out = math.hypot(x, y)
    farthest = math.sqrt(max(REACH**2 - (z + HAND - SHOULDER) ** 2, 0.04))
    scale = min(1.0, farthest / max(out, 1e-9))
    return np.array((x * scale, y * scale, z))


def joint_angles(tip: np.ndarray) -> np.ndarray:
    """Turret, shoulder, elbow and wrist, in radians, that hold the gripper upright with its tip there."""
    x, y, z = tip
    out, up = math.hypot(x, y), z + HAND - SHOULDER
    far = min(math.hypot(out, up), REACH)
    inner = math.acos((UPPER**2 + far**2 - FORE**2) / (2 * UPPER * far))
    bend = math.acos((UPPER**2 + FORE**2 - far**2) / (2 * UPPER * FORE))
    shoulder = math.pi / 2 - (math.atan2(up, out) + inner)  # from upright, forwards
    elbow = math.pi - bend
    return np.array((math.atan2(y, x), shoulder, elbow, math.pi - shoulder - elbow))


def scene_xml(config: ArmConfig, rng: np.random.Generator, objects: int) -> str:
    """A random scene in MuJoCo's words."""
    joints, metal, dark, tool = "damping='4' armature='0.02'", colour(rng), colour(rng, 0.05, 0.5), colour(rng)
    names = ("turret", "shoulder", "elbow", "wrist")
    motors = "".join(f"<position joint='{n}' kp='600' dampratio='1'/>" for n in names)
    motors += "".join(f"<position joint='{n}' kp='200' dampratio='1' ctrlrange='0 .055'/>" for n in ("left", "right"))
    fingers = "".join(
        f"<body name='{name}' pos='0 0 .09'>"
        f"<joint name='{name}' type='slide' axis='0 {way} 0' range='0 .055' damping='4'/>"
        f"<geom type='box' size='.018 .009 .036' pos='0 {way * 0.009} .034' material='tool' friction='2 .05 .01' "
        "condim='4' mass='.05'/></body>"
        for name, way in (("left", 1), ("right", -1))
    )
    width = rng.uniform(0.032, 0.055)
    return f"""
<mujoco>
  <option timestep='{config.physics_seconds}' integrator='implicitfast' cone='elliptic' impratio='10'/>
  <visual><quality shadowsize='512' offsamples='0'/><map znear='.02' zfar='8'/>
    <headlight ambient='{grey(rng, 0.3, 0.6)}' diffuse='{grey(rng, 0.1, 0.4)}' specular='0 0 0'/></visual>
  <asset>
    {sky(colour(rng), colour(rng))}
    {reserve_texture("table", TEXTURE)}{reserve_texture("floor", TEXTURE)}{reserve_texture("wall", TEXTURE)}
    <material name='table' texture='table' texuniform='true' texrepeat='1.5 1.5'/>
    <material name='floor' texture='floor' texrepeat='3 3'/><material name='wall' texture='wall'/>
    <material name='metal' rgba='{metal}' specular='.4'/><material name='dark' rgba='{dark}'/>
    <material name='tool' rgba='{tool}'/>
  </asset>
  <worldbody>
    <light pos='{_place(rng, (-1, -1, 1.4), (1.2, 1, 2.2))}' dir='0 0 -1' diffuse='{grey(rng, 0.3, 0.7)}'
      castshadow='true'/>
    {_camera(config, rng)}
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
            <site name='tip' pos='0 0 {HAND}'/>{fingers}
          </body>
        </body>
      </body>
    </body>
    {"".join(_object(rng, i) for i in range(objects))}
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


def _place(rng: np.random.Generator, low: tuple, high: tuple) -> str:
    return " ".join(f"{c:.3f}" for c in rng.uniform(low, high))


def _camera(config: ArmConfig, rng: np.random.Generator) -> str:
    """A camera that looks at the middle of the workspace."""
    azimuth, elevation = (math.radians(rng.uniform(*span)) for span in (config.azimuth, config.elevation))
    towards = np.array(
        (math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation))
    )
    at = np.array((0.3, 0, 0.14)) + rng.uniform(-0.04, 0.04, 3) + rng.uniform(*config.distance) * towards
    right = np.array((-math.sin(azimuth), math.cos(azimuth), 0))
    axes = " ".join(f"{c:.5f}" for c in (*right, *np.cross(towards, right)))
    place = " ".join(f"{c:.4f}" for c in at)
    return f"<camera name='camera' pos='{place}' xyaxes='{axes}' fovy='{rng.uniform(42, 55):.2f}'/>"


def _object(rng: np.random.Generator, index: int) -> str:
    """Something to push or lift, somewhere on the table."""
    kind = rng.choice(("box", "sphere", "cylinder", "ellipsoid"))
    half = rng.uniform(0.022, 0.042, 3)
    size = {"sphere": half[:1], "cylinder": half[:2]}.get(kind, half)
    place = f"{rng.uniform(0.24, 0.54):.3f} {rng.uniform(-0.28, 0.28):.3f} {0.06 + 0.07 * index:.3f}"
    return (
        f"<body name='object{index}' pos='{place}' euler='0 0 {rng.uniform(0, 180):.1f}'><freejoint/>"
        f"<geom type='{kind}' size='{' '.join(f'{s:.4f}' for s in size)}' rgba='{colour(rng)}' mass='.06' condim='4' "
        "friction='1.2 .02 .003'/></body>"
    )
