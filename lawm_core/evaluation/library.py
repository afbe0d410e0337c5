"""A library of latent actions: what happened between the frames of many clips, laid out as a map.

A folder with library.json (clips and settings), library.safetensors (actions and their places) and sprite.webp (the
frames, small, in one picture). Data, never code: all of it is checked before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lawm_core.contracts import CheckpointError
from lawm_core.evaluation.nearest import nearest
from lawm_core.schema import build_dataclass, read_json_file

FORMAT = 1
# What library.safetensors holds, and the shape after P; None: any width.
TENSORS = {"action_PA": (None,), "clip_P": (), "frame_P": (), "umap_P2": (2,), "pca_P2": (2,), "motion_P6": (6,)}


@dataclass(frozen=True, kw_only=True)
class LibraryConfig:
    """family and capacity of the actions; frames: the most that are taken of one clip; thumb_pixels: in the sprite."""

    family: str = "noisy"
    capacity: float = 1.0
    frames: int = 120
    thumb_pixels: int = 48

    def __post_init__(self) -> None:
        if not 0 <= self.capacity <= 1 or self.frames < 2 or not 8 <= self.thumb_pixels <= 256:
            raise ValueError(
                f"capacity {self.capacity}, {self.frames} frames, {self.thumb_pixels} pixels; needed: 0 to 1, at least "
                "2, and 8 to 256."
            )


@dataclass(frozen=True, kw_only=True)
class LibraryClip:
    """One clip: its file's name, how many frames it has, and where the sprite holds the first of them."""

    name: str
    frames: int
    first_thumb: int

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name:
            raise ValueError(f"{self.name!r} is not a plain file name")


@dataclass(frozen=True, kw_only=True)
class LibraryIndex:
    """What library.json holds; `fingerprint` says which weights made the actions."""

    model: str
    fingerprint: str
    frames_per_second: float
    config: LibraryConfig
    clips: tuple[LibraryClip, ...]
    thumbs_across: int
    refused: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ActionLibrary:
    """P points, each one transition: from frame `frame_P` of clip `clip_P` to the next.

    motion_P6: pan right, pan down, zoom, roll, left over and speed, as `evaluation.meaning` reads them.
    """

    index: LibraryIndex
    action_PA: Tensor
    clip_P: Tensor
    frame_P: Tensor
    umap_P2: Tensor
    pca_P2: Tensor
    motion_P6: Tensor
    sprite: Path

    def __len__(self) -> int:
        return len(self.action_PA)

    def nearest(self, action_XA: Tensor, count: int = 8, among_PA: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The nearest points to each action, in the space of actions: (distance_XK, point_XK), nearest first.

        among_PA: the points' actions at another setting than the library's own.
        """
        return nearest(action_XA, self.action_PA if among_PA is None else among_PA, count)

    def place(self, action_XA: Tensor, neighbours: int = 5, among_PA: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """About where actions that are not in the library lie on its maps: between their nearest points.

        (umap_X2, pca_X2). A library's own action comes out where it is, and one that several points share, as those
        of still frames are, between these.
        """
        distance_XK, point_XK = self.nearest(action_XA, neighbours, among_PA)
        weight_XK = 1 / (distance_XK + 1e-6)
        weight_XK1 = (weight_XK / weight_XK.sum(dim=1, keepdim=True))[..., None]
        return (self.umap_P2[point_XK] * weight_XK1).sum(dim=1), (self.pca_P2[point_XK] * weight_XK1).sum(dim=1)

    def prototypes(self, count: int = 9, rounds: int = 20) -> Tensor:
        """Points that stand for all, point_K: each the most central of a cluster, clusters from large to small.

        K-means (Lloyd 1982) on the actions, started on points far from each other; the same each time.
        """
        count = min(count, len(self))
        far_P = torch.cdist(self.action_PA.mean(dim=0, keepdim=True), self.action_PA)[0]
        centres = [int(far_P.argmin())]
        for _ in range(count - 1):
            near_P = torch.cdist(self.action_PA[centres], self.action_PA).min(dim=0).values
            # Not the very farthest, which is an oddity, but the farthest of all but a few.
            centres.append(int(near_P.argsort()[-max(1, len(self) // 100)]))
        centre_KA = self.action_PA[centres]
        for _ in range(rounds):
            cluster_P = torch.cdist(self.action_PA, centre_KA).argmin(dim=1)
            count_K1 = torch.bincount(cluster_P, minlength=count)[:, None]
            total_KA = torch.zeros_like(centre_KA).index_add_(0, cluster_P, self.action_PA)
            centre_KA = torch.where(count_K1 > 0, total_KA / count_K1.clamp_min(1), centre_KA)
        sizes_K = torch.bincount(torch.cdist(self.action_PA, centre_KA).argmin(dim=1), minlength=count)
        point_K = torch.cdist(centre_KA, self.action_PA).argmin(dim=1)
        return point_K[sizes_K.argsort(descending=True, stable=True)]


def load_library(folder: str | Path) -> ActionLibrary:
    """A library from disk. CheckpointError says what is missing or does not fit."""
    folder = Path(folder)
    try:
        fields = read_json_file(folder / "library.json")
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        index = build_dataclass(LibraryIndex, fields)
        tensors = read_tensors(folder / "library.safetensors")
        check_points(index, tensors)
        if not (folder / "sprite.webp").is_file():
            raise ValueError("sprite.webp is missing")
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name} is not a library of actions: {error}.") from None
    return ActionLibrary(index=index, sprite=folder / "sprite.webp", **tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The library's tensors; ValueError where one is missing or has another number of points than the rest."""
    tensors = {}
    with safe_open(path, framework="pt") as file:
        if missing := set(TENSORS) - set(file.keys()):
            raise ValueError(f"{sorted(missing)[0]} is missing")
        points = file.get_slice("action_PA").get_shape()[0]
        for name, rest in TENSORS.items():
            shape = tuple(file.get_slice(name).get_shape())
            fits = len(shape) == 1 + len(rest) and all(w in (None, n) for w, n in zip(rest, shape[1:], strict=True))
            if not fits or shape[0] != points:
                raise ValueError(f"{name} is {shape} for {points} points")
            tensors[name] = file.get_tensor(name)
            if not tensors[name].isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")
    return tensors


def check_points(index: LibraryIndex, tensors: dict[str, Tensor]) -> None:
    """ValueError where a point lies outside its clip."""
    if not index.clips:
        raise ValueError("it has no clips")
    clip_P, frame_P = tensors["clip_P"].long(), tensors["frame_P"].long()
    last_C = torch.tensor([clip.frames - 1 for clip in index.clips])
    if (
        ((clip_P < 0) | (clip_P >= len(last_C))).any()
        or ((frame_P < 0) | (frame_P >= last_C[clip_P.clamp(0, len(last_C) - 1)])).any()
    ):  # fmt: skip
        raise ValueError("a point lies outside its clip")
