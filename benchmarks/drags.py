"""Measure how far drags move what they should move, and how much else moves.

    python benchmarks/drags.py [--data ../shared/videos] [--drags 100] [--family noisy] [--capacity 1] [--out FILE]

Each drag starts at a random point of the first frame of a random val video. The reached displacement is measured twice:
by the world model's own flow, and in the rendered frames by DIS optical flow (OpenCV), which is independent of the
model. Errors and motion elsewhere are fractions of the drag's length.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lawm_core as lawm
from benchmarks.results import percentile, write_results
from lawm_core.data.folders import list_videos
from lawm_core.models.flow import pixel_centres

STEPS, RADIUS, MARGIN = 8, 0.12, 0.15
LENGTHS = (0.05, 0.3)  # of the drags, in frame widths
FAR_RADII = 3
TRACKED_PIXELS = range(-6, 7, 3)  # offsets of the points that are tracked around a handle


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "videos")
    parser.add_argument("--drags", type=int, default=100)
    parser.add_argument("--family")
    parser.add_argument("--capacity", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model, chance = lawm.load_model(), random.Random(options.seed)
    bound, videos = model.at(options.family, options.capacity), [path for path, _ in list_videos(options.data, "val")]
    results = [measure(bound, chance.choice(videos), random_drag(chance)) for _ in range(options.drags)]
    columns = {name: [result[name] for result in results] for name in results[0]}
    table: dict[str, object] = {"drags": options.drags, "setting": f"{bound.name}, capacity {options.capacity:g}"}
    for name, values in columns.items():
        table |= {f"{name}, median": statistics.median(values), f"{name}, p95": percentile(values, 0.95)}
    write_results(table, options.out)


def random_drag(chance: random.Random) -> lawm.Handle:
    """Return a drag that starts and ends inside the frame."""
    while True:
        x, y = (chance.uniform(MARGIN, 1 - MARGIN) for _ in range(2))
        length, angle = chance.uniform(*LENGTHS), chance.uniform(0, 2 * math.pi)
        dx, dy = length * math.cos(angle), length * math.sin(angle)
        if all(MARGIN / 2 < end < 1 - MARGIN / 2 for end in (x + dx, y + dy)):
            return lawm.Handle(x=x, y=y, dx=dx, dy=dy, radius=RADIUS)


@torch.inference_mode()
def measure(bound: lawm.BoundFamily, video: Path, handle: lawm.Handle) -> dict[str, float]:
    """Drag the first frame of a video, and return errors, motion elsewhere and seconds."""
    model = bound.model
    clip = lawm.read_clip(video, model.frames_per_second, model.picture_size, num_frames=2, trusted=True)
    start_time = time.perf_counter()
    start = bound.start_rollout(model.encode(clip.frame_TCHW[None, :1]))
    steps = list(lawm.drag(bound, start, [handle], STEPS))
    drag_time = time.perf_counter()
    states = [step.now.current for step in steps]
    join = lambda name: torch.cat([getattr(state, name) for state in states], dim=1)
    rollout = lawm.Rollout(
        start_BND=states[0].start_BND,
        **{name: join(name) for name in ("state_BUND", "flow_BU2HW", "visible_BU1HW")},
    )
    frame_UCHW = model.render(rollout, clip.frame_TCHW[:1])[0]
    end_time = time.perf_counter()
    asked_2, length = torch.tensor((handle.dx, handle.dy)), math.hypot(handle.dx, handle.dy)
    tracked_2 = track_pixels(torch.cat((clip.frame_TCHW[:1], frame_UCHW)), handle)
    flow_2HW = rollout.flow_BU2HW[0, -1]
    return {
        "error by the model's flow": ((steps[-1].reached_J2[0] - asked_2).norm() / length).item(),
        "error in the frames": ((tracked_2 - asked_2).norm() / length).item(),
        "motion beyond three radii": flow_2HW.norm(dim=0)[far_from(handle, flow_2HW.shape[-1])].mean().item() / length,
        "s to find the actions": drag_time - start_time,
        "s to render": end_time - drag_time,
    }


def far_from(handle: lawm.Handle, size: int) -> Tensor:
    """Return which positions are further than FAR_RADII radii from the path of a handle, (H, W)."""
    start_2, moved_2 = torch.tensor((handle.x, handle.y)), torch.tensor((handle.dx, handle.dy))
    offset_2HW = pixel_centres(size, size) - start_2[:, None, None]
    along_HW = ((offset_2HW * moved_2[:, None, None]).sum(dim=0) / moved_2.square().sum()).clamp(0, 1)
    return (offset_2HW - along_HW * moved_2[:, None, None]).norm(dim=0) > FAR_RADII * handle.radius


def track_pixels(frame_TCHW: Tensor, handle: lawm.Handle) -> Tensor:
    """Return the median displacement of points around a handle in frame widths, followed from frame to frame by DIS."""
    size = frame_TCHW.shape[-1]
    pixels_T = [(255 * frame.permute(1, 2, 0)).byte().numpy() for frame in frame_TCHW]
    greys = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in pixels_T]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start_J2 = np.array([(handle.x * size + i, handle.y * size + j) for i in TRACKED_PIXELS for j in TRACKED_PIXELS])
    at_J2 = start_J2.copy()
    for before, after in pairwise(greys):
        flow_HW2 = dis.calc(before, after, None)
        x, y = at_J2.round().astype(int).clip(0, size - 1).T
        at_J2 = at_J2 + flow_HW2[y, x]
    return torch.from_numpy(np.median(at_J2 - start_J2, axis=0) / size).float()


if __name__ == "__main__":
    main()
