"""The simulated robots by name."""

from __future__ import annotations

from lawm_core.worlds.arm import ArmConfig, ArmWorld
from lawm_core.worlds.rover import RoverConfig, RoverWorld
from lawm_core.worlds.simulator import Simulator

ROBOTS = {"arm": (ArmWorld, ArmConfig), "rover": (RoverWorld, RoverConfig)}


def build_robot(name: str, frame_size: int = 96, frames_per_second: float = 6.0) -> Simulator:
    """A robot's world, not yet reset. Raises ValueError for another name, SimulatorError where nothing can be drawn."""
    if name not in ROBOTS:
        raise ValueError(f"robot {name!r} is not one of: {', '.join(ROBOTS)}.")
    world, config = ROBOTS[name]
    return world(config(frame_size=frame_size, frames_per_second=frames_per_second))
