"""Training batches: pairs of clips, a source and a target, with the same motion and mostly different appearance."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.data.appearance import recolor
from lawm_core.data.mixture import VideoDataset
from lawm_core.data.motion_labels import Motion, true_motion
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes


class HasMotion:
    """Base of batches that may have the optical flow of their targets."""

    motion: Motion | None

    @property
    def known_motion(self) -> Motion:
        """The optical flow and visibility of the targets. Raises ValueError if the batch has none."""
        if self.motion is None:
            raise ValueError(
                "this loss needs the optical flow of the targets, but the batch has none; set motion_grid of its "
                "PairBatchConfig above 0."
            )
        return self.motion


@dataclass(frozen=True)
class PairBatch(HasMotion):
    """Pairs of clips. Actions are inferred from a source and have to predict its target.

    source_BTCHW, target_BTCHW: frames in [0, 1]. motion: optical flow and visibility of the targets, if the batch has
    them. batch_slice: the slice of the whole batch that this is.
    """

    source_BTCHW: Tensor
    target_BTCHW: Tensor
    motion: Motion | None = None
    batch_slice: BatchSlice = WHOLE_BATCH


@dataclass(frozen=True, kw_only=True)
class PairBatchConfig:
    """Composition of a batch: synthetic pairs, and real clips paired with a copy that may be recoloured.

    clips: B, pairs in a batch. frames: T, frames of each clip. synthetic_fraction: fraction of the batch that is
    synthetic pairs. figure_fraction: fraction of the synthetic pairs that show an articulated figure.

    cross_pair_fraction: fraction of the synthetic pairs in which one scene is predicted with actions inferred from the
    other. The remaining ones are predicted with their own actions, as real clips are. With cross pairs alone,
    predictions become blurred, because each scene hides some of what the other shows. Without cross pairs, actions
    carry appearance. recolor_fraction: fraction of the real clips, and of the synthetic pairs that are not cross pairs,
    whose source is recoloured.

    motion_grid: resolution at which the optical flow of the targets is computed; 0 for none. num_shards: number of
    equal parts of a batch, each drawn with its own seed. A batch can be split into n equal slices for every n that
    divides num_shards.
    """

    clips: int = 16
    num_shards: int = 1
    frames: int = 6
    synthetic_fraction: float = 0.5
    cross_pair_fraction: float = 1.0
    recolor_fraction: float = 0.75
    motion_grid: int = 0
    figure_fraction: float = 0.0
    scenes: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        if min(self.clips, self.num_shards) < 1 or self.clips % self.num_shards:
            raise ValueError(
                f"clips must be a positive multiple of num_shards, got clips={self.clips} and "
                f"num_shards={self.num_shards}."
            )

    def check_divisible(self, slices: int) -> None:
        """Raise ValueError if a batch cannot be split into this number of equal slices.

        slices: world size times gradient accumulation steps.
        """
        if self.num_shards % slices:
            raise ValueError(
                f"num_shards={self.num_shards} must be divisible by world_size * grad_accum_steps = {slices}."
            )


class PairSource:
    """Draws slices of training batches. A slice depends only on the seed, the step and the slice.

    A resumed run therefore gets the same batches as one that was not interrupted, and the batch of a step is the same
    however many ranks share it.

    clips: the real clips; with None, the whole batch is synthetic pairs.
    """

    def __init__(self, config: PairBatchConfig, clips: VideoDataset | None, device: torch.device, seed: int) -> None:
        stills_XCHW = clips.stills(2, 160).to(device) if clips else None
        self.config, self.clips, self.device, self.seed = config, clips, device, seed
        self.objects = SyntheticScenes(config.scenes, stills_XCHW)
        self.figures = SyntheticScenes(replace(config.scenes, figures=True), stills_XCHW)

    def draw(self, step: int, batch_slice: BatchSlice = WHOLE_BATCH) -> PairBatch:
        """Return a slice of the batch of a step. Raises ValueError if the batch cannot be split that way."""
        self.config.check_divisible(batch_slice.count)
        each = self.config.num_shards // batch_slice.count
        shards = [self._draw_shard(step, batch_slice.index * each + i) for i in range(each)]
        motion = Motion.join([shard.motion for shard in shards if shard.motion]) if self.config.motion_grid else None
        return PairBatch(
            torch.cat([shard.source_BTCHW for shard in shards]),
            torch.cat([shard.target_BTCHW for shard in shards]),
            motion,
            batch_slice,
        )

    def _draw_shard(self, step: int, shard: int) -> PairBatch:
        config, clips = self.config, self.config.clips // self.config.num_shards
        seed = (self.seed * 1_000_003 + step) * config.num_shards + shard
        generator = Generator(self.device).manual_seed(seed)
        synthetic = self._synthetic_before(shard + 1) - self._synthetic_before(shard)
        figures = round(synthetic * config.figure_fraction)
        parts = [
            self._draw_synthetic(scenes, count, generator)
            for scenes, count in ((self.objects, synthetic - figures), (self.figures, figures))
            if count
        ]
        if clips > synthetic:
            parts.append(self._draw_real(clips - synthetic, generator))
        sources, targets, motions = zip(*parts, strict=True)
        motion = Motion.join(list(motions)) if config.motion_grid else None
        return PairBatch(torch.cat(sources), torch.cat(targets), motion)

    def _draw_synthetic(self, scenes: SyntheticScenes, count: int, generator: Generator) -> tuple:
        """Return sources, targets and motion (None if `motion_grid` is 0) of `count` synthetic pairs."""
        config = self.config
        track = scenes.draw_track(count, config.frames, generator)
        target_BTCHW, outlines = scenes.render_with_outlines(track, generator)
        source_BTCHW = self._recolor_some(target_BTCHW, generator)
        cross_B = torch.rand(count, generator=generator, device=self.device) < config.cross_pair_fraction
        if cross_B.any():  # rendering is slow, so only cross pairs get a second scene
            source_BTCHW[cross_B] = scenes.render(track[cross_B], generator)
        motion = true_motion(track, outlines, config.motion_grid) if config.motion_grid else None
        return source_BTCHW, target_BTCHW, motion

    def _draw_real(self, count: int, generator: Generator) -> tuple:
        """Return sources, targets and motion (None if `motion_grid` is 0) of `count` real clips."""
        config, motion = self.config, None
        assert self.clips is not None, "real clips are drawn only if there are any"
        if config.motion_grid:
            clips_BTCHW, motion = self.clips.draw_with_motion(count, config.frames, generator, config.motion_grid)
        else:
            clips_BTCHW = self.clips.draw(count, config.frames, generator)
        return self._recolor_some(clips_BTCHW, generator), clips_BTCHW, motion

    def _synthetic_before(self, shards: int) -> int:
        """Return the number of synthetic pairs in the first `shards` shards of a batch."""
        config = self.config
        total = config.clips if self.clips is None else round(config.clips * config.synthetic_fraction)
        return total * shards // config.num_shards

    def _recolor_some(self, frame_BTCHW: Tensor, generator: Generator) -> Tensor:
        """Return the clips, of which each is recoloured with a probability of `recolor_fraction`."""
        chance = torch.rand(len(frame_BTCHW), 1, 1, 1, 1, generator=generator, device=self.device)
        recolored_BTCHW = recolor(frame_BTCHW, generator, strength=0.8)
        return torch.where(chance < self.config.recolor_fraction, recolored_BTCHW, frame_BTCHW)
