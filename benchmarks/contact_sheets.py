"""Write contact sheets of transfers between real clips, for visual comparison of models.

    python benchmarks/contact_sheets.py --data FOLDER [--model NAME ...] [--pairs A.mp4:B.mp4 ...]
        [--capacity 1] [--out report/sheets]

A sheet has one row each for source, target, transfer and control, and one column each for frames 0, 4, 8 and 15. With
several models, the rows for transfer and control are repeated for each. Without --pairs, clips of the validation split
are paired: each source with the clip that comes a third of the list later.
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
from lawm_core.data.folders import list_videos

COLUMNS = (0, 4, 8, 15)  # indices of the frames that are shown
SIZE = 256  # height and width of each frame in pixels
SHEETS = 6  # number of sheets without --pairs


def choose_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return SHEETS pairs of source and target from the validation split, with sources spread evenly over the split."""
    videos = [path for path, _ in list_videos(folder, "val")]
    sources = [videos[i * len(videos) // SHEETS] for i in range(SHEETS)]
    return [(path, videos[(videos.index(path) + len(videos) // 3) % len(videos)]) for path in sources]


def transfer_rows(
    model: lawm.LatentActionModel, source: Path, target: Path, with_inputs: bool, capacity: float
) -> list[Tensor]:
    """Return rows of frames, each (columns, 3, SIZE, SIZE): transfer and control, after both clips if `with_inputs`."""
    clips = [
        lawm.read_clip(path, model.frames_per_second, model.picture_size, max(COLUMNS) + 1) for path in (source, target)
    ]
    result = lawm.transfer_actions(model, *clips, capacity=capacity)
    rows = [result.frame_TCHW, result.control_TCHW]
    if with_inputs:
        rows = [*(clip.frame_TCHW for clip in clips), *rows]
    return [lawm.enlarge(row[[min(t, len(row) - 1) for t in COLUMNS]], SIZE) for row in rows]


def main() -> None:
    """Write a PNG for each pair and print its path."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of videos")
    parser.add_argument("--model", action="append", default=[], help="name or folder; can be repeated")
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
            for row in transfer_rows(model, source, target, with_inputs=i == 0, capacity=options.capacity)
        ]
        sheet_HWC = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).permute(1, 2, 0).numpy()
        path = options.out / f"{source.stem}--{target.stem}.png"
        imageio.imwrite(path, (sheet_HWC * 255).round().astype(np.uint8))
        print(path)


if __name__ == "__main__":
    main()
