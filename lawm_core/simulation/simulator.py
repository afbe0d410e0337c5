"""Robots simulated in MuJoCo: their interface, off-screen rendering, and building blocks of random scenes.

MuJoCo renders through EGL or OSMesa; one of them must be chosen before MuJoCo is first imported. EGL is preferred: it
uses a GPU if there is one and Mesa's software renderer otherwise.
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

from lawm_core.data.appearance import procedural_textures

SUPERSAMPLING = 2  # frames are rendered at this multiple of their size and averaged down, for smooth edges
# The shared libraries that each value of MUJOCO_GL needs: at least one of every inner tuple.
RENDERERS = {"egl": (("EGL",), ("OpenGL", "GL")), "osmesa": (("OSMesa",),)}


class SimulatorError(ValueError):
    """The simulator cannot be used. The message says what is wrong or missing."""


@dataclass(frozen=True)
class ActionDimension:
    """One dimension of a robot's action.

    limit: largest absolute value in one step, in `unit`. mirrored: whether the value changes its sign if the scene is
    mirrored left to right, as a step to the left does.
    """

    name: str
    unit: str
    limit: float
    mirrored: bool = False


class Simulator(Protocol):
    """A simulated robot. An action lasts one frame. action_R and pose_R have the order and units of `action_dims`."""

    frames_per_second: float
    action_dims: tuple[ActionDimension, ...]

    def reset(self, seed: int) -> Tensor:
        """Build a random scene, the same for the same seed, and return its first frame_CHW in [0, 1]."""
        ...

    def step(self, action_R: np.ndarray) -> Tensor:
        """Execute an action as far as limits and contacts allow, and return the next frame_CHW."""
        ...

    def pose(self) -> np.ndarray:
        """Return the robot's pose, pose_R."""
        ...

    def action_between(self, before_R: np.ndarray, after_R: np.ndarray) -> np.ndarray:
        """Return the action that leads from one pose to another, action_R."""
        ...

    def demonstrate(self, frames: int) -> Iterator[np.ndarray]:
        """Yield `frames` actions of a scripted demonstrator. Execute each with `step` before asking for the next."""
        ...

    def save(self) -> Any:
        """Return a copy of the state of the scene, which `restore` accepts."""
        ...

    def restore(self, saved_state: Any) -> None:
        """Bring the scene back to a state that `save` returned since the last `reset`."""
        ...

    def close(self) -> None:
        """Free the scene and its renderer."""
        ...


class MujocoSimulator:
    """Base class of simulators, which hold one `MujocoScene` at a time. config: must have `frames_per_second`."""

    action_dims: tuple[ActionDimension, ...]

    def __init__(self, config: Any) -> None:
        self.config, self.frames_per_second = config, config.frames_per_second
        self._scene: MujocoScene | None = None

    @property
    def scene(self) -> MujocoScene:
        """The current scene. Raises SimulatorError before `reset` and after `close`."""
        if self._scene is None:
            raise SimulatorError("the simulator has no scene; call reset(seed) first.")
        return self._scene

    def clip_action(self, action_R: np.ndarray) -> np.ndarray:
        """Return an action clipped to the limits of every dimension, in float64."""
        limit_R = np.array([dim.limit for dim in self.action_dims])
        return np.clip(np.asarray(action_R, dtype=np.float64), -limit_R, limit_R)

    def close(self) -> None:
        """Free the scene and its renderer."""
        if self._scene is not None:
            self._scene.close()
            self._scene = None


def import_mujoco():
    """Import mujoco and return it, with an off-screen renderer chosen in MUJOCO_GL unless that is set already.

    Raises SimulatorError if no renderer is installed or mujoco cannot be imported.
    """
    if "MUJOCO_GL" not in os.environ:
        is_installed = lambda names: any(ctypes.util.find_library(name) for name in names)
        found = [name for name, libraries in RENDERERS.items() if all(map(is_installed, libraries))]
        if not found:
            raise SimulatorError(
                "no library for rendering without a screen was found; install libegl1 with libopengl0 "
                "(Debian packages, see packages.txt), or libosmesa6."
            )
        os.environ["MUJOCO_GL"] = found[0]
    try:
        import mujoco
    except Exception as error:  # an unusable renderer raises errors of many types
        raise SimulatorError(
            f"the package mujoco could not be imported with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}); install the "
            "extra `robots` and the Debian packages of packages.txt."
        ) from error
    return mujoco


class MujocoScene:
    """A compiled scene with its physics and its renderer. Raises SimulatorError if it cannot render.

    xml: MuJoCo XML of the scene. frame_size: height and width of rendered frames, in pixels. textures: pixels, uint8 of
    shape (size, size, 3), for each texture that the XML declares with `texture_xml`, by name.
    """

    def __init__(self, xml: str, frame_size: int, textures: dict[str, np.ndarray]) -> None:
        self.mujoco, self.frame_size = import_mujoco(), frame_size
        self.model = self.mujoco.MjModel.from_xml_string(xml)
        for name, byte_HWC in textures.items():
            start = self.model.tex_adr[self.model.texture(name).id]
            self.model.tex_data[start : start + byte_HWC.size] = byte_HWC.reshape(-1)
        self.data = self.mujoco.MjData(self.model)
        size = SUPERSAMPLING * frame_size
        self.model.vis.global_.offwidth = self.model.vis.global_.offheight = size
        try:
            self.renderer = self.mujoco.Renderer(self.model, size, size)
        except Exception as error:
            raise SimulatorError(
                f"MuJoCo cannot render with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({error}); start again with "
                "MUJOCO_GL=egl or MUJOCO_GL=osmesa."
            ) from error
        OPEN_SCENES.add(self)
        close_at_exit()

    def update(self) -> None:
        """Recompute the positions of all bodies from the joints, without advancing time."""
        self.mujoco.mj_forward(self.model, self.data)

    def advance(self, steps: int) -> None:
        """Advance the physics by `steps` time steps."""
        self.mujoco.mj_step(self.model, self.data, steps)

    def render(self, camera: str = "camera") -> Tensor:
        """Render the view of a camera, frame_CHW in [0, 1]."""
        self.renderer.update_scene(self.data, camera)
        byte_HWC = self.renderer.render()
        size = (self.frame_size, SUPERSAMPLING)
        frame_HWC = byte_HWC.reshape(*size, *size, 3).mean(axis=(1, 3)).astype(np.float32) / 255
        return torch.from_numpy(frame_HWC).permute(2, 0, 1).contiguous()

    def close(self) -> None:
        """Free the rendering context."""
        if self in OPEN_SCENES:
            OPEN_SCENES.remove(self)
            self.renderer.close()


OPEN_SCENES: weakref.WeakSet[MujocoScene] = weakref.WeakSet()


@functools.cache
def close_at_exit() -> None:
    """Have all open scenes closed when the interpreter exits; later calls do nothing.

    Exit handlers run in reverse order. The first call comes after EGL is loaded, so scenes are closed before EGL is.
    """
    atexit.register(lambda: [scene.close() for scene in list(OPEN_SCENES)])


def random_textures(count: int, size: int, generator: Generator, flatness: float) -> list[np.ndarray]:
    """Draw `count` random textures, each uint8 of shape (size, size, 3).

    flatness: from 0, full contrast, to 1, a single colour.
    """
    texture_XCHW = procedural_textures(count, size, generator)
    mean_XC11 = texture_XCHW.mean(dim=(2, 3), keepdim=True)
    texture_XCHW = mean_XC11 + (1 - flatness) * (texture_XCHW - mean_XC11)
    return list((texture_XCHW.permute(0, 2, 3, 1) * 255).round().byte().numpy())


def random_colour(rng: np.random.Generator, low: float = 0.08, high: float = 0.95) -> str:
    """Draw an opaque colour with channels between two limits; return it as the text of an XML attribute."""
    return " ".join(f"{c:.3f}" for c in rng.uniform(low, high, 3)) + " 1"


def random_grey(rng: np.random.Generator, low: float, high: float) -> str:
    """Draw a light intensity, equal in all channels; return it as the text of an XML attribute."""
    return " ".join([f"{rng.uniform(low, high):.3f}"] * 3)


def texture_xml(name: str, size: int) -> str:
    """Return the XML that declares a texture of size x size pixels, whose content `MujocoScene` fills in."""
    return f"<texture name='{name}' type='2d' builtin='flat' width='{size}' height='{size}' nchannel='3'/>"


def sky_xml(high: str, low: str) -> str:
    """Return the XML of a sky that fades from the colour `high` at the top to `low` at the bottom."""
    ends = f"rgb1='{high.rsplit(' ', 1)[0]}' rgb2='{low.rsplit(' ', 1)[0]}'"
    return f"<texture type='skybox' builtin='gradient' width='64' height='64' {ends}/>"
