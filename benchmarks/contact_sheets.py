"""Contact sheets of transfers between real clips, to be looked at: what figures hide is seen here.

    python benchmarks/contact_sheets.py --data FOLDER [--model NAME ...] [--pairs A.mp4:B.mp4 ...]
        [--capacity 1] [--out report/sheets]

Each sheet has a row for source, target, transfer and control, and a column for frames 0, 4, 8 and 15; transfers of
several models lie below each other. Without pairs, clips of the val split are paired: each source with the target that
follows at a third of the list.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

import lawm_core as lawm
from lawm_core.worlds.folders import list_videos

COLUMNS = (0, 4, 8, 15)
SIDE = 256  # pixels of each picture
SHEETS = 6


def choose_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Six sources spread over the val split, each with another clip as its target."""
    videos = [path for path, _ in list_videos(folder, "val")]
    sources = [videos[i * len(videos) // SHEETS] for i in range(SHEETS)]
    return [(path, videos[(videos.index(path) + len(videos) // 3) % len(videos)]) for path in sources]


def draw_rows(model: lawm.LatentActionModel, source: Path, target: Path, first: bool, capacity: float) -> list[Tensor]:
    """Transfer and control, (columns, 3, SIDE, SIDE) each; on a sheet's first model source and target come before."""
    clips = [
        lawm.read_clip(path, model.frames_per_second, model.picture_size, max(COLUMNS) + 1) for path in (source, target)
    ]
    result = lawm.transfer(model, *clips, capacity=capacity)
    rows = [result.frame_TCHW, result.control_TCHW]
    if first:
        rows = [*(clip.frame_TCHW for clip in clips), *rows]
    return [lawm.enlarge(row[[min(t, len(row) - 1) for t in COLUMNS]], SIDE) for row in rows]


def main() -> None:
    """Writes a PNG for each pair and prints its path."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of videos")
    parser.add_argument("--model", action="append", default=[], help="name or folder; may be repeated")
    parser.add_argument("--pairs", nargs="*", default=[], help="SOURCE:TARGET, names of files in the folder")
    parser.add_argument("--capacity", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("report/sheets"))
    options = parser.parse_args()
    pairs = [tuple(options.data / name for name in pair.split(":")) for pair in options.pairs]
    options.out.mkdir(parents=True, exist_ok=True)
    models = [lawm.load_model(name) for name in options.model or [None]]
    for source, target in pairs or choose_pairs(options.data):
        rows = [
            row
            for i, model in enumerate(models)
            for row in draw_rows(model, source, target, first=i == 0, capacity=options.capacity)
        ]
        sheet_HWC = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).permute(1, 2, 0).numpy()
        path = options.out / f"{source.stem}--{target.stem}.png"
        imageio.imwrite(path, (sheet_HWC * 255).round().astype(np.uint8))
        print(path)


if __name__ == "__main__":
    main()
