"""Data set of a folder of videos, which are decoded once into a memory-mapped cache or into shards."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from lawm_core.atomic_files import build_folder, write_text
from lawm_core.data.folders import check_readable_videos, list_videos
from lawm_core.data.frame_store import CachedClip, CachedFrameStore, FrameStore, StoredClip
from lawm_core.data.mixture import VideoDataset
from lawm_core.data.motion_labels import Motion
from lawm_core.data.shards import ShardFrameStore, is_sharded
from lawm_core.data.teacher_flow import FlowStore, build_flow, crop_motion
from lawm_core.types import VideoError
from lawm_core.video.files import read_frames
from lawm_core.video.transforms import centre_crop, resize_bilinear

CACHE_VERSION = 1
MAX_STILLS = 1024  # that `ClipDataset.stills` returns, so that a million videos do not fill the memory


@dataclass(frozen=True, kw_only=True)
class ClipCacheConfig:
    """Frame rate and size of the frames in a cache.

    Frames keep their aspect ratio. short_side: length of their shorter side, in pixels.
    """

    frames_per_second: float = 12.0
    short_side: int = 80


def cache_config(frames_per_second: float, frame_size: int, picture_size: int | None = None) -> ClipCacheConfig:
    """Return the frame rate and size of a cache for a model with this frame rate and frame size.

    The cache has twice the model's frame rate, so that clips can start between its frames. Its short side is a quarter
    larger than frame_size, so that crops can be random.

    picture_size: size in pixels of the largest clips that will be drawn. If it is above frame_size, frames take more
    memory. The cache then has only the model's own frame rate, and its short side is an eighth larger than
    picture_size.
    """
    if picture_size and picture_size > frame_size:
        return ClipCacheConfig(frames_per_second=frames_per_second, short_side=picture_size * 9 // 8)
    return ClipCacheConfig(frames_per_second=2 * frames_per_second, short_side=frame_size * 5 // 4)


def open_dataset(
    folder: str | Path,
    cache: str | Path,
    split: str,
    frames_per_second: float,
    frame_size: int,
    progress: Callable | None = None,
    picture_size: int | None = None,
    with_flow: bool = False,
) -> ClipDataset:
    """Open one split of a folder of videos, or of shards. Videos are decoded into `cache` on first use.

    frames_per_second, frame_size: rate and size in pixels of the clips that are drawn. picture_size: size in pixels of
    the largest clips that will be drawn (see `ClipDataset.resized`), if larger than frame_size. with_flow: also compute
    the teacher's flow on first use (not for shards). progress: wraps the list of videos, as tqdm does.

    Raises ValueError if the split has no clips, or if the shards' frame rate or size does not fit.
    """
    if is_sharded(folder):
        largest = max(frame_size, picture_size or 0)
        return ClipDataset(folder, split, frames_per_second, largest).resized(frame_size)
    config = cache_config(frames_per_second, frame_size, picture_size)
    home = build_cache(folder, cache, config, progress, split)
    if with_flow:
        build_flow(home, progress)
    return ClipDataset(home, split, frames_per_second, frame_size)


def build_cache(
    folder: str | Path,
    cache: str | Path,
    config: ClipCacheConfig,
    progress: Callable | None = None,
    split: str | None = None,
) -> Path:
    """Decode the videos of a folder into a new folder in `cache`, and return the path of that folder.

    Its name is a hash of the settings and of each video's name, size and modification time. A folder that exists is
    returned without decoding; if a video has changed, the name differs and all videos are decoded again. Videos that
    cannot be read are skipped, and index.json lists the reasons.

    split: decode only this split; None decodes all. progress: wraps the list of videos, as tqdm does. Raises ValueError
    if there are no videos, and VideoError if none can be read.
    """
    videos = list_videos(folder, split)
    files = [
        (path.name, video_split, path.stat().st_size, int(path.stat().st_mtime))
        for path, video_split in videos
        if path.is_file()
    ]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, asdict(config), files]).encode()).hexdigest()[:16]

    def fill(part: Path) -> None:
        clips, skipped = write_frames(videos, part / "frames.bin", config, progress)
        check_readable_videos(folder, len(clips), skipped)
        index = {"config": asdict(config), "clips": [asdict(clip) for clip in clips], "refused": skipped}
        write_text(part / "index.json", json.dumps(index, indent=1))

    return build_folder(Path(cache) / f"clips-{key}", "index.json", fill)


def write_frames(
    videos: list[tuple[Path, str]], path: Path, config: ClipCacheConfig, progress: Callable | None = None
) -> tuple[list[CachedClip], dict[str, str]]:
    """Decode all videos and write their frames to the file `path`, one video after another.

    videos: path and split of each video. Return the stored clips, and the reason for each skipped video by name.
    """
    clips, skipped = [], {}
    with path.open("wb") as file:
        for video, split in progress(videos) if progress else videos:
            start, frames = file.tell(), 0
            try:
                for byte_TCHW in read_frames(video, config.frames_per_second, config.short_side):
                    file.write(byte_TCHW.contiguous().numpy().data)
                    frames, (height, width) = frames + len(byte_TCHW), byte_TCHW.shape[2:]
            except VideoError as error:
                skipped[video.name] = str(error)
                file.seek(start)
                file.truncate()
                continue
            clips.append(CachedClip(video.name, split, frames, height, width, start))
        file.flush()
        os.fsync(file.fileno())
    return clips, skipped


@dataclass(frozen=True)
class Crop:
    """Random augmentation of a clip: a square crop, mirroring, and reversal of time.

    top, left, side: position and size of the square, in pixels of the stored frames. mirrored: left and right are
    swapped. reversed_time: the last frame comes first.
    """

    top: int
    left: int
    side: int
    mirrored: bool
    reversed_time: bool

    @classmethod
    def of(cls, clip: StoredClip, random_5: list[float]) -> Crop:
        """Return the crop of a clip that five numbers in [0, 1] determine.

        The numbers choose the start of the window (not used here), the side of the square, its horizontal and its
        vertical position, and whether to mirror and to reverse.
        """
        _, scale, across, down, flips = random_5
        side = int(min(clip.height, clip.width) * (0.75 + 0.25 * scale) + 0.5)
        top, left = int(down * (clip.height - side + 1)), int(across * (clip.width - side + 1))
        return cls(top, left, side, bool(int(flips * 4) & 1), bool(int(flips * 4) & 2))


CENTRE_CROP = [0.0, 1.0, 0.5, 0.5, 0.0]  # numbers for `Crop.of` that give the largest centred square without flips


class ClipDataset(VideoDataset):
    """Data set that draws random clips from one split of a cache, see `build_cache`, or of shards.

    home: folder of the cache or of the shards. frames_per_second, frame_size: rate and size in pixels of the clips that
    are drawn. Raises ValueError if the split has no clips, or if the shards' frame rate or size does not fit.
    """

    def __init__(self, home: str | Path, split: str, frames_per_second: float, frame_size: int) -> None:
        sharded = is_sharded(home)
        self.store: FrameStore = ShardFrameStore(home) if sharded else CachedFrameStore(home)
        self.frame_size, self.skipped = frame_size, self.store.skipped
        self.stride = max(1, round(self.store.frames_per_second / frames_per_second))
        if sharded:
            self._check_resolution(home, frames_per_second)
        self.clips, self.length_X = self.store.clips(split), self.store.lengths(split)
        has_flow = self.stride == 1 and (Path(home) / "flow.bin").is_file()
        self.flow = FlowStore(home, self.store) if has_flow and isinstance(self.store, CachedFrameStore) else None
        self._long_enough: dict[int, tuple[np.ndarray, Tensor]] = {}
        if not len(self.clips):
            raise ValueError(f"{home} has no clip of split {split}.")

    def resized(self, frame_size: int) -> ClipDataset:
        """Return a data set of the same clips at another frame size."""
        dataset = copy.copy(self)
        dataset.frame_size = frame_size
        return dataset

    def _check_resolution(self, home: str | Path, frames_per_second: float) -> None:
        """Raise ValueError if the shards do not fit the requested frame rate and frame size.

        Shards are written for one model's rate and size, so they may not fit another model.
        """
        rate, side = self.store.frames_per_second, self.store.short_side
        if abs(rate / frames_per_second - self.stride) > 0.01 or side < self.frame_size:
            raise ValueError(
                f"{home} must have a multiple of {frames_per_second:g} frames per second and at least "
                f"{self.frame_size} pixels, got {rate:g} frames per second and {side} pixels. Write new shards with "
                "`lawm shards --recipe`."
            )

    def frames(self, clip: StoredClip) -> np.ndarray:
        """Return all frames of a clip, byte_TCHW uint8."""
        return self.store.read([(clip, 0)], clip.frames, 1)[0]

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Return random clips frame_BTCHW in [0, 1] on the generator's device.

        Video, start, crop, mirroring and direction of time are random. The probability of a video is proportional to
        the square root of its length, so that a few long ones do not dominate a batch.
        """
        return self._draw(clips, frames, generator)[0]

    def draw_with_motion(self, clips: int, frames: int, generator: Generator, grid: int) -> tuple[Tensor, Motion]:
        """Same as `draw`, and also return the teacher's flow between the frames, with grid x grid flow vectors.

        The flow is read if it is stored beside the frames, and computed otherwise. Raises ValueError if it must be
        computed and OpenCV is not installed.
        """
        if self.flow is None:
            return super().draw_with_motion(clips, frames, generator, grid)
        frame_BTCHW, windows = self._draw(clips, frames, generator)
        parts = []
        for clip, start, crop in windows:
            flow_UCHW, box = self.flow.read(clip, start, frames - 1), (crop.top, crop.left, crop.side)
            side = min(clip.height, clip.width)
            parts.append(crop_motion(flow_UCHW, box, side, crop.mirrored, crop.reversed_time, grid))
        return frame_BTCHW, Motion.join(parts).to(frame_BTCHW.device)

    def _draw(self, clips: int, frames: int, generator: Generator) -> tuple[Tensor, list[tuple[Any, int, Crop]]]:
        """Return random clips frame_BTCHW, and for each its stored clip, the index of its first frame, and its crop."""
        index_X, weight_X = self._clips_with(frames)
        random_B6 = torch.rand(clips, 6, generator=generator, device=generator.device).cpu()
        pick_B = torch.searchsorted(weight_X, random_B6[:, 0].double() * weight_X[-1]).clamp_max(len(index_X) - 1)
        windows = []
        for pick, random_5 in zip(pick_B.tolist(), random_B6[:, 1:].tolist(), strict=True):
            clip = self.clips[int(index_X[pick])]
            start = int(random_5[0] * (clip.frames - self.stride * (frames - 1)))
            windows.append((clip, start, Crop.of(clip, random_5)))
        stored = self.store.read([(clip, start) for clip, start, _ in windows], frames, self.stride)
        parts = [self._crop(byte, crop, generator.device) for byte, (_, _, crop) in zip(stored, windows, strict=True)]
        return torch.stack(parts), windows

    def _clips_with(self, frames: int) -> tuple[np.ndarray, Tensor]:
        """Return index_X of the clips with at least `frames` frames at the drawn rate, and their cumulative weights.

        The weight of a clip is the square root of its length. Results are cached. Raises ValueError if no clip is long
        enough.
        """
        if frames not in self._long_enough:
            index_X = np.flatnonzero(self.length_X > self.stride * (frames - 1))
            if not len(index_X):
                rate = self.store.frames_per_second / self.stride
                raise ValueError(
                    f"no video has {frames} frames at {rate:g} frames per second; the longest has {self.longest()}."
                )
            weight_X = torch.from_numpy(self.length_X[index_X]).double().sqrt().cumsum(0)
            self._long_enough[frames] = index_X, weight_X
        return self._long_enough[frames]

    def _crop(self, byte_TCHW: np.ndarray, crop: Crop, device: str | torch.device = "cpu") -> Tensor:
        """Crop stored frames, then resize and flip them on `device`. Return frame_TCHW in [0, 1]."""
        byte_TCHW = byte_TCHW[:, :, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
        frame_TCHW = resize_bilinear(to_device(byte_TCHW, device).float() / 255, self.frame_size)
        flipped = [dim for dim, flip in ((3, crop.mirrored), (0, crop.reversed_time)) if flip]
        return frame_TCHW.flip(flipped) if flipped else frame_TCHW

    def windows(self, frames: int, per_clip: int) -> tuple[Tensor, list[str]]:
        """Return windows for evaluation: centre-cropped frame_BTCHW, and the name of each window's video.

        Every video that is long enough gives up to `per_clip` windows of `frames` frames, at evenly spaced positions.
        """
        return self._windows(frames, lambda last: sorted({int(s) for s in np.linspace(0, last, per_clip + 2)[1:-1]}))

    def first_windows(self, frames: int) -> tuple[Tensor, list[str]]:
        """Return the first `frames` frames of every video that is long enough, for evaluation.

        The result is centre-cropped frame_BTCHW, and the name of each clip's video.
        """
        return self._windows(frames, lambda last: [0])

    def _windows(self, frames: int, choose_starts: Callable[[int], list[int]]) -> tuple[Tensor, list[str]]:
        """Return centre-cropped windows of every video that is long enough, and the name of each window's video.

        choose_starts: function from a video's last possible first frame to the first frames of its windows.
        """
        parts, names = [], []
        for clip in (self.clips[index] for index in self._clips_with(frames)[0]):
            for start in choose_starts(clip.frames - self.stride * (frames - 1) - 1):
                (byte_TCHW,) = self.store.read([(clip, start)], frames, self.stride)
                parts.append(self._crop(byte_TCHW, Crop.of(clip, CENTRE_CROP)))
                names.append(clip.name)
        return torch.stack(parts), names

    def stills(self, per_clip: int, size: int) -> Tensor:
        """Return evenly spaced, centre-cropped frames of every video, still_XCHW in [0, 1] of size x size pixels.

        per_clip: number of frames per video. If all videos together had more than MAX_STILLS frames, only some videos,
        evenly spaced, are used.
        """
        limit = max(1, MAX_STILLS // per_clip)
        chosen = range(len(self.clips)) if len(self.clips) <= limit else np.linspace(0, len(self.clips) - 1, limit)
        stills = []
        for clip in (self.clips[int(index)] for index in chosen):
            starts = np.linspace(0, clip.frames - 1, per_clip + 2)[1:-1].astype(int)
            for byte_1CHW in self.store.read([(clip, int(start)) for start in starts], 1, 1):
                still_1CHW = centre_crop(torch.from_numpy(byte_1CHW.copy())).float() / 255
                stills.append(resize_bilinear(still_1CHW, size))
        return torch.cat(stills)

    def longest(self) -> int:
        """Return the number of frames of the longest clip at the drawn rate."""
        return int((self.length_X.max() - 1) // self.stride + 1)


def to_device(byte_TCHW: np.ndarray, device: str | torch.device) -> Tensor:
    """Copy bytes to a device. Copies to a GPU use pinned memory and do not wait for the transfer."""
    copied = torch.from_numpy(np.ascontiguousarray(byte_TCHW) if byte_TCHW.flags.writeable else byte_TCHW.copy())
    if torch.device(device).type != "cuda":
        return copied
    return copied.pin_memory().to(device, non_blocking=True)
