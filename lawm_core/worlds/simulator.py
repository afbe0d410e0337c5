"""MuJoCo scenes drawn without a screen: what the arm's and the rover's worlds share.

MuJoCo draws through EGL or OSMesa, and must be told which before it is first imported. EGL is tried first, since it
uses a GPU where there is one and Mesa's software renderer where there is none.
"""

from __future__ import annotations

import atexit
import ctypes.util
import functools
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.worlds.appearance import procedural_textures

DRAWN_TWICE = 2  # scenes are drawn at so many times the wanted size, then averaged: small edges stay smooth


class SimulatorError(ValueError):
    """The simulator cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class KnownAction:
    """One number a robot is told: its name, its unit and the most it may be in one step, either way.

    sided: whether it means the opposite in a mirror, as a step to the left does.
    """

    name: str
    unit: str
    limit: float
    sided: bool = False


class Simulator(Protocol):
    """A world with labels. An action lasts one frame; actions are float (K,) in the order of `known`."""

    frames_per_second: float
    known: tuple[KnownAction, ...]

    def reset(self, seed: int) -> Tensor:
        """A fresh scene, the same for the same seed: its first frame_CHW in [0, 1]."""
        ...

    def step(self, action_K: np.ndarray) -> Tensor:
        """Does the action, as far as the world lets it, and returns the next frame_CHW."""
        ...

    def pose(self) -> np.ndarray:
        """Where the robot is, pose_K in the units of `known`."""
        ...

    def action_between(self, before_K: np.ndarray, after_K: np.ndarray) -> np.ndarray:
        """What was really done between two poses, action_K as `step` takes it."""
        ...

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Actions of somebody who means something, one at a time, for the scene as it is."""
        ...

    def save(self) -> Any:
        """The moment, to come back to with `restore`."""
        ...

    def restore(self, moment: Any) -> None:
        """Back to a saved moment of this scene."""
        ...


def import_mujoco():
    """The mujoco package, told how to draw. Raises SimulatorError where it or every way of drawing is missing."""
    if "MUJOCO_GL" not in os.environ:
        ways = {"egl": (("EGL",), ("OpenGL", "GL")), "osmesa": (("OSMesa",),)}
        here = lambda names: any(ctypes.util.find_library(name) for name in names)
        found = [way for way, needed in ways.items() if all(here(names) for names in needed)]
        if not found:
            raise SimulatorError(
                "no way to draw without a screen; needed: libegl1 with libopengl0 (see packages.txt), or libosmesa6."
            )
        os.environ["MUJOCO_GL"] = found[0]
    try:
        import mujoco
    except Exception as error:  # a way of drawing that is named but not there fails in ways of its own
        raise SimulatorError(f"the simulator needs the package mujoco and a way to draw ({error}).") from error
    return mujoco


class Stage:
    """A compiled scene, its physics and its picture.

    textures: bytes for the scene's textures by name, each (side, side, 3), as large as the scene says.
    """

    def __init__(self, xml: str, size: int, textures: dict[str, np.ndarray]) -> None:
        self.mujoco = import_mujoco()
        self.model = self.mujoco.MjModel.from_xml_string(xml)
        for name, byte_HWC in textures.items():
            self._paint(name, byte_HWC)
        self.data = self.mujoco.MjData(self.model)
        self.size = size
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = DRAWN_TWICE * size
        try:
            self.renderer = self.mujoco.Renderer(self.model, DRAWN_TWICE * size, DRAWN_TWICE * size)
        except Exception as error:
            raise SimulatorError(f"nothing can be drawn here by {os.environ.get('MUJOCO_GL')} ({error}).") from error
        OPEN.add(self)
        close_at_exit()

    def _paint(self, name: str, byte_HWC: np.ndarray) -> None:
        """Fills a texture that the scene only reserved; it goes to the renderer when that is made."""
        texture = self.model.texture(name).id
        start = self.model.tex_adr[texture]
        self.model.tex_data[start : start + byte_HWC.size] = byte_HWC.reshape(-1)

    def settle(self) -> None:
        """Positions of everything, without time passing."""
        self.mujoco.mj_forward(self.model, self.data)

    def advance(self, steps: int) -> None:
        """Physics."""
        self.mujoco.mj_step(self.model, self.data, steps)

    def picture(self, camera: str = "camera") -> Tensor:
        """frame_CHW in [0, 1]."""
        self.renderer.update_scene(self.data, camera)
        byte_HWC = self.renderer.render()
        blocks = byte_HWC.reshape(self.size, DRAWN_TWICE, self.size, DRAWN_TWICE, 3).mean(axis=(1, 3))
        return torch.from_numpy(blocks.astype(np.float32) / 255).permute(2, 0, 1).contiguous()

    def close(self) -> None:
        """Gives the drawing context back."""
        if self in OPEN:
            OPEN.remove(self)
            self.renderer.close()


OPEN: weakref.WeakSet[Stage] = weakref.WeakSet()


@functools.cache
def close_at_exit() -> None:
    """Drawing contexts must go before EGL does. Asked for after the first one was made, this runs before EGL's end."""
    atexit.register(lambda: [stage.close() for stage in list(OPEN)])


def textures(count: int, side: int, generator: Generator, calm: float = 0.5) -> list[np.ndarray]:
    """Random textures, each (side, side, 3) bytes. calm: how far towards their own mean colour, 0 to 1."""
    texture_SCHW = procedural_textures(count, side, generator)
    mean_SC11 = texture_SCHW.mean(dim=(2, 3), keepdim=True)
    texture_SCHW = mean_SC11 + (1 - calm) * (texture_SCHW - mean_SC11)
    return list((texture_SCHW.permute(0, 2, 3, 1) * 255).round().byte().numpy())


def colour(rng: np.random.Generator, low: float = 0.08, high: float = 0.95) -> str:
    """A random opaque colour as a scene writes it."""
    return " ".join(f"{c:.3f}" for c in rng.uniform(low, high, 3)) + " 1"


def grey(rng: np.random.Generator, low: float, high: float) -> str:
    """A random strength of light, the same in all colours."""
    return " ".join([f"{rng.uniform(low, high):.3f}"] * 3)


def reserve_texture(name: str, side: int) -> str:
    """Room for a texture that `Stage` fills."""
    return f"<texture name='{name}' type='2d' builtin='flat' width='{side}' height='{side}' nchannel='3'/>"


def sky(high: str, low: str) -> str:
    """A sky that goes from one colour to another."""
    ends = f"rgb1='{high.rsplit(' ', 1)[0]}' rgb2='{low.rsplit(' ', 1)[0]}'"
    return f"<texture type='skybox' builtin='gradient' width='64' height='64' {ends}/>"
