"""Are real files read as ffmpeg reads them: the right frame at each time, upright, in shape, in colour?

    python benchmarks/trust/real_files.py FOLDER [--out FILE]

Every video of the folder is read at five start times and from end to end, every picture whole, and compared with what
ffmpeg itself decodes: a mean difference below 3/255. A refusal is listed with its reason. Exits with 1 where a file
is read wrongly.
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

from lawm_core.contracts import VideoError
from lawm_core.video.files import probe_video, read_clip, read_frames, read_picture
from lawm_core.video.info import shrunk
from lawm_core.video.paths import PICTURE_SUFFIXES, is_video
from lawm_core.video.timeline import frames_on_screen
from lawm_core.video.transforms import square

SIZE = 64
RATE = 6.0
NEAR = 3 / 255


def reference(path: Path, width: int, height: int) -> tuple[np.ndarray, torch.Tensor]:
    """What ffmpeg decodes: stamp_F in seconds from the first frame, and frame_FCHW at SIZE."""
    import imageio_ffmpeg

    sides = shrunk(width, height, SIZE)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path),
        "-vf", f"showinfo,scale={sides[0]}:{sides[1]}:flags=bicubic", "-fps_mode", "passthrough",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    stamp_F = np.array([float(t) for t in re.findall(rb"pts_time:(-?[\d.]+)", done.stderr)])
    byte_FHWC = np.frombuffer(done.stdout, np.uint8).reshape(-1, sides[1], sides[0], 3)
    return stamp_F - stamp_F[0], square(torch.from_numpy(byte_FHWC.copy()), SIZE)


def difference(frame_TCHW: torch.Tensor, true_TCHW: torch.Tensor) -> float:
    """The largest mean difference of any frame."""
    return (frame_TCHW - true_TCHW).abs().mean(dim=(1, 2, 3)).max().item()


def check_video(path: Path) -> dict[str, object]:
    """The largest difference at five start times and from end to end."""
    info = probe_video(path)
    stamp_F, true_FCHW = reference(path, info.width, info.height)
    seconds = float(stamp_F[-1])
    worst = 0.0
    for start in np.linspace(0, max(0.0, seconds - 4 / RATE), 5):
        clip = read_clip(path, RATE, SIZE, num_frames=4, start_seconds=float(start))
        index_T = frames_on_screen(stamp_F, start + np.arange(len(clip.frame_TCHW)) / RATE, 2e-3)
        worst = max(worst, difference(clip.frame_TCHW, true_FCHW[index_T]))
    whole = torch.cat([piece for piece in read_frames(path, RATE, min(2 * SIZE, info.width, info.height))])
    frame_TCHW = square(whole.permute(0, 2, 3, 1), SIZE)
    index_T = frames_on_screen(stamp_F, np.arange(len(frame_TCHW)) / RATE, 2e-3)
    missing = int(seconds * RATE) - len(frame_TCHW)
    told = {"start times": worst, "end to end": difference(frame_TCHW, true_FCHW[index_T]), "frames missing": missing}
    return told | {"right": max(worst, told["end to end"]) < NEAR and missing <= 1}


def check_picture(path: Path) -> dict[str, object]:
    """The difference of a picture."""
    frame_CHW = read_picture(path, SIZE)
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path),
        "-vf", f"crop='min(iw,ih)':'min(iw,ih)',scale={2 * SIZE}:{2 * SIZE}:flags=area+accurate_rnd",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    byte_1HWC = np.frombuffer(done.stdout, np.uint8).reshape(1, 2 * SIZE, 2 * SIZE, 3)
    told = difference(frame_CHW[None], square(torch.from_numpy(byte_1HWC.copy()), SIZE))
    return {"picture": told, "right": told < NEAR}


def main() -> None:
    """Check, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures: dict[str, dict[str, object]] = {}
    for path in sorted(p for p in given.folder.iterdir() if p.is_file()):
        check = check_picture if path.suffix.lower() in PICTURE_SUFFIXES else check_video if is_video(path) else None
        if check is None:
            continue
        try:
            figures[path.name] = check(path)
        except VideoError as refusal:
            figures[path.name] = {"refused": str(refusal)}
        told = {k: f"{v * 255:.2f}/255" if isinstance(v, float) else v for k, v in figures[path.name].items()}
        print(f"{path.name:32} {told}", flush=True)
    if given.out:
        given.out.write_text(json.dumps(figures, indent=2) + "\n")
    if not all(figure.get("right", True) for figure in figures.values()):
        sys.exit("some files are read wrongly")


if __name__ == "__main__":
    main()
