"""Training batches: pairs of clips in which the same thing happens to different-looking scenes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lawm_core.shares import Share, share
from lawm_core.worlds.appearance import recolour
from lawm_core.worlds.mixture import VideoWorld
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.true_motion import Motion, true_motion
from lawm_core.worlds.twins import TwinWorld


@dataclass(frozen=True)
class Pairs:
    """Actions are inferred from the source and must explain the target: source_BTCHW, target_BTCHW in [0, 1]."""

    source_BTCHW: Tensor
    target_BTCHW: Tensor
    motion: Motion | None = None  # of the target, where the batch is drawn with it


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """A share of each batch is twins; the rest is real video beside a recoloured copy of itself.

    across: share of twins that explain the other one; the rest explain themselves, as real video does. What one twin
    hides the other may show, so across alone teaches blur, and none of it teaches actions that carry appearance.
    recoloured: share of sources in other colours than their targets; the rest keeps its own, as when the model is used.
    motion_grid: places a side of the target's motion; 0 draws none. figure_share: share of twins that show a figure.
    lanes: parts of a batch that are drawn apart, each with a seed of its own. Ranks and their passes share them out, so
    a batch is the same however it is cut, as long as the number of shares divides that of the lanes.
    """

    clips: int = 16
    lanes: int = 1
    frames: int = 6
    twin_share: float = 0.5
    across: float = 1.0
    recoloured: float = 0.75
    motion_grid: int = 0
    figure_share: float = 0.0
    twins: TwinConfig = field(default_factory=TwinConfig)

    def __post_init__(self) -> None:
        if min(self.clips, self.lanes) < 1 or self.clips % self.lanes:
            raise ValueError(f"{self.clips} clips in {self.lanes} lanes; needed: as many clips in each, 1 or more.")

    def demand_shared(self, shares: int) -> None:
        """ValueError where the lanes cannot be dealt out in so many shares, of all ranks' passes."""
        if self.lanes % shares:
            raise ValueError(
                f"a batch of {self.lanes} lanes cannot be dealt out in {shares} shares (ranks times passes); needed: a "
                "divisor of the lanes."
            )


class PairSource:
    """Draws a share of batch number `step`: a pure function of (seed, step, share), so that a resumed run sees the same
    data, and any number of ranks sees it between them.

    Either world may be missing (None), and the other then fills the batch.
    """

    def __init__(self, config: BatchConfig, clips: VideoWorld | None, device: torch.device, seed: int) -> None:
        stills_SCHW = clips.stills(2, 160).to(device) if clips else None
        self.config, self.clips, self.device, self.seed = config, clips, device, seed
        self.twins = TwinWorld(config.twins, stills_SCHW)
        self.figures = TwinWorld(replace(config.twins, figures=True), stills_SCHW)

    def draw(self, step: int, part: Share | None = None) -> Pairs:
        """The pairs of one step, those of this process's share where none is named: one twin explains the other; real
        video explains itself from other colours.
        """
        part = part or share()
        self.config.demand_shared(part.count)
        each = self.config.lanes // part.count
        lanes = [self._draw_lane(step, lane) for lane in range(part.index * each, (part.index + 1) * each)]
        sources, targets = zip(*((lane.source_BTCHW, lane.target_BTCHW) for lane in lanes), strict=True)
        motion = Motion.join([lane.motion for lane in lanes]) if self.config.motion_grid else None
        return Pairs(torch.cat(sources), torch.cat(targets), motion)

    def _draw_lane(self, step: int, lane: int) -> Pairs:
        config, clips = self.config, self.config.clips // self.config.lanes
        seed = (self.seed * 1_000_003 + step) * config.lanes + lane
        generator = torch.Generator(self.device).manual_seed(seed)
        before, twins = (self._twins(lanes) for lanes in (lane, lane + 1))
        twins -= before
        source, target, motions = [], [], []
        figures = round(twins * config.figure_share)
        for world, count in ((self.twins, twins - figures), (self.figures, figures)):
            if not count:
                continue
            track = world.draw_track(count, config.frames, generator)
            shown_BTCHW, outlines = world.show(track, generator)
            source_BTCHW = self.other_colours(shown_BTCHW, generator)
            across_B = torch.rand(count, generator=generator, device=self.device) < config.across
            if across_B.any():  # nothing is rendered that is not used
                source_BTCHW[across_B] = world.render(track[across_B], generator)
            source.append(source_BTCHW)
            target.append(shown_BTCHW)
            if config.motion_grid:
                motions.append(true_motion(track, outlines, config.motion_grid))
        if clips > twins:
            if config.motion_grid:
                real, motion = self.clips.draw_with_motion(clips - twins, config.frames, generator, config.motion_grid)
                motions.append(motion)
            else:
                real = self.clips.draw(clips - twins, config.frames, generator)
            source.append(self.other_colours(real, generator))
            target.append(real)
        return Pairs(torch.cat(source), torch.cat(target), Motion.join(motions) if motions else None)

    def _twins(self, lanes: int) -> int:
        """How many twins the first so many lanes hold; all lanes together, their share of the batch."""
        share = self.config.clips if self.clips is None else round(self.config.clips * self.config.twin_share)
        return share * lanes // self.config.lanes

    def other_colours(self, frame_BTCHW: Tensor, generator: torch.Generator) -> Tensor:
        """The same clips, a share of them recoloured."""
        changed = torch.rand(len(frame_BTCHW), 1, 1, 1, 1, generator=generator, device=self.device)
        return torch.where(
            changed < self.config.recoloured, recolour(frame_BTCHW, generator, strength=0.8), frame_BTCHW
        )
