"""A folder of real videos as training batches: decoded once, into a memory-mapped cache or shards, cut at random after
that.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.contracts import VideoError
from lawm_core.saving import build_folder, write_text
from lawm_core.video.files import read_frames
from lawm_core.worlds.folders import demand_readable, list_videos
from lawm_core.worlds.footage import CachedClip, CachedFootage, Footage, StoredClip
from lawm_core.worlds.shards import ShardFootage, is_sharded
from lawm_core.worlds.teacher_flow import FlowFootage, build_flow, cut_motion
from lawm_core.worlds.true_motion import Motion

CACHE_VERSION = 1
Cut = tuple[StoredClip, int, tuple[int, int, int], int]
MOST_STILLS = 1024  # that are looked at: a million videos' would fill the memory


@dataclass(frozen=True, kw_only=True)
class ClipCacheConfig:
    """What is kept of each video: every frame at this rate and short side, whole width."""

    frames_per_second: float = 12.0
    short_side: int = 80


def cache_config(frames_per_second: float, frame_size: int) -> ClipCacheConfig:
    """Twice the model's rate, so that clips may start between its frames; a quarter more pixels, so that crops vary."""
    return ClipCacheConfig(frames_per_second=2 * frames_per_second, short_side=frame_size * 5 // 4)


def open_world(
    folder: str | Path,
    cache: str | Path,
    split: str,
    frames_per_second: float,
    frame_size: int,
    progress=None,
    picture_size: int | None = None,
    with_flow: bool = False,
) -> ClipWorld:
    """The videos of one split of `folder`, decoded into `cache` on first use; a folder of shards as it is.

    picture_size: of the largest clips that will be drawn, where it is not the frame size. with_flow: the teacher's flow
    is computed too, on first use.
    """
    if is_sharded(folder):
        return ClipWorld(folder, split, frames_per_second, frame_size)
    config = cache_config(frames_per_second, frame_size)
    if picture_size and picture_size > frame_size:
        config = ClipCacheConfig(frames_per_second=frames_per_second, short_side=picture_size * 9 // 8)
    home = build_cache(folder, cache, config, progress, split)
    if with_flow:
        build_flow(home, progress)
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

    def fill(part: Path) -> None:
        clips, refused = write_frames(videos, part / "frames.bin", config, progress)
        demand_readable(folder, len(clips), refused)
        index = {"config": asdict(config), "clips": [asdict(c) for c in clips], "refused": refused}
        write_text(part / "index.json", json.dumps(index, indent=1))

    return build_folder(home, "index.json", fill)


def write_frames(
    videos: list[tuple[Path, str]], path: Path, config: ClipCacheConfig, progress=None
) -> tuple[list[CachedClip], dict[str, str]]:
    """Write all frames of the videos one after the other; return where each clip lies, and why others are not there."""
    clips, refused, offset = [], {}, 0
    with path.open("wb") as out:
        for video, split in progress(videos) if progress else videos:
            start, frames = offset, 0
            try:
                for byte_TCHW in read_frames(video, config.frames_per_second, config.short_side):
                    out.write(byte_TCHW.contiguous().numpy())
                    frames, offset = frames + len(byte_TCHW), offset + byte_TCHW.numel()
            except VideoError as error:
                refused[video.name] = str(error)
                offset = start
                out.seek(start)
                out.truncate()
                continue
            clips.append(CachedClip(video.name, split, frames, *byte_TCHW.shape[2:], start))
        out.flush()
        os.fsync(out.fileno())
    return clips, refused


class ClipWorld:
    """Random clips from a cache that `build_cache` made, or from shards; a batch costs a few copies and one resize.

    Raises ValueError where the footage is too coarse for clips of this rate and size, or holds none of this split.
    """

    def __init__(self, home: str | Path, split: str, frames_per_second: float, frame_size: int) -> None:
        sharded = is_sharded(home)
        self.footage: Footage = ShardFootage(home) if sharded else CachedFootage(home)
        self.frame_size, self.refused = frame_size, self.footage.refused
        self.stride = max(1, round(self.footage.frames_per_second / frames_per_second))
        if sharded:
            self._demand_fine(home, frames_per_second)
        self.clips, self.length_C = self.footage.clips(split), self.footage.lengths(split)
        has_flow = not sharded and (Path(home) / "flow.bin").is_file()
        self.flow = FlowFootage(home, self.footage) if has_flow and self.stride == 1 else None
        self._chances: dict[int, tuple[np.ndarray, Tensor]] = {}
        if not len(self.clips):
            raise ValueError(f"{home} holds no clip of split {split}.")

    def resized(self, frame_size: int) -> ClipWorld:
        """The same clips, drawn at another size."""
        world = copy.copy(self)
        world.frame_size = frame_size
        return world

    def _demand_fine(self, home: str | Path, frames_per_second: float) -> None:
        """Shards are made for one rate and size, and then met by others."""
        rate, side = self.footage.frames_per_second, self.footage.short_side
        if abs(rate / frames_per_second - self.stride) > 0.01 or side < self.frame_size:
            raise ValueError(
                f"{home} holds {rate:g} frames a second of {side} pixels; needed: a multiple of {frames_per_second:g}, "
                f"and at least {self.frame_size} pixels. `shards --recipe` makes them to measure."
            )

    def frames(self, clip: StoredClip) -> np.ndarray:
        """All frames of a clip, (T, 3, height, width) bytes."""
        return self.footage.read([(clip, 0)], clip.frames, 1)[0]

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """frame_BTCHW in [0, 1] on the generator's device: random video, moment, square, flips and direction of time.

        A video's chance grows with the square root of its length, so that a few long ones do not fill the batch.
        """
        return self._draw(clips, frames, generator)[0]

    def draw_with_motion(self, clips: int, frames: int, generator: Generator, grid: int) -> tuple[Tensor, Motion]:
        """As `draw`, with the teacher's flow between the frames on grid x grid places.

        Raises ValueError where no flow is stored beside the frames (`build_flow`).
        """
        if self.flow is None:
            raise ValueError("no flow is stored with these clips; build the cache with flow first.")
        frame_BTCHW, cuts = self._draw(clips, frames, generator)
        parts = []
        for clip, start, box, code in cuts:
            flow_UFHW = self.flow.read(clip, start, frames - 1)
            side = min(clip.height, clip.width)
            parts.append(cut_motion(flow_UFHW, box, side, bool(code & 1), bool(code & 2), grid))
        return frame_BTCHW, Motion.join(parts).to(frame_BTCHW.device)

    def _draw(self, clips: int, frames: int, generator: Generator) -> tuple[Tensor, list[Cut]]:
        """Frames, and for each clip how it was cut: the stored clip, its first frame, its box and its flips."""
        usable_C, weight_C = self._usable(frames)
        draw = torch.rand(clips, 6, generator=generator, device=generator.device).cpu()
        picks = torch.searchsorted(weight_C, draw[:, 0].double() * weight_C[-1]).clamp_max(len(usable_C) - 1)
        chances = draw[:, 1:].tolist()
        drawn = [self.clips[usable_C[pick]] for pick in picks.tolist()]
        pieces = [(clip, self._start(clip, frames, chance[0])) for clip, chance in zip(drawn, chances, strict=True)]
        windows = self.footage.read(pieces, frames, self.stride)
        frame_BTCHW = torch.stack(
            [self._cut(window, chance, generator.device) for window, chance in zip(windows, chances, strict=True)]
        )
        cuts = [
            (clip, start, crop_box(clip.height, clip.width, chance), int(chance[4] * 4))
            for (clip, start), chance in zip(pieces, chances, strict=True)
        ]
        return frame_BTCHW, cuts

    def _usable(self, frames: int) -> tuple[np.ndarray, Tensor]:
        """The numbers of clips that are long enough, and where each one's chance ends; kept, as corpora are large."""
        if frames not in self._chances:
            usable_C = np.flatnonzero(self.length_C > self.stride * (frames - 1))
            if not len(usable_C):
                raise ValueError(f"no video has {frames} frames at this rate; the longest has {self.longest()}.")
            self._chances[frames] = usable_C, torch.from_numpy(self.length_C[usable_C]).double().sqrt().cumsum(0)
        return self._chances[frames]

    def _start(self, clip: StoredClip, frames: int, chance: float) -> int:
        """The first frame of a window."""
        return int(chance * (clip.frames - self.stride * (frames - 1)))

    def _cut(self, byte_TCHW: np.ndarray, chance: list[float], device: str | torch.device = "cpu") -> Tensor:
        """frame_TCHW of a window: five chances in [0, 1), of which the first chose its start, choose scale, place
        across, place down and flips.

        Bytes travel to the device, where they are resized: a GPU does not wait for a CPU's arithmetic.
        """
        top, left, side = crop_box(*byte_TCHW.shape[2:], chance)
        frame_TCHW = to_device(byte_TCHW[:, :, top : top + side, left : left + side], device).float() / 255
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
        return self._measured(frames, lambda last: sorted({int(s) for s in np.linspace(0, last, a_clip + 2)[1:-1]}))

    def beginnings(self, frames: int) -> tuple[Tensor, list[str]]:
        """For measuring: centre squares of the first frames of every video, (frame_BTCHW, names)."""
        return self._measured(frames, lambda last: [0])

    def _measured(self, frames: int, starts: Callable[[int], list[int]]) -> tuple[Tensor, list[str]]:
        """Windows of every long enough video; starts: from the last possible start to those wanted."""
        out, names = [], []
        for clip in self.clips:
            last = clip.frames - self.stride * (frames - 1) - 1
            if last < 0:
                continue
            for start in starts(last):
                (window,) = self.footage.read([(clip, start)], frames, self.stride)
                out.append(self._cut(window, [0.0, 1.0, 0.5, 0.5, 0.0]))
                names.append(clip.name)
        if not out:
            raise ValueError(f"no video has {frames} frames at this rate; the longest has {self.longest()}.")
        return torch.stack(out), names

    def stills(self, a_clip: int, size: int) -> Tensor:
        """still_SCHW in [0, 1]: evenly spaced frames of every video as centre squares; of large corpora, of as many
        evenly spaced videos as MOST_STILLS allows.
        """
        most = max(1, MOST_STILLS // a_clip)
        chosen = range(len(self.clips)) if len(self.clips) <= most else np.linspace(0, len(self.clips) - 1, most)
        out = []
        for clip in (self.clips[int(number)] for number in chosen):
            moments = np.linspace(0, clip.frames - 1, a_clip + 2)[1:-1].astype(int)
            side = min(clip.height, clip.width)
            top, left = (clip.height - side) // 2, (clip.width - side) // 2
            for byte_1CHW in self.footage.read([(clip, int(moment)) for moment in moments], 1, 1):
                still = byte_1CHW[:, :, top : top + side, left : left + side]
                still = torch.from_numpy(still.copy()).float() / 255
                out.append(
                    F.interpolate(still, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
                )
        return torch.cat(out)

    def longest(self) -> int:
        """Frames of the longest clip at this world's rate."""
        return int((self.length_C.max() - 1) // self.stride + 1)


def crop_box(height: int, width: int, chance: list[float]) -> tuple[int, int, int]:
    """Top, left and side of the square that the chances choose, in pixels."""
    side = int(min(height, width) * (0.75 + 0.25 * chance[1]) + 0.5)
    return int(chance[3] * (height - side + 1)), int(chance[2] * (width - side + 1)), side


def to_device(byte_X: np.ndarray, device: str | torch.device) -> Tensor:
    """A copy of bytes; on its way to a GPU it lies in pinned memory, and nobody waits for it to arrive."""
    copied = torch.from_numpy(np.ascontiguousarray(byte_X) if byte_X.flags.writeable else byte_X.copy())
    if torch.device(device).type != "cuda":
        return copied
    return copied.pin_memory().to(device, non_blocking=True)
