"""A model and videos for commands to work on."""

import pytest
import torch

from lawm_core.checkpoint import save_model
from lawm_core.video.files import write_clip


@pytest.fixture
def model_folder(tiny_model, tmp_path):
    """The folder of a tiny model."""
    return str(save_model(tiny_model, tmp_path / "tiny"))


@pytest.fixture
def videos(tmp_path):
    """Paths of two videos of two seconds, each of a pattern that moves to the right."""
    generator = torch.Generator().manual_seed(0)
    paths = []
    for name in ("one", "two"):
        still = torch.rand(1, 3, 48, 64, generator=generator)
        frame_TCHW = torch.cat([still.roll(2 * t, dims=-1) for t in range(24)])
        write_clip(tmp_path / f"{name}.mp4", frame_TCHW, 12)
        paths.append(str(tmp_path / f"{name}.mp4"))
    return paths
