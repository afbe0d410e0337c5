"""Recorded episodes as a LeRobotDataset folder."""

import shutil

import pytest

from lawm_core.simulation.recorder import RecorderConfig, record
from tests.toy_world import ToyWorld


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "toy"
    return record(
        ToyWorld(), out, RecorderConfig(episodes=7, frames=9, seed=5, val_fraction=0.3, episodes_per_file=3), "go"
    )


@pytest.fixture
def copy(recorded, tmp_path):
    return shutil.copytree(recorded, tmp_path / "copy")
