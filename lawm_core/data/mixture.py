"""Base class of video data sets, and data sets that resize or mix others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from lawm_core.data.motion_labels import Motion
from lawm_core.data.teacher_flow import measure_motion
from lawm_core.video.transforms import resize_bilinear


class VideoDataset:
    """Base class of data sets that provide training clips. Subclasses implement `draw` and `stills`.

    All randomness comes from the generator that is passed to `draw`, so that a batch depends on its seed alone.
    """

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Return random square clips frame_BTCHW in [0, 1] on the generator's device, at the model's rate.

        Training resizes them to the size that a stage needs, so they should have at least the model's picture size.
        """
        raise NotImplementedError

    def stills(self, per_clip: int, size: int) -> Tensor:
        """Return images still_XCHW in [0, 1] of size x size, for backgrounds and textures of synthetic scenes.

        per_clip: number of images per video.
        """
        raise NotImplementedError

    def draw_with_motion(self, clips: int, frames: int, generator: Generator, grid: int) -> tuple[Tensor, Motion]:
        """Same as `draw`, and also return the teacher's flow between the frames, with grid x grid flow vectors.

        Raises ValueError if OpenCV is not installed.
        """
        frame_BTCHW = self.draw(clips, frames, generator)
        motion = Motion.join([measure_motion(frame_TCHW, grid) for frame_TCHW in frame_BTCHW])
        return frame_BTCHW, motion.to(frame_BTCHW.device)

    def resized(self, frame_size: int) -> VideoDataset:
        """Return a data set of the same clips at another frame size."""
        return ResizedDataset(self, frame_size)


class ResizedDataset(VideoDataset):
    """Data set that resizes the clips of another data set after they are drawn."""

    def __init__(self, dataset: VideoDataset, frame_size: int) -> None:
        self.dataset, self.frame_size = dataset, frame_size

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Return random clips, resized to `frame_size`."""
        return self._resize(self.dataset.draw(clips, frames, generator))

    def draw_with_motion(self, clips: int, frames: int, generator: Generator, grid: int) -> tuple[Tensor, Motion]:
        """Same as `draw`, and also return the teacher's flow, which is computed before clips are resized."""
        frame_BTCHW, motion = self.dataset.draw_with_motion(clips, frames, generator, grid)
        return self._resize(frame_BTCHW), motion

    def stills(self, per_clip: int, size: int) -> Tensor:
        """Return images of the other data set."""
        return self.dataset.stills(per_clip, size)

    def resized(self, frame_size: int) -> VideoDataset:
        """Return a data set of the same clips at another frame size."""
        return ResizedDataset(self.dataset, frame_size)

    def _resize(self, frame_BTCHW: Tensor) -> Tensor:
        """Resize clips frame_BTCHW to `frame_size`."""
        return resize_bilinear(frame_BTCHW.flatten(0, 1), self.frame_size).unflatten(0, frame_BTCHW.shape[:2])


class MixedDataset(VideoDataset):
    """Data set that draws each clip from one of several data sets, with probabilities in proportion to `weights`.

    Raises ValueError unless there is one weight of at least 0 for each data set and their sum is above 0.
    """

    def __init__(self, datasets: Sequence[VideoDataset], weights: Sequence[float]) -> None:
        if not datasets or len(datasets) != len(weights) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(
                "one weight of at least 0 per data set is required, and their sum must be above 0, got "
                f"{len(datasets)} data sets and the weights {list(weights)}."
            )
        self.datasets = tuple(datasets)
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)

    def draw(self, clips: int, frames: int, generator: Generator) -> Tensor:
        """Return random clips, grouped by data set.

        The number of clips from each data set is random, so that even data sets with small weights are drawn from.
        """
        return torch.cat([dataset.draw(count, frames, generator) for dataset, count in self._counts(clips, generator)])

    def draw_with_motion(self, clips: int, frames: int, generator: Generator, grid: int) -> tuple[Tensor, Motion]:
        """Same as `draw`, and also return the teacher's flow between the frames."""
        counts = self._counts(clips, generator)
        parts = [dataset.draw_with_motion(count, frames, generator, grid) for dataset, count in counts]
        frames_BTCHW, motions = zip(*parts, strict=True)
        return torch.cat(frames_BTCHW), Motion.join(list(motions))

    def stills(self, per_clip: int, size: int) -> Tensor:
        """Return images of all data sets with a weight above 0."""
        used = [d for d, weight in zip(self.datasets, self.weights, strict=True) if weight]
        return torch.cat([dataset.stills(per_clip, size) for dataset in used])

    def resized(self, frame_size: int) -> VideoDataset:
        """Return the same mixture at another frame size."""
        return MixedDataset([dataset.resized(frame_size) for dataset in self.datasets], self.weights.tolist())

    def _counts(self, clips: int, generator: Generator) -> list[tuple[VideoDataset, int]]:
        """Return the data sets that a batch of `clips` clips is drawn from, each with its random number of clips."""
        weights = self.weights.to(generator.device)
        pick_B = torch.multinomial(weights, clips, replacement=True, generator=generator).tolist()
        counts = [(dataset, pick_B.count(i)) for i, dataset in enumerate(self.datasets)]
        return [(dataset, count) for dataset, count in counts if count]
