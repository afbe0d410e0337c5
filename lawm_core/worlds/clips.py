"""A folder of real videos as training batches: decoded once into a memory-mapped cache, cut at random after that."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.contracts import VideoError
from lawm_core.video.files import read_frames

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
CACHE_VERSION = 1


@dataclass(frozen=True)
class CachedClip:
    """One video in the cache: frames of (3, height, width) bytes from `offset` on."""

    name: str
    split: str
    frames: int
    height: int
    width: int
    offset: int


def list_videos(folder: str | Path, split: str | None = None) -> list[tuple[Path, str]]:
    """Videos of a folder with their split, by `manifest.csv` (columns file, split) where there is one.

    Without a manifest every video counts as `train`, but for each tenth by name, which is `val`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; needed: a folder of videos ({', '.join(VIDEO_SUFFIXES)}).")
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        with manifest.open(newline="", encoding="utf-8") as lines:
            rows = [(folder / row["file"], row.get("split") or "train") for row in csv.DictReader(lines)]
    else:
        names = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        rows = [(p, "val" if i % 10 == 9 else "train") for i, p in enumerate(names)]
    rows = [(p, s) for p, s in rows if split in (None, s)]
    if not rows:
        raise ValueError(f"{folder} holds no video{f' of split {split}' if split else ''}.")
    return rows


@dataclass(frozen=True, kw_only=True)
class ClipCacheConfig:
    """What is kept of each video: every frame at this rate and short side, whole width."""

    frames_per_second: float = 12.0
    short_side: int = 80


def cache_config(frames_per_second: float, frame_size: int) -> ClipCacheConfig:
    """Twice the model's rate, so that clips may start between its frames; a quarter more pixels, so that crops vary."""
    return ClipCacheConfig(frames_per_second=2 * frames_per_second, short_side=frame_size * 5 // 4)


def open_world(
    folder: str | Path, cache: str | Path, split: str, frames_per_second: float, frame_size: int, progress=None
) -> ClipWorld:
    """The videos of one split of `folder`, decoded into `cache` on first use."""
    home = build_cache(folder, cache, cache_config(frames_per_second, frame_size), progress, split)
    return ClipWorld(home, split, frames_per_second, frame_size)


def build_cache(
    folder: str | Path, cache: str | Path, config: ClipCacheConfig, progress=None, split: str | None = None
) -> Path:
    """Decodes the videos of `folder` (of one split, or all) into `cache`; returns the cache's own folder.

    Its name is a hash of the settings and of each file's name, size and time, so it is found again by content, and an
    edited folder is decoded anew. A video that cannot be read is left out and named in index.json under `refused`.
    `progress` wraps the list of videos.
    """
    videos = list_videos(folder, split)
    stamp = [(p.name, s, p.stat().st_size, int(p.stat().st_mtime)) for p, s in videos if p.is_file()]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, asdict(config), stamp]).encode()).hexdigest()[:16]
    home = Path(cache) / f"clips-{key}"
    if (home / "index.json").is_file():
        return home
    home.mkdir(parents=True, exist_ok=True)
    clips, refused, offset = [], {}, 0
    with (home / "frames.part").open("wb") as out:
        for path, split in progress(videos) if progress else videos:
            start, frames = offset, 0
            try:
                for byte_TCHW in read_frames(path, config.frames_per_second, config.short_side):
                    out.write(byte_TCHW.contiguous().numpy())
                    frames, offset = frames + len(byte_TCHW), offset + byte_TCHW.numel()
            except VideoError as error:
                refused[path.name] = str(error)
                offset = start
                out.seek(start)
                out.truncate()
                continue
            clips.append(CachedClip(path.name, split, frames, *byte_TCHW.shape[2:], start))
        out.flush()
        os.fsync(out.fileno())
    os.replace(home / "frames.part", home / "frames.bin")
    index = {"config": asdict(config), "clips": [asdict(c) for c in clips], "refused": refused}
    (home / "index.part").write_text(json.dumps(index, indent=1))
    os.replace(home / "index.part", home / "index.json")
    return home


class ClipWorld:
    """Random clips from a cache that `build_cache` made; a batch costs a few copies and one resize."""

    def __init__(self, home: str | Path, split: str, frames_per_second: float, frame_size: int) -> None:
        home = Path(home)
        index = json.loads((home / "index.json").read_text())
        self.clips = [CachedClip(**c) for c in index["clips"] if c["split"] == split]
        self.stride = max(1, round(index["config"]["frames_per_second"] / frames_per_second))
        self.frame_size = frame_size
        self.bytes = np.memmap(home / "frames.bin", dtype=np.uint8, mode="r")
        self.refused: dict[str, str] = index["refused"]
        if not self.clips:
            raise ValueError(f"{home} holds no clip of split {split}.")

    def frames(self, clip: CachedClip) -> np.ndarray:
        """All cached frames of a clip, (T, 3, height, width) bytes, not copied."""
        count = clip.frames * 3 * clip.height * clip.width
        return self.bytes[clip.offset : clip.offset + count].reshape(clip.frames, 3, clip.height, clip.width)

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """frame_BTCHW in [0, 1] on the generator's device: random video, moment, square, flips and direction of time.

        A video's chance grows with the square root of its length, so that a few long ones do not fill the batch.
        """
        usable = [c for c in self.clips if c.frames > self.stride * (frames - 1)]
        if not usable:
            raise ValueError(f"no video has {frames} frames at this rate; the longest has {self.longest()}.")
        draw = torch.rand(clips, 6, generator=generator, device=generator.device).cpu()
        weight = torch.tensor([c.frames for c in usable], dtype=torch.float64).sqrt().cumsum(0)
        picks = torch.searchsorted(weight, draw[:, 0].double() * weight[-1]).clamp_max(len(usable) - 1)
        chances = draw[:, 1:].tolist()
        return torch.stack(
            [self._cut(usable[p], frames, c, generator.device) for p, c in zip(picks.tolist(), chances, strict=True)]
        )

    def _cut(self, clip: CachedClip, frames: int, chance: list[float], device: str | torch.device = "cpu") -> Tensor:
        """frame_TCHW: five chances in [0, 1) choose start, scale, place across, place down and flips.

        Bytes travel to the device, where they are resized: a GPU does not wait for a CPU's arithmetic.
        """
        pixels = self.frames(clip)
        start = int(chance[0] * (clip.frames - self.stride * (frames - 1)))
        window = pixels[start : start + self.stride * (frames - 1) + 1 : self.stride]
        short = min(clip.height, clip.width)
        side = int(short * (0.75 + 0.25 * chance[1]) + 0.5)
        top, left = int(chance[3] * (clip.height - side + 1)), int(chance[2] * (clip.width - side + 1))
        cut = torch.from_numpy(window[:, :, top : top + side, left : left + side].copy())
        frame_TCHW = cut.to(device).float() / 255
        if side != self.frame_size:
            size = (self.frame_size, self.frame_size)
            frame_TCHW = F.interpolate(frame_TCHW, size=size, mode="bilinear", antialias=True, align_corners=False)
        code = int(chance[4] * 4)
        if code & 1:
            frame_TCHW = frame_TCHW.flip(3)
        if code & 2:
            frame_TCHW = frame_TCHW.flip(0)
        return frame_TCHW

    def windows(self, frames: int, a_clip: int) -> tuple[Tensor, list[str]]:
        """For measuring: centre squares of a few even windows of every video, (frame_BTCHW, names)."""
        out, names = [], []
        for clip in self.clips:
            last = clip.frames - self.stride * (frames - 1) - 1
            if last < 0:
                continue
            for start in sorted({int(s) for s in np.linspace(0, last, a_clip + 2)[1:-1]}):
                chance = start / (last + 1) + 1e-9
                out.append(self._cut(clip, frames, [chance, 1.0, 0.5, 0.5, 0.0]))
                names.append(clip.name)
        if not out:
            raise ValueError(f"no video has {frames} frames at this rate; the longest has {self.longest()}.")
        return torch.stack(out), names

    def stills(self, a_clip: int, size: int) -> Tensor:
        """still_SCHW in [0, 1]: evenly spaced frames of every video as centre squares."""
        out = []
        for clip in self.clips:
            for index in np.linspace(0, clip.frames - 1, a_clip + 2)[1:-1].astype(int):
                side = min(clip.height, clip.width)
                top, left = (clip.height - side) // 2, (clip.width - side) // 2
                still = self.frames(clip)[index][:, top : top + side, left : left + side]
                still = torch.from_numpy(still.copy()).float()[None] / 255
                out.append(
                    F.interpolate(still, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
                )
        return torch.cat(out)

    def longest(self) -> int:
        """Frames of the longest clip at this world's rate."""
        return max((c.frames - 1) // self.stride + 1 for c in self.clips)
