"""Action libraries: the latent actions between the frames of many clips, with layouts for a map.

A library is a folder with library.json (clips and settings), library.safetensors (actions, layouts, motion) and
sprite.webp (thumbnails of all frames in one image). It contains no code, and everything is validated when it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lawm_core.library.neighbours import nearest
from lawm_core.schema import build_dataclass, read_json_file
from lawm_core.types import CheckpointError

FORMAT = 2
INDEX, POINTS, SPRITE = "library.json", "library.safetensors", "sprite.webp"
# Shape of each tensor in library.safetensors without its first dimension, P. None stands for any size.
SHAPES = {"action_PA": (None,), "clip_P": (), "frame_P": (), "umap_P2": (2,), "pca_P2": (2,), "motion_P6": (6,)}


@dataclass(frozen=True, kw_only=True)
class LibraryConfig:
    """Settings of a library.

    family, capacity: bottleneck family and capacity with which actions are inferred. frames: maximum number of frames
    of a clip. thumb_pixels: height and width of thumbnails.
    """

    family: str = "noisy"
    capacity: float = 1.0
    frames: int = 120
    thumb_pixels: int = 48

    def __post_init__(self) -> None:
        if not 0 <= self.capacity <= 1:
            raise ValueError(f"capacity must be in [0, 1], got {self.capacity}.")
        if self.frames < 2:
            raise ValueError(f"frames must be at least 2, got {self.frames}.")
        if not 8 <= self.thumb_pixels <= 256:
            raise ValueError(f"thumb_pixels must be in [8, 256], got {self.thumb_pixels}.")


@dataclass(frozen=True, kw_only=True)
class LibraryClip:
    """One clip: file name, number of frames, and index of its first thumbnail in the sprite."""

    name: str
    frames: int
    first_thumb: int

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name:
            raise ValueError(f"a clip must be a file name without folders, got {self.name!r}.")


@dataclass(frozen=True, kw_only=True)
class LibraryIndex:
    """Content of library.json.

    model, fingerprint: name and fingerprint of the model that inferred the actions. sprite_columns: number of
    thumbnails in a row of the sprite. skipped: reason for each video that was skipped, by file name.
    """

    model: str
    fingerprint: str
    frames_per_second: float
    config: LibraryConfig
    clips: tuple[LibraryClip, ...]
    sprite_columns: int
    skipped: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ActionLibrary:
    """P points, one for each transition from a frame of a clip to the next frame.

    action_PA: latent action of each point. clip_P: index of its clip. frame_P: index in the clip of the frame before
    the transition. umap_P2, pca_P2: positions in the two layouts. motion_P6: see `motion_summary.summarize_motion`.
    sprite: path of the image of all thumbnails.
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
        """Return the points with the nearest actions: (distance_XY, point_XY), Y = min(count, P), nearest first.

        action_XA: actions to find neighbours of. among_PA: actions of the points to compare with instead of
        `action_PA`, for example those at another family or capacity.
        """
        return nearest(action_XA, self.action_PA if among_PA is None else among_PA, count)

    def project(self, action_XA: Tensor, neighbours: int = 5, among_PA: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return approximate positions of new actions in both layouts, (umap_X2, pca_X2).

        A position is the mean of the positions of the `neighbours` nearest points, weighted by inverse distance. An
        action that equals that of one point therefore gets the position of that point. If several points have this
        action, as in still scenes, it gets the mean of their positions. among_PA: see `nearest`.
        """
        distance_XY, point_XY = self.nearest(action_XA, neighbours, among_PA)
        weight_XY = 1 / (distance_XY + 1e-6)
        weight_XY1 = (weight_XY / weight_XY.sum(dim=1, keepdim=True))[..., None]
        return (self.umap_P2[point_XY] * weight_XY1).sum(dim=1), (self.pca_P2[point_XY] * weight_XY1).sum(dim=1)

    def prototypes(self, count: int = 9, rounds: int = 20) -> Tensor:
        """Return the most central point of each of `count` clusters of actions, point_X, largest cluster first.

        Clusters are found by `rounds` iterations of k-means (Lloyd 1982), which starts from points that are far from
        each other. The result is deterministic.
        """
        count = min(count, len(self))
        from_mean_P = torch.cdist(self.action_PA.mean(dim=0, keepdim=True), self.action_PA)[0]
        centres = [int(from_mean_P.argmin())]
        for _ in range(count - 1):
            distance_P = torch.cdist(self.action_PA[centres], self.action_PA).min(dim=0).values
            # The farthest point except for the farthest 1 %, which are outliers.
            centres.append(int(distance_P.argsort()[-max(1, len(self) // 100)]))
        centre_XA = self.action_PA[centres]
        for _ in range(rounds):
            cluster_P = torch.cdist(self.action_PA, centre_XA).argmin(dim=1)
            size_X1 = torch.bincount(cluster_P, minlength=count)[:, None]
            sum_XA = torch.zeros_like(centre_XA).index_add_(0, cluster_P, self.action_PA)
            centre_XA = torch.where(size_X1 > 0, sum_XA / size_X1.clamp_min(1), centre_XA)
        size_X = torch.bincount(torch.cdist(self.action_PA, centre_XA).argmin(dim=1), minlength=count)
        point_X = torch.cdist(centre_XA, self.action_PA).argmin(dim=1)
        return point_X[size_X.argsort(descending=True, stable=True)]


def load_library(folder: str | Path) -> ActionLibrary:
    """Load a library. Raises CheckpointError if a file is missing or invalid."""
    folder = Path(folder)
    try:
        fields = read_json_file(folder / INDEX)
        version = fields.pop("format", None) if isinstance(fields, dict) else None
        if version != FORMAT:
            raise ValueError(f"its format must be {FORMAT}, got {version!r}; build it again")
        index = build_dataclass(LibraryIndex, fields)
        tensors = read_points(folder / POINTS)
        check_clips(index, tensors)
        if not (folder / SPRITE).is_file():
            raise ValueError(f"{SPRITE} is missing")
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name} is not an action library: {str(error).rstrip('.')}.") from None
    return ActionLibrary(index=index, sprite=folder / SPRITE, **tensors)


def read_points(path: Path) -> dict[str, Tensor]:
    """Read library.safetensors. Raises ValueError if a tensor is missing, not finite, or has an unexpected shape."""
    tensors = {}
    with safe_open(path, framework="pt") as file:
        if missing := set(SHAPES) - set(file.keys()):
            raise ValueError(f"{sorted(missing)[0]} is missing in {path.name}")
        points = file.get_slice("action_PA").get_shape()[0]
        for name, rest in SHAPES.items():
            shape, expected = tuple(file.get_slice(name).get_shape()), (points, *rest)
            if len(shape) != len(expected) or any(e not in (None, s) for s, e in zip(shape, expected, strict=True)):
                raise ValueError(f"{name} must have shape {expected} (None for any size), got {shape}")
            tensors[name] = file.get_tensor(name)
            if not tensors[name].isfinite().all():
                raise ValueError(f"{name} must be finite, but has infinite or NaN values")
    return tensors


def check_clips(index: LibraryIndex, tensors: dict[str, Tensor]) -> None:
    """Raise ValueError if there are no clips or a point refers to a clip or frame that does not exist."""
    if not index.clips:
        raise ValueError("it has no clips")
    clip_P, frame_P = tensors["clip_P"].long(), tensors["frame_P"].long()
    transitions_B = torch.tensor([clip.frames - 1 for clip in index.clips])
    outside_P = (clip_P < 0) | (clip_P >= len(transitions_B)) | (frame_P < 0)
    if (outside_P | (frame_P >= transitions_B[clip_P.clamp(0, len(transitions_B) - 1)])).any():
        raise ValueError("it has a point whose clip or frame is not in library.json; build it again")
