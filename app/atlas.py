"""The action map: many transitions of many clips, where they lie, and their actions at any setting of the dial.

A point is a transition of one of the library's clips, whatever the dial says; its action is inferred anew for each
setting where the clips are at hand, and is the library's own where they are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

import lawm_core as lawm
from app.cache import ByteCache

PROTOTYPES = 9
NEIGHBOURS = 8
MOST_COMPARED = 2000
AT_ONCE = 16  # transitions whose actions are inferred together


class Atlas:
    """A library, and the folder that may hold its clips."""

    def __init__(
        self, model: lawm.LatentActionModel, library: lawm.ActionLibrary, folder: str | Path, cache_bytes: int = 2**24
    ) -> None:
        self.model, self.library, self.folder = model, library, Path(folder)
        self.has_clips = all((self.folder / clip.name).is_file() for clip in library.index.clips)
        self._actions: ByteCache[Tensor] = ByteCache(cache_bytes)
        self._states: Tensor | None = None
        self._flow: Tensor | None = None
        self._lock, self._refit_lock = Lock(), Lock()

    def __len__(self) -> int:
        return len(self.library)

    def point(self, value: object) -> int:
        """A point from whatever arrived. Raises ValueError for what is none."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
            raise ValueError(f"{value!r} is not a point of the map; a number from 0 to {len(self) - 1} is needed.")
        if not 0 <= value < len(self):
            raise ValueError(f"The map has no point {int(value)}; 0 to {len(self) - 1} is needed.")
        return int(value)

    def actions(self, family: str, capacity: float) -> Tensor:
        """action_PA of all points at a setting of the dial."""
        config = self.library.index.config
        if not self.has_clips or (family, capacity) == (config.family, config.capacity):
            return self.library.action_PA
        key = (family, round(capacity, 4))
        action_PA = self._actions.get(key)
        if action_PA is None:
            with torch.inference_mode():
                parts = [self.model.infer_actions(pair, family, capacity, flow)[:, 0] for pair, flow in self._read()]
            action_PA = torch.cat(parts).cpu()
            self._actions.keep(key, action_PA, action_PA.nbytes)
        return action_PA

    def states(self) -> Tensor:
        """The states before and after each transition, pair_P2ND; encoded on first use."""
        with self._lock:
            if self._states is None:
                self._states = torch.cat([self._encode(clip) for clip in self.library.index.clips])
        return self._states

    def _read(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """All states and the flow between them, in parts. The flow, which takes longest and is the same at every
        setting, is read once.
        """
        state_parts = self.states().split(AT_ONCE)
        with self._lock:
            if self._flow is None and self.model.flow_reader is not None:
                self._flow = torch.cat([self.model.read_flow(pair_X2ND) for pair_X2ND in state_parts])
        flow_parts = [None] * len(state_parts) if self._flow is None else self._flow.split(AT_ONCE)
        yield from zip(state_parts, flow_parts, strict=True)

    def _encode(self, listed) -> Tensor:
        clip = lawm.read_clip(
            self.folder / listed.name,
            frames_per_second=self.model.frames_per_second,
            size=self.model.frame_size,
            num_frames=listed.frames,
            trusted=True,
        )
        with torch.inference_mode():
            state_TND = torch.cat([self.model.encode(f[None])[0] for f in clip.frame_TCHW.split(64)])
        return torch.stack((state_TND[:-1], state_TND[1:]), dim=1)

    def neighbours(self, action_A: Tensor, family: str, capacity: float, count: int = NEIGHBOURS) -> list[int]:
        """The nearest points, in the space of actions, nearest first."""
        return self.library.nearest(action_A[None], count, self.actions(family, capacity))[1][0].tolist()

    def place(self, action_XA: Tensor, family: str, capacity: float) -> tuple[Tensor, Tensor]:
        """About where actions lie on both layouts, (umap_X2, pca_X2)."""
        return self.library.place(action_XA, among_PA=self.actions(family, capacity))

    def refit(self, family: str, capacity: float) -> Tensor:
        """A new layout by the actions at this setting, place_P2: some seconds. One at a time, for UMAP's threads."""
        action_PA = self.actions(family, capacity)
        with self._refit_lock:
            return lawm.umap_places_apart(action_PA)

    def sample(self, family: str, capacity: float, count: int) -> Tensor:
        """Actions made from nothing, one after each of `count` states spread over the library, action_XA."""
        if not self.has_clips:
            raise ValueError("The library's clips are not here, so there are no states to sample actions for.")
        before_XND = self.states()[:: max(1, len(self) // count), 0][:count]
        sampler = self.model.samplers(family)[0]
        generator = torch.Generator().manual_seed(0)
        return self.model.sample_actions(before_XND, family, capacity, sampler, generator).cpu()

    def other(self, point: int) -> int:
        """A point of another clip, always the same one: something to compare an action with."""
        generator = torch.Generator().manual_seed(point)
        foreign = (self.library.clip_P != self.library.clip_P[point]).nonzero()[:, 0]
        if not len(foreign):
            foreign = torch.arange(len(self))
        return int(foreign[torch.randint(len(foreign), (1,), generator=generator)])

    def name(self, point: int) -> str:
        """Which transition of which clip: 'sea-pan, 3 to 4'."""
        frame = int(self.library.frame_P[point])
        return f"{Path(self.library.index.clips[int(self.library.clip_P[point])].name).stem}, {frame} to {frame + 1}"

    def thumb(self, point: int) -> int:
        """Where the sprite holds its first frame; the second comes next."""
        clip = self.library.index.clips[int(self.library.clip_P[point])]
        return clip.first_thumb + int(self.library.frame_P[point])

    def words(self, point: int) -> str:
        """What happens there, in words."""
        return lawm.say_motion(self.library.motion_P6[point])

    def oddity(self, action_UA: Tensor) -> float:
        """How unlike the library's actions are these, 0 to 1, by median and at the library's own setting.

        The share of its actions that lie nearer to another clip's than these lie to any.
        """
        some = slice(None, None, max(1, len(self) // MOST_COMPARED))
        known_XA, clip_X = self.library.action_PA[some], self.library.clip_P[some]
        between_XX = torch.cdist(known_XA, known_XA)
        # Frames of one clip are alike; a fair neighbour is one of another clip.
        between_XX[clip_X[:, None] == clip_X] = torch.inf
        own_U = torch.cdist(action_UA.float(), known_XA).min(dim=1).values
        return (between_XX.min(dim=1).values < own_U[:, None]).float().mean(dim=1).median().item()
