"""The action map: transitions of a library's clips, their positions, and their actions at any setting.

A setting is a bottleneck family and a capacity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

import lawm_core as lawm
from app.cache import ByteCache

PROTOTYPES = 9
NEIGHBOURS = 8
MAX_COMPARED = 2000  # points of the library that `novelty` compares with, about
CHUNK = 16  # transitions per forward pass


class ActionMap:
    """The actions of a library, at its own setting or, if its clips are available, at any other.

    Each point of the map is one transition of one clip. folder: the folder that may contain the clips; if it does, the
    actions of all points are inferred again for each setting, else they are always those stored in the library. titles:
    titles of clips by file name. cache_bytes: limit of the cache of inferred actions.
    """

    def __init__(
        self, model: lawm.LatentActionModel, library: lawm.ActionLibrary, folder: str | Path,
        titles: Mapping[str, str] = {}, cache_bytes: int = 2**24,
    ) -> None:  # fmt: skip
        self.model, self.library, self.folder = model, library, Path(folder)
        self.clip_titles = [titles.get(clip.name, Path(clip.name).stem) for clip in library.index.clips]
        self.has_clips = all((self.folder / clip.name).is_file() for clip in library.index.clips)
        self._actions: ByteCache[Tensor] = ByteCache(cache_bytes)
        self._states: Tensor | None = None
        self._flow: Tensor | None = None
        self._lock, self._recompute_lock = Lock(), Lock()

    def __len__(self) -> int:
        return len(self.library)

    def check_point(self, value: object) -> int:
        """Return a value as the index of a point. Raises ValueError if it is not one."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value % 1 != 0 or not 0 <= value < len(self):
            raise ValueError(f"A point must be a whole number from 0 to {len(self) - 1}, got {repr(value)[:40]}.")
        return int(value)

    def actions(self, family: str, capacity: float) -> Tensor:
        """Return the actions of all points at a setting, action_PA."""
        config = self.library.index.config
        if not self.has_clips or (family, capacity) == (config.family, config.capacity):
            return self.library.action_PA
        key = (family, round(capacity, 4))
        action_PA = self._actions.get(key)
        if action_PA is None:
            with torch.inference_mode():
                bound = self.model.at(family, capacity)
                chunks = [bound.infer_actions(state_X2ND, flow)[:, 0] for state_X2ND, flow in self._chunks()]
            action_PA = torch.cat(chunks).cpu()
            self._actions.put(key, action_PA, action_PA.nbytes)
        return action_PA

    def states(self) -> Tensor:
        """Return the states before and after each transition, state_P2ND; encoded on first use."""
        with self._lock:
            if self._states is None:
                self._states = torch.cat([self._encode(clip) for clip in self.library.index.clips])
        return self._states

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the states and the flow of all transitions, in chunks of CHUNK.

        The flow takes longest to compute and is the same at every setting, so it is computed only once.
        """
        chunks = self.states().split(CHUNK)
        with self._lock:
            if self._flow is None:
                self._flow = torch.cat([self.model.read_flow(state_X2ND) for state_X2ND in chunks])
        yield from zip(chunks, self._flow.split(CHUNK), strict=True)

    def _encode(self, listed) -> Tensor:
        """Return the states before and after each transition of one clip of the library, state_U2ND."""
        clip = lawm.read_clip(
            self.folder / listed.name,
            frames_per_second=self.model.frames_per_second,
            size=self.model.frame_size,
            num_frames=listed.frames,
            trusted=True,
        )
        with torch.inference_mode():
            parts = [self.model.encode(frame_TCHW[None])[0] for frame_TCHW in clip.frame_TCHW.split(CHUNK)]
        state_TND = torch.cat(parts)
        return torch.stack((state_TND[:-1], state_TND[1:]), dim=1)

    def neighbours(self, action_A: Tensor, family: str, capacity: float, count: int = NEIGHBOURS) -> list[int]:
        """Return the `count` points whose actions at a setting are nearest to an action, nearest first."""
        return self.library.nearest(action_A[None], count, self.actions(family, capacity))[1][0].tolist()

    def project(self, action_XA: Tensor, family: str, capacity: float) -> tuple[Tensor, Tensor]:
        """Return the approximate positions of actions in both layouts, (umap_X2, pca_X2)."""
        return self.library.project(action_XA, among_PA=self.actions(family, capacity))

    def recompute(self, family: str, capacity: float) -> Tensor:
        """Return new UMAP positions of all points, position_P2, from their actions at this setting.

        This takes some seconds. Concurrent calls wait for each other, because UMAP uses all cores.
        """
        action_PA = self.actions(family, capacity)
        with self._recompute_lock:
            return lawm.umap_layout_in_subprocess(action_PA)

    def sample_actions(self, family: str, capacity: float, count: int) -> Tensor:
        """Return actions generated by the model's sampler for up to `count` states of the library, action_XA."""
        if not self.has_clips:
            raise ValueError(
                "Actions cannot be generated, because this server does not have the clips of the action map."
            )
        before_XND = self.states()[:: max(1, len(self) // count), 0][:count]
        bound = self.model.at(family, capacity)
        return bound.sample_actions(before_XND, bound.samplers[0], torch.Generator().manual_seed(0)).cpu()

    def comparison_point(self, point: int) -> int:
        """Return a random point of a clip other than that of `point`. Each call for `point` returns the same one."""
        generator = torch.Generator().manual_seed(point)
        others = (self.library.clip_P != self.library.clip_P[point]).nonzero()[:, 0]
        if not len(others):
            others = torch.arange(len(self))
        return int(others[torch.randint(len(others), (1,), generator=generator)])

    def name(self, point: int) -> str:
        """Return the clip and the frames of a point, for example 'Night sea, frames 4 to 5'. Frames count from 1."""
        frame = int(self.library.frame_P[point]) + 1
        return f"{self.clip_titles[int(self.library.clip_P[point])]}, frames {frame} to {frame + 1}"

    def thumbnail(self, point: int) -> int:
        """Return the index of a point's first frame in the image of all thumbnails; the second frame is the next."""
        clip = self.library.index.clips[int(self.library.clip_P[point])]
        return clip.first_thumb + int(self.library.frame_P[point])

    def motion_summary(self, point: int) -> str:
        """Return a description of the motion of a point in words."""
        return lawm.describe_motion(self.library.motion_P6[point])

    def novelty(self, action_UA: Tensor) -> float:
        """Return how unusual actions are, from 0 (typical of the library) to 1 (unlike all of its actions).

        action_UA: actions of one clip, inferred at the library's setting. The novelty of one action is the fraction of
        library actions that are closer to their nearest neighbour than it is to its own. Returns the median. Library
        actions of the same clip do not count as neighbours, because consecutive frames are similar.
        """
        some = slice(None, None, max(1, len(self) // MAX_COMPARED))
        library_XA, clip_X = self.library.action_PA[some], self.library.clip_P[some]
        distance_XX = torch.cdist(library_XA, library_XA)
        distance_XX[clip_X[:, None] == clip_X] = torch.inf
        nearest_U = torch.cdist(action_UA.float(), library_XA).min(dim=1).values
        return (distance_XX.min(dim=1).values < nearest_U[:, None]).float().mean(dim=1).median().item()
