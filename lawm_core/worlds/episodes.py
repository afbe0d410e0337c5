"""Labelled episodes as batches: a LeRobotDataset folder decoded once into a memory-mapped cache."""

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

from lawm_core.saving import build_folder, write_text
from lawm_core.worlds.lerobot import DatasetError, LabelConfig, LeRobotFolder

CACHE_VERSION = 2


@dataclass(frozen=True)
class Labelled:
    """Clips with what was done in them: frame_BTCHW in [0, 1], action_BUK, pose_BTK in the data set's units.

    scene_B2: where each begins in a simulator, (the scene's seed, the frame of its episode), where that is known.
    """

    frame_BTCHW: Tensor
    action_BUK: Tensor
    pose_BTK: Tensor
    scene_B2: Tensor | None = None

    def first(self, clips: int) -> Labelled:
        """The first so many of them."""
        parts = (self.frame_BTCHW, self.action_BUK, self.pose_BTK, self.scene_B2)
        return Labelled(*(part if part is None else part[:clips] for part in parts))


def build_episodes(
    folder: str | Path,
    cache: str | Path,
    frames_per_second: float,
    size: int,
    labels: LabelConfig | None = None,
    progress: Callable | None = None,
) -> Path:
    """Decodes every episode into `cache` and returns the cache's own folder, found again by content.

    An episode that is broken is left out and named under `refused`. progress(fraction, what).
    """
    data = LeRobotFolder(folder, labels)
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    stamp = [(str(p.relative_to(folder)), p.stat().st_size, int(p.stat().st_mtime)) for p in files]
    key = json.dumps([CACHE_VERSION, frames_per_second, size, data.actions, data.camera, stamp])
    home = Path(cache) / f"episodes-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    fill = lambda part: write_episodes(data, part, frames_per_second, size, progress)
    return build_folder(home, "index.json", fill)


def write_episodes(
    data: LeRobotFolder, home: Path, frames_per_second: float, size: int, progress: Callable | None
) -> None:
    """Write frames.bin, labels.npz and index.json of all episodes that can be read. DatasetError where none can."""
    lengths, refused, scenes, done, poses = {}, {}, {}, [], []
    with (home / "frames.bin").open("wb") as out:
        for index in range(len(data)):
            if progress:
                progress(index / len(data), f"episode {index + 1} of {len(data)} of {data.folder.name}")
            try:
                episode = data.read(index, size, frames_per_second)
            except DatasetError as error:
                refused[index] = str(error)
                continue
            out.write((episode.frame_TCHW * 255).round().byte().contiguous().numpy())
            lengths[index] = len(episode.frame_TCHW)
            if episode.scene is not None and data.frames_per_second == frames_per_second:
                scenes[index] = episode.scene
            done.append(F.pad(episode.action_UK, (0, 0, 0, 1)).numpy())
            pose_TK = episode.pose_TK if episode.pose_TK is not None else torch.zeros(lengths[index], 0)
            poses.append(pose_TK.numpy())
    data.close()
    if not lengths:
        raise DatasetError(
            f"{data.folder.name} has no episode that can be used: {next(iter(refused.values()), 'none')}"
        )
    np.savez(home / "labels.npz", action_XK=np.concatenate(done), pose_XK=np.concatenate(poses))
    splits = {name: data.episodes(name) for name in data.info.splits}
    index = {
        "size": size, "lengths": lengths, "splits": splits, "refused": refused, "scenes": scenes,
        "names": data.action_names,
    }  # fmt: skip
    write_text(home / "index.json", json.dumps(index))


class EpisodeWorld:
    """Random or chosen pieces of the episodes of one split (all: None) of a cache that `build_episodes` made."""

    def __init__(self, home: str | Path, split: str | None) -> None:
        home = Path(home)
        index = json.loads((home / "index.json").read_text())
        labels = np.load(home / "labels.npz")
        self.frame_size, self.names = index["size"], tuple(index["names"])
        self.refused: dict[str, str] = index["refused"]
        lengths = {int(k): v for k, v in index["lengths"].items()}
        starts = dict(zip(lengths, np.cumsum([0, *lengths.values()]).tolist(), strict=False))
        if split is not None and split not in index["splits"]:
            raise DatasetError(f"{home.name} has no split {split!r}; it has: {', '.join(index['splits']) or 'none'}.")
        chosen = list(lengths) if split is None else [i for i in index["splits"][split] if i in lengths]
        if not chosen:
            raise DatasetError(f"{home.name} holds no episode of split {split}.")
        self.spans = [(starts[i], lengths[i]) for i in chosen]
        scenes = {int(k): v for k, v in index["scenes"].items()}
        self.scene_X2 = None  # of every frame in the cache
        if all(i in scenes for i in lengths):
            self.scene_X2 = torch.tensor([(scenes[i], frame) for i, count in lengths.items() for frame in range(count)])
        self.bytes = np.memmap(home / "frames.bin", dtype=np.uint8, mode="r").reshape(
            -1, 3, self.frame_size, self.frame_size
        )
        self.action_XK, self.pose_XK = torch.from_numpy(labels["action_XK"]), torch.from_numpy(labels["pose_XK"])

    @property
    def spread_K(self) -> Tensor:
        """Standard deviation of each number of an action: the unit in which networks are told of it."""
        return self.actions().std(dim=0).clamp_min(1e-6)

    def actions(self) -> Tensor:
        """Every action of the split, action_XK."""
        return torch.cat([self.action_XK[start : start + length - 1] for start, length in self.spans])

    def draw_labelled(self, clips: int, frames: int, generator: Generator) -> Labelled:
        """Random pieces on the generator's device."""
        starts = self._starts(frames)
        pick_B = torch.randint(len(starts), (clips,), generator=generator, device=generator.device)
        return self._cut([starts[i] for i in pick_B.tolist()], frames, generator.device)

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """As unlabelled video, frame_BTCHW: half of them mirrored, half of them backwards."""
        frame_BTCHW = self.draw_labelled(clips, frames, generator).frame_BTCHW
        chance_2B = torch.rand(2, clips, 1, 1, 1, 1, generator=generator, device=generator.device)
        frame_BTCHW = torch.where(chance_2B[0] < 0.5, frame_BTCHW.flip(4), frame_BTCHW)
        return torch.where(chance_2B[1] < 0.5, frame_BTCHW.flip(1), frame_BTCHW)

    def windows(self, frames: int, count: int, seed: int) -> Labelled:
        """For measuring: up to `count` pieces, one an episode as far as there are enough, the same for a seed."""
        rng = np.random.default_rng(seed)
        usable = [(start, length) for start, length in self.spans if length >= frames]
        if not usable:
            raise DatasetError(f"no episode has {frames} frames; the longest has {max(n for _, n in self.spans)}.")
        order = [usable[i] for _ in range(-(-count // len(usable))) for i in rng.permutation(len(usable))][:count]
        return self._cut([s + int(rng.integers(n - frames + 1)) for s, n in order], frames, torch.device("cpu"))

    def stills(self, a_clip: int, size: int) -> Tensor:
        """still_SCHW in [0, 1]: the first frame of up to 64 episodes."""
        frame_SCHW = self._cut([start for start, _ in self.spans[: 32 * a_clip]], 1, torch.device("cpu")).frame_BTCHW
        return F.interpolate(frame_SCHW[:, 0], size=(size, size), mode="bilinear", align_corners=False)

    def _starts(self, frames: int) -> list[int]:
        starts = [start + i for start, length in self.spans for i in range(length - frames + 1)]
        if not starts:
            raise DatasetError(f"no episode has {frames} frames; the longest has {max(n for _, n in self.spans)}.")
        return starts

    def _cut(self, starts: list[int], frames: int, device: torch.device) -> Labelled:
        byte_BTCHW = np.stack([self.bytes[start : start + frames] for start in starts])
        row_BT = torch.tensor(starts)[:, None] + torch.arange(frames)
        return Labelled(
            torch.from_numpy(byte_BTCHW).to(device).float() / 255,
            self.action_XK[row_BT[:, :-1]].to(device),
            self.pose_XK[row_BT].to(device),
            None if self.scene_X2 is None else self.scene_X2[starts],
        )
