"""What every suite works with: a model, clips it never saw, and how much of each to measure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from lawm_core.contracts import Rollout
from lawm_core.model import LatentActionModel
from lawm_core.worlds.clips import ClipWorld
from lawm_core.worlds.episodes import EpisodeWorld


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """How much is measured. windows: cuts from each real video; seconds: how far rollouts go, each from one frame.

    targets: other clips on which each source's actions are tried, where it matters where they act.
    """

    families: tuple[str, ...] = ()  # none: all that the model has
    capacities: tuple[float, ...] = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    windows: int = 3
    twins: int = 64
    twin_steps: int = 8
    seconds: float = 2.0
    targets: int = 4
    latents: int = 60  # transitions of each real video, for probes of the latents themselves
    episodes: int = 64  # of labelled robot video, for controllers and plans
    plan_samples: int = 300  # of a search for a plan, and its iterations
    plan_iterations: int = 15
    oracle_episodes: int = 12  # of those, the ones for which the simulator itself is planned in too, which is slow
    umap: bool = True  # maps of latents by UMAP, which takes a quarter of a minute to be ready; else by PCA
    seed: int = 7

    @property
    def coarse(self) -> tuple[float, ...]:
        """Every other capacity: for what changes slowly along the dial."""
        return self.capacities[::2] if len(self.capacities) > 4 else self.capacities

    @property
    def ends(self) -> tuple[float, ...]:
        """Low, middle and high capacity: for what is dear to measure."""
        return tuple(
            dict.fromkeys((self.capacities[0], self.capacities[len(self.capacities) // 2], self.capacities[-1]))
        )


QUICK = SuiteConfig(
    capacities=(0.0, 1.0), windows=1, twins=6, seconds=1.0, targets=2, latents=10, episodes=8, plan_samples=40,
    plan_iterations=4, oracle_episodes=0, umap=False,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A family at a capacity; for a reference line capacity is None."""

    family: str
    capacity: float | None

    def arguments(self) -> dict[str, object]:
        """For the model's own calls."""
        return {"family": self.family, "capacity": 1.0 if self.capacity is None else self.capacity}

    def where(self) -> dict[str, object]:
        """For scores."""
        return {"family": self.family, "capacity": self.capacity}


class Bench:
    """Real clips of one split with their states, encoded once, and the settings to measure.

    Without a world there are twins alone, with procedural looks.
    """

    def __init__(
        self,
        model: LatentActionModel,
        world: ClipWorld | None,
        config: SuiteConfig,
        labelled: dict[str, EpisodeWorld] | None = None,
        baselines: dict[str, LatentActionModel] | None = None,
    ) -> None:
        """labelled: episodes of robots whose known actions the model has controllers for, by the robot's name;
        baselines: what planning for them is measured against (`training/baselines.py`).
        """
        self.model, self.config = model, config
        self.world = world and world.resized(model.picture_size)
        self.labelled, self.baselines = labelled or {}, baselines or {}
        self.families = config.families or model.families
        self.steps = max(1, round(config.seconds * model.frames_per_second))

    def settings(self, capacities: tuple[float, ...] | None = None) -> Iterator[Setting]:
        """Every family at every capacity."""
        for family in self.families:
            for capacity in capacities or self.config.capacities:
                yield Setting(family, capacity)

    def references(self) -> Iterator[Setting]:
        """The lines between which families move, as far as the model has them."""
        for family in self.model.references:
            yield Setting(family, None)

    @lru_cache(maxsize=4)  # noqa: B019 - a bench lives as long as its report
    def clips(self, frames: int, windows: int | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """(frame_BTCHW, state_BTND, names) of even windows of every video."""
        if self.world is None:
            raise ValueError("this suite measures real clips; a folder of videos is needed.")
        frame_BTCHW, names = self.world.windows(frames, windows or self.config.windows)
        frame_BTCHW = frame_BTCHW.to(self.model.device)
        return frame_BTCHW, self.encode(frame_BTCHW), tuple(names)

    def stills(self) -> Tensor | None:
        """still_SCHW for twins' looks, from the clips of this split."""
        return self.world.stills(2, max(160, self.model.frame_size)) if self.world else None

    def others(self, clips: int) -> Tensor:
        """For each clip the index of one far from it in the list (neighbours are windows of the same video)."""
        third = max(1, clips // 3)
        shift = torch.randint(
            third, max(third + 1, 2 * third), (1,), generator=Generator().manual_seed(self.config.seed)
        )
        return (torch.arange(clips) + shift.item()) % clips

    # ---- the model's calls, a few clips at a time ---------------------------------------------------------------

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        """state_BTND."""
        return torch.cat([self.model.encode(f) for f in frame_BTCHW.split(16)])

    def infer(self, state_BTND: Tensor, setting: Setting) -> Tensor:
        """action_BUA."""
        parts = [self.model.infer_actions(s, **setting.arguments()) for s in state_BTND.split(16)]
        return torch.cat(parts)

    def roll(self, first_B1ND: Tensor, action_BUA: Tensor, setting: Setting) -> Tensor:
        """The states that follow one state under the actions, future_BUND."""
        return self.rollout(first_B1ND, action_BUA, setting).state_BUND

    def rollout(self, first_B1ND: Tensor, action_BUA: Tensor, setting: Setting) -> Rollout:
        """As `roll`, with what is needed to draw the frames."""
        parts = zip(first_B1ND.split(16), action_BUA.split(16), strict=True)
        return join_rollouts([self.model.rollout(s, a, **setting.arguments()) for s, a in parts])

    def show(self, frame_BTCHW: Tensor, rollout: Rollout) -> Tensor:
        """The frames of a rollout, frame_BUCHW; the clips' first frames are the pictures of its start."""
        few = (slice(first, first + 8) for first in range(0, len(frame_BTCHW), 8))
        return torch.cat([self.model.render(pick_clips(rollout, some), frame_BTCHW[some, 0]) for some in few])


def join_rollouts(parts: list[Rollout]) -> Rollout:
    """The rollouts of several batches as one."""
    fields = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
    return Rollout(**{name: None if tensors[0] is None else torch.cat(tensors) for name, tensors in fields.items()})


def pick_clips(rollout: Rollout, some: slice) -> Rollout:
    """The rollout of some of the clips."""
    return Rollout(**{name: None if tensor is None else tensor[some] for name, tensor in vars(rollout).items()})


def state_error(state_BUND: Tensor, true_BUND: Tensor) -> Tensor:
    """Mean absolute difference of each clip, (B,)."""
    return (state_BUND - true_BUND).abs().mean(dim=(1, 2, 3))
