"""The simulated robots by name."""

from __future__ import annotations

from lawm_core.simulation.arm import ArmConfig, ArmSimulator
from lawm_core.simulation.rover import RoverConfig, RoverSimulator
from lawm_core.simulation.simulator import Simulator

ROBOTS = {"arm": (ArmSimulator, ArmConfig), "rover": (RoverSimulator, RoverConfig)}


def build_robot(name: str, frame_size: int = 96, frames_per_second: float = 6.0) -> Simulator:
    """Build the simulator of a robot; call its `reset` before anything else.

    frame_size: height and width of its frames, in pixels. Raises ValueError for an unknown name.
    """
    if name not in ROBOTS:
        raise ValueError(f"robot must be one of {', '.join(ROBOTS)}, got {name!r}.")
    simulator, config = ROBOTS[name]
    return simulator(config(frame_size=frame_size, frames_per_second=frames_per_second))
