"""Missing renderers are reported, robots are built by name, and episodes can be reproduced."""

import numpy as np
import pytest
import torch

from lawm_core.simulation import simulator
from lawm_core.simulation.recorder import RecorderConfig, play_episode, seek
from lawm_core.simulation.robots import build_robot
from lawm_core.simulation.simulator import SimulatorError


@pytest.mark.parametrize("installed", [(), ("EGL",), ("GL", "OpenGL")])
def test_missing_renderer_is_reported_with_the_packages_to_install(monkeypatch, installed):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(simulator.ctypes.util, "find_library", lambda name: name if name in installed else None)
    with pytest.raises(SimulatorError, match="install libegl1 with libopengl0"):
        build_robot("rover", 16).reset(0)
    assert issubclass(SimulatorError, ValueError)  # so that the page and the command line show the message


def test_failing_renderer_is_reported_with_its_error(monkeypatch):
    class Broken:
        def __init__(self, *_):
            raise RuntimeError("no display")

    monkeypatch.setattr(simulator.import_mujoco(), "Renderer", Broken)
    with pytest.raises(SimulatorError, match="no display"):
        build_robot("rover", 16).reset(0)


def test_unknown_robot_is_rejected():
    with pytest.raises(ValueError, match="robot must be one of arm, rover, got 'boat'"):
        build_robot("boat")


@pytest.mark.parametrize(
    "change", [{"episodes": 0}, {"frames": 1}, {"val_fraction": 1.0}, {"val_fraction": -0.1}, {"episodes_per_file": 0}]
)
def test_invalid_recorder_config_is_rejected(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        RecorderConfig(**change)


@pytest.mark.parametrize("robot", ["arm", "rover"])
def test_seek_returns_to_any_frame_of_an_episode(robot):
    simulated = build_robot(robot, 16)
    episode = play_episode(simulated, 3, frames=6)
    saved_state = seek(simulated, 3, 4)
    assert np.allclose(simulated.pose(), episode.pose_TR[4], atol=1e-9)
    frame = simulated.step(episode.action_UR[4])
    simulated.restore(saved_state)
    assert torch.equal(simulated.step(episode.action_UR[4]), frame)
    simulated.close()
