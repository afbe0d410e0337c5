"""Small test videos with known content."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

STEP = 4  # grey levels between one frame and the next


def ffmpeg(*arguments: object) -> None:
    """Run the bundled ffmpeg; its output file comes last."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def numbered(count: int, height: int = 48, width: int = 64) -> torch.Tensor:
    """Return frame_TCHW in which frame n has the grey level n * STEP."""
    return (torch.arange(count) * STEP / 255).view(count, 1, 1, 1).expand(count, 3, height, width).contiguous()


def numbers(frame_TCHW: torch.Tensor) -> list[int]:
    """Return the indices that these frames have in `numbered`."""
    return (frame_TCHW.mean(dim=(1, 2, 3)) * 255 / STEP).round().int().tolist()


@pytest.fixture
def counting_mp4(tmp_path: Path) -> Path:
    """50 numbered frames at 10 per second, with B frames and a key frame every 20 frames, as on the web."""
    from lawm_core.video.files import write_clip

    write_clip(tmp_path / "exact.mp4", numbered(50), 10)
    ffmpeg("-i", tmp_path / "exact.mp4", "-c:v", "libx264", "-bf", 2, "-g", 20, "-crf", 8, tmp_path / "counting.mp4")
    return tmp_path / "counting.mp4"
