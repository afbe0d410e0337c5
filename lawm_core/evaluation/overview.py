"""A map of an extraction that may be larger than any map: of whole clips, chosen by a hash of their names.

The order depends on nothing but names, so that the same corpus gives the same map everywhere, whatever its files are
called and however rows lie in them; and a corpus that grows keeps most of its sample.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lawm_core.checkpoint import fingerprint, load_model
from lawm_core.contracts import CheckpointError
from lawm_core.evaluation.librarian import FEWEST, frames_across, join_parts, small_frames
from lawm_core.evaluation.library import ActionLibrary, LibraryConfig, load_library
from lawm_core.evaluation.rows import parquet_files, read_about, read_batches, read_transitions
from lawm_core.model import LatentActionModel
from lawm_core.video.files import read_clip
from lawm_core.video.info import DecodeLimits
from lawm_core.worlds.folders import list_videos

POINTS = 20_000  # that the page draws well


@dataclass(frozen=True, order=True)
class ListedClip:
    """A row, by its place in the order of hashes, the last first; `rows` is the file that it lies in.

    A video that was refused has an `error`, and no transitions.
    """

    rank: int
    name: str
    transitions: int
    rows: Path
    error: str = ""


def demand_points(points: int) -> None:
    """ValueError where so few make no map."""
    if points < FEWEST:
        raise ValueError(f"{points} points came; a map needs {FEWEST}.")


class Sample:
    """The first clips in the order of hashes, until `points` transitions are reached; all, where there are fewer.

    Clips come in any order, by `offer`; no more of them are held than the sample takes, beside the videos that were
    refused before the last of it.
    """

    def __init__(self, points: int = POINTS) -> None:
        demand_points(points)
        self.points, self.transitions = points, 0
        self._chosen: list[ListedClip] = []  # both are heaps, with the last in the order of hashes on top
        self._refused: list[ListedClip] = []
        self._end: int | None = None  # the rank at which the sample is full: neither this nor any later one is in it

    def offer(self, name: str, frames: int | None, rows: Path, error: str = "") -> None:
        """A row of the extraction."""
        rank = -int.from_bytes(hashlib.sha256(name.encode()).digest())
        if self._end is not None and rank <= self._end:
            return
        clip = ListedClip(rank, name, 0 if error else (frames or 1) - 1, rows, error)
        heapq.heappush(self._refused if error else self._chosen, clip)
        self.transitions += clip.transitions
        while self._chosen and self.transitions - self._chosen[0].transitions >= self.points:
            last = heapq.heappop(self._chosen)
            self.transitions -= last.transitions
            self._end = last.rank
        while self._end is not None and self._refused and self._refused[0].rank <= self._end:
            heapq.heappop(self._refused)

    def __len__(self) -> int:
        return len(self._chosen) + len(self._refused)

    def clips(self) -> list[ListedClip]:
        """Those that were chosen, by name."""
        return sorted(self._chosen, key=lambda clip: clip.name)

    def refused(self) -> dict[str, str]:
        """Why videos were refused that would have been looked at, by name."""
        return {clip.name: clip.error for clip in sorted(self._refused, key=lambda clip: clip.name)}


def draw_sample(extraction: Path, points: int = POINTS) -> Sample:
    """Of all rows, in one pass over names and lengths."""
    sample = Sample(points)
    for path in parquet_files(extraction):
        for batch in read_batches(path, ["clip", "frames", "error"]):
            for name, frames, error in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                sample.offer(name, frames, path, error)
    return sample


def library_of(
    extraction: str | Path,
    videos: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    points: int = POINTS,
    trusted: bool = False,
) -> ActionLibrary:
    """The map of an extraction of `videos`, as `build_library` makes it of a folder; of a sample of whole clips, where
    there are more transitions than `points`.

    The small frames are drawn now, from the videos of the clips on the map; trusted: see `read_clip`. A map in `out` of
    these very clips is kept. Raises ValueError where another model made the extraction, where a video is not there any
    more or has changed, and as `build_library` does.
    """
    extraction, out, mark = Path(extraction), Path(out), fingerprint(model)
    made_by, what = read_about(extraction)
    if made_by != mark:
        raise ValueError(f"{extraction} was made by the model {made_by}; {mark} came.")
    sample = draw_sample(extraction, points)
    frames_across([clip.transitions for clip in sample.clips()], what.thumb_pixels)
    found = read_parts(sample, what)
    if kept := kept_library(out, mark, what, sample, found):
        return kept
    loaded, paths = load_model(model), find_videos(videos, sample)
    for name, part in found:
        part["thumb_THWC"] = draw_frames(loaded, paths[name], 1 + len(part["action_UA"]), what, trusted)
    return join_parts(loaded, mark, found, sample.refused(), out, what)


def kept_library(
    out: Path, mark: str, what: LibraryConfig, sample: Sample, parts: list[tuple[str, dict[str, np.ndarray]]]
) -> ActionLibrary | None:
    """The map that an earlier run made of the same actions: a run that was stopped while placing goes on with it."""
    try:
        library = load_library(out)
    except CheckpointError:
        return None
    found = library.index
    same_clips = [(clip.name, clip.frames - 1) for clip in found.clips] == [
        (clip.name, clip.transitions) for clip in sample.clips()
    ]
    same = same_clips and (found.fingerprint, found.config, found.refused) == (mark, what, sample.refused())
    if not same:
        return None
    action_PA = np.concatenate([part["action_UA"] for _, part in parts])  # names and lengths outlive new videos
    return library if np.array_equal(action_PA, library.action_PA.numpy()) else None


def find_videos(videos: str | Path, sample: Sample) -> dict[str, Path]:
    """Where the sample's videos lie. ValueError where one is missing."""
    names = {clip.name for clip in sample.clips()}
    paths = {path.name: path for path, _ in list_videos(videos) if path.name in names}
    if missing := sorted(names - set(paths)):
        raise ValueError(
            f"{missing[0]} and {len(missing) - 1} other clips of the map are not in {videos}; needed: the videos that "
            "were extracted, as the map shows their frames."
        )
    return paths


def read_parts(sample: Sample, what: LibraryConfig) -> list[tuple[str, dict[str, np.ndarray]]]:
    """action_UA and motion_U6 of the sample's clips, by name; the files that hold any are read once."""
    names_by_file = defaultdict(set)
    for clip in sample.clips():
        names_by_file[clip.rows].add(clip.name)
    parts = {}
    for path, names in names_by_file.items():
        for some in read_transitions(path, what.frames, motion=True):
            ends = some.count_C.cumsum()
            for name, start, end in zip(some.names, ends - some.count_C, ends, strict=True):
                if name in names:
                    action_UA, motion_U6 = (numbers[start:end].numpy() for numbers in (some.action_XA, some.motion_X6))
                    # Copied: a view would keep all rows that were read with it.
                    parts[name] = {"action_UA": action_UA.copy(), "motion_U6": motion_U6.copy()}
    return [(clip.name, parts[clip.name]) for clip in sample.clips()]


def draw_frames(model: LatentActionModel, path: Path, frames: int, what: LibraryConfig, trusted: bool) -> np.ndarray:
    """thumb_THWC of a clip that had so many frames. ValueError where it has others now."""
    rate, size = model.frames_per_second, model.frame_size
    clip = read_clip(path, rate, size, num_frames=what.frames, trusted=trusted, limits=DecodeLimits.unattended())
    if len(clip.frame_TCHW) != frames:
        raise ValueError(f"{path.name} has {len(clip.frame_TCHW)} frames; it had {frames} when it was extracted.")
    return small_frames(clip.frame_TCHW, what.thumb_pixels)
