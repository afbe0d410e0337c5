"""Compare the frames that `lawm_core.video` reads from real files with those of ffmpeg.

    python benchmarks/trust/real_files.py FOLDER [--out FILE]

Reads every video of the folder at five start times and from start to end, and every picture. The mean difference from
the frames that ffmpeg decodes must be below 3/255, which shows that the time of each frame, orientation, shape and
colours are right. Files that cannot be read are listed with the reason. Exits with status 1 if the difference of a file
is too large.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lawm_core.types import VideoError
from lawm_core.video.decode_types import decode_size
from lawm_core.video.files import probe_video, read_clip, read_frames, read_picture
from lawm_core.video.paths import PICTURE_SUFFIXES, is_video
from lawm_core.video.timeline import frames_on_screen
from lawm_core.video.transforms import to_square

SIZE = 64  # height and width of the compared frames in pixels
RATE = 6.0  # frames per second
MAX_DIFFERENCE = 3 / 255  # of pixel values in [0, 1]


def run_ffmpeg(path: Path, video_filter: str) -> tuple[bytes, bytes]:
    """Decode all frames of a file to raw RGB. Returns ffmpeg's output, which is the frames, and its log."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path), "-vf", video_filter,
        "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout, done.stderr


def reference_frames(path: Path, width: int, height: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return the frames that ffmpeg decodes: start_X in seconds after the first frame, and frame_XCHW at SIZE pixels.

    width, height: size of the video.
    """
    width, height = decode_size(width, height, SIZE)
    frames, log = run_ffmpeg(path, f"showinfo,scale={width}:{height}:flags=bicubic")
    start_X = np.array([float(t) for t in re.findall(rb"pts_time:(-?[\d.]+)", log)])
    byte_XHWC = np.frombuffer(frames, np.uint8).reshape(-1, height, width, 3)
    return start_X - start_X[0], to_square(torch.from_numpy(byte_XHWC.copy()), SIZE)


def difference(frame_TCHW: torch.Tensor, true_TCHW: torch.Tensor) -> float:
    """Return the mean absolute difference of the frame for which it is largest."""
    return (frame_TCHW - true_TCHW).abs().mean(dim=(1, 2, 3)).max().item()


def check_video(path: Path) -> dict[str, object]:
    """Return the largest difference at five start times, that from start to end, and whether both are small enough."""
    info = probe_video(path)
    start_X, true_XCHW = reference_frames(path, info.width, info.height)
    seconds = float(start_X[-1])
    windows = 0.0
    for start in np.linspace(0, max(0.0, seconds - 4 / RATE), 5):
        clip = read_clip(path, RATE, SIZE, num_frames=4, start_seconds=float(start))
        index_T = frames_on_screen(start_X, start + np.arange(len(clip.frame_TCHW)) / RATE, 2e-3)
        windows = max(windows, difference(clip.frame_TCHW, true_XCHW[index_T]))
    byte_TCHW = torch.cat(list(read_frames(path, RATE, min(2 * SIZE, info.width, info.height))))
    frame_TCHW = to_square(byte_TCHW.permute(0, 2, 3, 1), SIZE)
    index_T = frames_on_screen(start_X, np.arange(len(frame_TCHW)) / RATE, 2e-3)
    whole, missing = difference(frame_TCHW, true_XCHW[index_T]), int(seconds * RATE) - len(frame_TCHW)
    correct = max(windows, whole) < MAX_DIFFERENCE and missing <= 1
    return {"start times": windows, "whole file": whole, "frames missing": missing, "correct": correct}


def check_picture(path: Path) -> dict[str, object]:
    """Return the difference of a picture, and whether it is small enough."""
    side = 2 * SIZE
    pixels, _ = run_ffmpeg(path, f"crop='min(iw,ih)':'min(iw,ih)',scale={side}:{side}:flags=area+accurate_rnd")
    byte_1HWC = np.frombuffer(pixels, np.uint8).reshape(1, side, side, 3)
    error = difference(read_picture(path, SIZE)[None], to_square(torch.from_numpy(byte_1HWC.copy()), SIZE))
    return {"picture": error, "correct": error < MAX_DIFFERENCE}


def main() -> None:
    """Check all files, print the results and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    for path in sorted(p for p in options.folder.iterdir() if p.is_file()):
        check = check_picture if path.suffix.lower() in PICTURE_SUFFIXES else check_video if is_video(path) else None
        if check is None:
            continue
        try:
            results[path.name] = check(path)
        except VideoError as error:
            results[path.name] = {"rejected": str(error)}
        shown = {k: f"{v * 255:.2f}/255" if isinstance(v, float) else v for k, v in results[path.name].items()}
        print(f"{path.name:32} {shown}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    if not all(result.get("correct", True) for result in results.values()):
        wrong = [name for name, result in results.items() if not result.get("correct", True)]
        sys.exit(f"these files are read differently from ffmpeg: {', '.join(wrong)}.")


if __name__ == "__main__":
    main()
