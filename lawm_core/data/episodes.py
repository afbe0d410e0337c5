"""Data set of episodes with action labels: a LeRobotDataset folder, decoded once into a memory-mapped cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lawm_core.atomic_files import build_folder, write_text
from lawm_core.data.lerobot import DatasetError, LabelConfig, LeRobotFolder
from lawm_core.data.mixture import VideoDataset
from lawm_core.data.motion_tracks import rand

CACHE_VERSION = 2


@dataclass(frozen=True)
class LabelledBatch:
    """Clips with robot actions.

    frame_BTCHW: in [0, 1]. action_BUR: actions between frames, and pose_BTR: states at each frame, in the data set's
    units; a pose has no numbers if the data set has no state. scene_B2: for clips that our own simulators recorded, the
    seed of the scene and the index of the clip's first frame in its episode; else None.
    """

    frame_BTCHW: Tensor
    action_BUR: Tensor
    pose_BTR: Tensor
    scene_B2: Tensor | None = None

    def first(self, clips: int) -> LabelledBatch:
        """Return the first `clips` clips."""
        scene_B2 = None if self.scene_B2 is None else self.scene_B2[:clips]
        return LabelledBatch(self.frame_BTCHW[:clips], self.action_BUR[:clips], self.pose_BTR[:clips], scene_B2)


def build_episodes(
    folder: str | Path,
    cache: str | Path,
    frames_per_second: float,
    size: int,
    labels: LabelConfig | None = None,
    progress: Callable[[float, str], object] | None = None,
) -> Path:
    """Decode all episodes of a folder into a new folder in `cache`, and return the path of that folder.

    Its name is a hash of the settings and of each file's name, size and modification time. A folder that exists is
    returned without decoding. Episodes that cannot be read are skipped, and index.json lists the reasons.

    frames_per_second, size: rate of the frames, and their height and width in pixels. labels: interpretation of the
    actions, and the camera. progress: called with the fraction done and a description. Raises DatasetError if no
    episode can be read.
    """
    data = LeRobotFolder(folder, labels)
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    files = [(str(path.relative_to(folder)), path.stat().st_size, int(path.stat().st_mtime)) for path in paths]
    key = json.dumps([CACHE_VERSION, frames_per_second, size, data.actions, data.camera, files])
    home = Path(cache) / f"episodes-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    fill = lambda part: write_episodes(data, part, frames_per_second, size, progress)
    return build_folder(home, "index.json", fill)


def write_episodes(
    data: LeRobotFolder, home: Path, frames_per_second: float, size: int, progress: Callable | None
) -> None:
    """Write frames.bin, labels.npz and index.json with all readable episodes into the folder `home`.

    Raises DatasetError if there are none.
    """
    lengths, skipped, scenes, actions, poses = {}, {}, {}, [], []
    with (home / "frames.bin").open("wb") as file:
        for index in range(len(data)):
            if progress:
                progress(index / len(data), f"episode {index + 1} of {len(data)} of {data.folder.name}")
            try:
                episode = data.read(index, size, frames_per_second)
            except DatasetError as error:
                skipped[index] = str(error)
                continue
            file.write((episode.frame_TCHW * 255).round().byte().contiguous().numpy().data)
            lengths[index] = len(episode.frame_TCHW)
            if episode.scene is not None and data.frames_per_second == frames_per_second:
                scenes[index] = episode.scene
            actions.append(F.pad(episode.action_UR, (0, 0, 0, 1)).numpy())
            pose_TR = episode.pose_TR if episode.pose_TR is not None else torch.zeros(lengths[index], 0)
            poses.append(pose_TR.numpy())
    data.close()
    if not lengths:
        reason = next(iter(skipped.values()), "it has no episodes")
        raise DatasetError(f"{data.folder.name} has no episode that can be read: {reason}")
    np.savez(home / "labels.npz", action_XR=np.concatenate(actions), pose_XR=np.concatenate(poses))
    splits = {name: data.episodes(name) for name in data.info.splits}
    index = {
        "size": size, "lengths": lengths, "splits": splits, "refused": skipped, "scenes": scenes,
        "names": data.action_names,
    }  # fmt: skip
    write_text(home / "index.json", json.dumps(index))


class EpisodeDataset(VideoDataset):
    """Data set that draws windows from the episodes of one split of a cache, see `build_episodes`.

    home: folder of the cache. split: None uses all episodes. names: name of each dimension of an action. skipped:
    reason for each episode that could not be read, by its number. Raises DatasetError if there is no such split or if
    it has no episode.
    """

    def __init__(self, home: str | Path, split: str | None) -> None:
        home = Path(home)
        index = json.loads((home / "index.json").read_text())
        labels = np.load(home / "labels.npz")
        self.frame_size, self.names = index["size"], tuple(index["names"])
        self.skipped: dict[str, str] = index["refused"]
        lengths = {int(k): v for k, v in index["lengths"].items()}
        starts = dict(zip(lengths, np.cumsum([0, *lengths.values()]).tolist(), strict=False))
        if split is not None and split not in index["splits"]:
            raise DatasetError(f"{home.name} has no split {split!r}; it has {', '.join(index['splits']) or 'none'}.")
        chosen = list(lengths) if split is None else [i for i in index["splits"][split] if i in lengths]
        if not chosen:
            raise DatasetError(f"{home.name} has no episode of split {split}.")
        self.spans = [(starts[i], lengths[i]) for i in chosen]  # first frame in the cache, number of frames
        scenes = {int(k): v for k, v in index["scenes"].items()}
        self.scene_X2 = None  # seed of the scene and index in the episode, for every frame in the cache
        if all(i in scenes for i in lengths):
            self.scene_X2 = torch.tensor([(scenes[i], frame) for i, count in lengths.items() for frame in range(count)])
        frame_X = np.memmap(home / "frames.bin", dtype=np.uint8, mode="r")
        self.byte_XCHW = frame_X.reshape(-1, 3, self.frame_size, self.frame_size)
        self.action_XR, self.pose_XR = torch.from_numpy(labels["action_XR"]), torch.from_numpy(labels["pose_XR"])

    @property
    def std_R(self) -> Tensor:
        """Standard deviation of each dimension of the split's actions, with which networks normalise actions."""
        return self.actions().std(dim=0).clamp_min(1e-6)

    def actions(self) -> Tensor:
        """Return all actions of the split, action_XR."""
        return torch.cat([self.action_XR[start : start + length - 1] for start, length in self.spans])

    def draw_labelled(self, clips: int, frames: int, generator: Generator) -> LabelledBatch:
        """Return random windows on the generator's device. Raises DatasetError if no episode has so many frames."""
        starts = [start + i for start, length in self._spans(frames) for i in range(length - frames + 1)]
        pick_B = torch.randint(len(starts), (clips,), generator=generator, device=generator.device)
        return self._windows([starts[i] for i in pick_B.tolist()], frames, generator.device)

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Return random windows without labels, frame_BTCHW in [0, 1].

        Each is mirrored with probability 1/2 and runs backwards with probability 1/2.
        """
        frame_BTCHW = self.draw_labelled(clips, frames, generator).frame_BTCHW
        mirrored, backwards = rand(generator, 2, clips, 1, 1, 1, 1) < 0.5
        frame_BTCHW = torch.where(mirrored, frame_BTCHW.flip(4), frame_BTCHW)
        return torch.where(backwards, frame_BTCHW.flip(1), frame_BTCHW)

    def windows(self, frames: int, count: int, seed: int) -> LabelledBatch:
        """Return `count` windows for evaluation. No episode is used again before all others have been used.

        The same seed gives the same windows. Raises DatasetError if no episode has so many frames.
        """
        rng = np.random.default_rng(seed)
        spans = self._spans(frames)
        chosen = [spans[i] for _ in range(-(-count // len(spans))) for i in rng.permutation(len(spans))][:count]
        starts = [start + int(rng.integers(length - frames + 1)) for start, length in chosen]
        return self._windows(starts, frames, torch.device("cpu"))

    def stills(self, per_clip: int, size: int) -> Tensor:
        """Return the first frames of up to 32 * per_clip episodes, still_XCHW in [0, 1] of size x size pixels."""
        starts = [start for start, _ in self.spans[: 32 * per_clip]]
        frame_X1CHW = self._windows(starts, 1, torch.device("cpu")).frame_BTCHW
        return F.interpolate(frame_X1CHW[:, 0], size=(size, size), mode="bilinear", align_corners=False)

    def _spans(self, frames: int) -> list[tuple[int, int]]:
        """Return (first frame in the cache, number of frames) of each episode with at least `frames` frames.

        Raises DatasetError if there are none.
        """
        if spans := [(start, length) for start, length in self.spans if length >= frames]:
            return spans
        raise DatasetError(f"no episode has {frames} frames; the longest has {max(n for _, n in self.spans)}.")

    def _windows(self, starts: list[int], frames: int, device: torch.device) -> LabelledBatch:
        """Return the windows of `frames` frames that begin at these frames of the cache."""
        byte_BTCHW = np.stack([self.byte_XCHW[start : start + frames] for start in starts])
        row_BT = torch.tensor(starts)[:, None] + torch.arange(frames)
        return LabelledBatch(
            torch.from_numpy(byte_BTCHW).to(device).float() / 255,
            self.action_XR[row_BT[:, :-1]].to(device),
            self.pose_XR[row_BT].to(device),
            None if self.scene_X2 is None else self.scene_X2[starts],
        )
