"""The `Bench` that all suites measure on: a model, held-out clips with their states, and a `SuiteConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from lawm_core.data.clip_dataset import ClipDataset
from lawm_core.data.episodes import EpisodeDataset
from lawm_core.evaluation.scores import Setting
from lawm_core.model import LatentActionModel
from lawm_core.types import Rollout


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """How much the suites measure. It is stored in reports."""

    families: tuple[str, ...] = ()  # families to measure; empty for all of the model
    capacities: tuple[float, ...] = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    windows: int = 3  # number of clips taken from each video
    synthetic_clips: int = 64  # number of synthetic pairs of each kind
    synthetic_steps: int = 8  # number of predicted frames on synthetic pairs
    seconds: float = 2.0  # length of rollouts, each from one frame
    targets: int = 4  # number of targets that each source's actions are applied to, in the suite locality
    probe_windows: int = 60  # number of clips per video on which classifiers and probes of latent actions are trained
    episodes: int = 64  # number of robot episodes for controllers and plans
    plan_samples: int = 300  # plans sampled in each iteration of the cross-entropy method
    plan_iterations: int = 15  # iterations of the cross-entropy method, for the arm
    oracle_episodes: int = 12  # number of episodes for which plans are also searched in the simulator, which is slow
    umap: bool = True  # whether maps of latent actions are laid out by UMAP, which takes 15 s to start, or by PCA
    seed: int = 7

    @property
    def coarse_capacities(self) -> tuple[float, ...]:
        """Every second capacity if there are more than four, for scores that change slowly with capacity."""
        return self.capacities[::2] if len(self.capacities) > 4 else self.capacities

    @property
    def key_capacities(self) -> tuple[float, ...]:
        """The lowest, middle and highest capacity, for slow suites."""
        middle = self.capacities[len(self.capacities) // 2]
        return tuple(dict.fromkeys((self.capacities[0], middle, self.capacities[-1])))


QUICK = SuiteConfig(
    capacities=(0.0, 1.0), windows=1, synthetic_clips=6, seconds=1.0, targets=2, probe_windows=10, episodes=8,
    plan_samples=40, plan_iterations=4, oracle_episodes=0, umap=False,
)  # fmt: skip


class Bench:
    """A model and the data that it is measured on. The states of clips are encoded once and kept."""

    def __init__(
        self,
        model: LatentActionModel,
        dataset: ClipDataset | None,
        config: SuiteConfig,
        labelled: dict[str, EpisodeDataset] | None = None,
        baselines: dict[str, LatentActionModel] | None = None,
    ) -> None:
        """Collect what suites need.

        dataset: held-out clips; None if only synthetic and robot suites will run. labelled: episodes of each robot, by
        its name. baselines: for each robot, by its name, a model from `training/baselines.py` that planning is compared
        with.
        """
        self.model, self.config = model, config
        self.dataset = dataset.resized(model.picture_size) if dataset else None
        self.labelled, self.baselines = labelled or {}, baselines or {}
        self.families = config.families or model.family_names
        self.steps = max(1, round(config.seconds * model.frames_per_second))

    def settings(self, capacities: tuple[float, ...] | None = None) -> list[Setting]:
        """Return every family at each of the capacities; by default at all capacities of the config."""
        return [Setting(family, c) for family in self.families for c in capacities or self.config.capacities]

    def videos(self) -> ClipDataset:
        """Return the data set of held-out clips. Raises ValueError if there is none."""
        if self.dataset is None:
            raise ValueError("a suite that measures real clips got dataset=None; pass a folder of videos.")
        return self.dataset

    @lru_cache(maxsize=4)  # noqa: B019 - the cache keeps the bench alive, which is as intended
    def clips(self, frames: int, windows: int | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return evenly spaced clips of `frames` frames: (frame_BTCHW, state_BTND, name of each clip's video).

        windows: number of clips per video, by default that of the config. Raises ValueError without a data set.
        """
        frame_BTCHW, names = self.videos().windows(frames, windows or self.config.windows)
        frame_BTCHW = frame_BTCHW.to(self.model.device)
        return frame_BTCHW, self.encode(frame_BTCHW), tuple(names)

    def stills(self) -> Tensor | None:
        """Return still frames of the data set, still_XCHW, for the textures of synthetic scenes; None without a data
        set.
        """
        return self.dataset.stills(2, max(160, self.model.frame_size)) if self.dataset else None

    def shuffled(self, clips: int) -> Tensor:
        """Return, for each of `clips` clips, the index of another clip, index_B.

        The two are at least a third of the list apart if possible, because neighbours in the list are of one video.
        """
        third, generator = max(1, clips // 3), Generator().manual_seed(self.config.seed)
        shift = torch.randint(third, max(third + 1, 2 * third), (1,), generator=generator)
        return (torch.arange(clips) + shift.item()) % clips

    # ---- the model, applied to a few clips at a time ---------------------------------------------------------------

    def encode(self, frame_BTCHW: Tensor) -> Tensor:
        """Return the states of frames, state_BTND."""
        return torch.cat([self.model.encode(frame) for frame in frame_BTCHW.split(16)])

    def infer(self, state_BTND: Tensor, setting: Setting) -> Tensor:
        """Return the latent actions between consecutive states, action_BUA."""
        bound = setting.bind(self.model)
        return torch.cat([bound.infer_actions(state) for state in state_BTND.split(16)])

    def rollout(self, first_B1ND: Tensor, action_BUA: Tensor, setting: Setting) -> Rollout:
        """Return the rollout of each clip from its first state under latent actions."""
        bound, parts = setting.bind(self.model), zip(first_B1ND.split(16), action_BUA.split(16), strict=True)
        return join_rollouts([bound.rollout(state, action) for state, action in parts])

    def predict(self, first_B1ND: Tensor, action_BUA: Tensor, setting: Setting) -> Tensor:
        """Return only the states of `rollout`, state_BUND."""
        return self.rollout(first_B1ND, action_BUA, setting).state_BUND

    def render(self, frame_BTCHW: Tensor, rollout: Rollout) -> Tensor:
        """Return the frames of a rollout, frame_BUCHW. frame_BTCHW: clips that the rollout starts from."""
        parts = [slice(first, first + 8) for first in range(0, len(frame_BTCHW), 8)]
        return torch.cat([self.model.render(select_clips(rollout, part), frame_BTCHW[part, 0]) for part in parts])


def join_rollouts(parts: list[Rollout]) -> Rollout:
    """Concatenate rollouts along the batch."""
    return Rollout(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def select_clips(rollout: Rollout, clips: slice) -> Rollout:
    """Return the rollout of some of the clips."""
    return Rollout(**{name: tensor[clips] for name, tensor in vars(rollout).items()})


def state_error(state_BUND: Tensor, true_BUND: Tensor) -> Tensor:
    """Return the L1 distance between predicted and true states, averaged over each clip, error_B."""
    return (state_BUND - true_BUND).abs().mean(dim=(1, 2, 3))
