"""Where nothing can be drawn, that is said in words for people."""

import numpy as np
import pytest
import torch

from lawm_core.worlds import simulator
from lawm_core.worlds.recorder import play, return_to
from lawm_core.worlds.robots import build_robot
from lawm_core.worlds.simulator import SimulatorError


@pytest.mark.parametrize("here", [(), ("EGL",), ("GL", "OpenGL")])
def test_a_machine_without_a_way_to_draw_is_told_what_is_needed(monkeypatch, here):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(simulator.ctypes.util, "find_library", lambda name: name if name in here else None)
    with pytest.raises(SimulatorError, match="libegl1 with libopengl0"):
        build_robot("rover", 16).reset(0)
    assert issubclass(SimulatorError, ValueError)  # so that the page and the shell show its words


def test_a_way_to_draw_that_fails_is_named(monkeypatch):
    class Broken:
        def __init__(self, *_):
            raise RuntimeError("no display")

    monkeypatch.setattr(simulator.import_mujoco(), "Renderer", Broken)
    with pytest.raises(SimulatorError, match="no display"):
        build_robot("rover", 16).reset(0)


def test_another_robot_is_refused():
    with pytest.raises(ValueError, match="'boat' is not one of: arm, rover"):
        build_robot("boat")


@pytest.mark.parametrize("robot", ["arm", "rover"])
def test_an_episode_is_come_back_to_at_any_frame(robot):
    world = build_robot(robot, 16)
    played = play(world, 3, frames=6)
    moment = return_to(world, 3, 4)
    assert np.allclose(world.pose(), played.pose_TK[4], atol=1e-9)
    shown = world.step(played.action_UK[4])
    world.restore(moment)
    assert torch.equal(world.step(played.action_UK[4]), shown)
    world.close()
