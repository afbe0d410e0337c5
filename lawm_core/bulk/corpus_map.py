"""Builds the action map of an extraction, or of a sample of its clips if it has more transitions than a map can show.

The sample consists of the clips whose names have the smallest hashes. It does not depend on the order of rows or files,
and most of it remains when videos are added.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lawm_core.bulk.extraction_store import parquet_files, read_batches, read_metadata, read_transitions
from lawm_core.checkpoint import fingerprint, load_model
from lawm_core.data.folders import list_videos
from lawm_core.library.build import Described, assemble_library, read_library_clip, sprite_columns, thumbnails
from lawm_core.library.library import ActionLibrary, LibraryConfig, load_library
from lawm_core.library.projection import MIN_VECTORS
from lawm_core.types import CheckpointError

DEFAULT_POINTS = 20_000  # of a map, few enough for the page to draw without delay


@dataclass(frozen=True, order=True)
class SampledClip:
    """A row of the extraction that is in the sample.

    rank: the negated hash of the name, so that `heapq` removes the clip with the largest hash first. name: file name of
    the video. transitions: number of transitions, 0 for a skipped video. rows: Parquet file that contains the row.
    error: reason why the video was skipped, otherwise empty.
    """

    rank: int
    name: str
    transitions: int
    rows: Path
    error: str = ""


class Sample:
    """The clips with the smallest hashes, as many as are needed for at least `points` transitions.

    If there are fewer transitions, all clips are in the sample. Clips are added in any order. A clip that no longer
    belongs to the sample is forgotten, so memory does not grow with the extraction. A skipped video is in the sample if
    its hash is smaller than that of every clip outside. Raises ValueError if there are too few points for a map.
    """

    def __init__(self, points: int = DEFAULT_POINTS) -> None:
        if points < MIN_VECTORS:
            raise ValueError(f"points must be at least {MIN_VECTORS}, got {points}.")
        self.points, self.transitions = points, 0
        self._chosen: list[SampledClip] = []  # both lists are heaps whose first item has the largest hash
        self._skipped: list[SampledClip] = []
        self._end: int | None = None  # rank of the clip outside the sample that has the smallest hash, if any

    def add(self, name: str, frames: int | None, rows: Path, error: str = "") -> None:
        """Add a row of the extraction if it belongs to the sample.

        name: file name of the video. frames: its number of frames, None if it was skipped. rows: Parquet file that
        contains the row. error: reason why it was skipped, otherwise empty.
        """
        rank = -int.from_bytes(hashlib.sha256(name.encode()).digest())
        if self._end is not None and rank <= self._end:
            return
        clip = SampledClip(rank, name, 0 if error else (frames or 1) - 1, rows, error)
        heapq.heappush(self._skipped if error else self._chosen, clip)
        self.transitions += clip.transitions
        while self._chosen and self.transitions - self._chosen[0].transitions >= self.points:
            last = heapq.heappop(self._chosen)
            self.transitions -= last.transitions
            self._end = last.rank
        while self._end is not None and self._skipped and self._skipped[0].rank <= self._end:
            heapq.heappop(self._skipped)

    def __len__(self) -> int:
        """Return the number of clips and skipped videos in the sample."""
        return len(self._chosen) + len(self._skipped)

    def clips(self) -> list[SampledClip]:
        """Return the clips of the sample, sorted by name. Skipped videos are not among them."""
        return sorted(self._chosen, key=lambda clip: clip.name)

    def skipped(self) -> dict[str, str]:
        """Return the reason for each skipped video in the sample, by name."""
        return {clip.name: clip.error for clip in sorted(self._skipped, key=lambda clip: clip.name)}


def draw_sample(extraction: Path, points: int = DEFAULT_POINTS) -> Sample:
    """Return a sample of an extraction with about `points` transitions.

    Reads the names, lengths and errors of all rows once.
    """
    sample = Sample(points)
    for path in parquet_files(extraction):
        for batch in read_batches(path, ["clip", "frames", "error"]):
            for name, frames, error in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                sample.add(name, frames, path, error)
    return sample


def build_corpus_map(
    extraction: str | Path,
    videos: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    points: int = DEFAULT_POINTS,
    trusted: bool = False,
) -> ActionLibrary:
    """Build a library of an extraction, or of a sample of its clips, and write it to `out`.

    The result equals that of `build_library` on the sampled videos, but only thumbnails are computed from the videos.
    If `out` already has a library of the same clips, it is returned unchanged.

    extraction: folder that `extract` wrote. videos: folder of the extracted videos, of which only the sampled ones are
    decoded. model: name or folder of the model, as for `load_model`. points: approximate number of transitions of the
    sample; all clips are used if they have fewer. trusted: decode without the sandbox; only for files of known origin.

    Raises ValueError if another model made the extraction, if a video is missing or has changed, if there are too few
    transitions, or if there are more frames than fit into the sprite, and VideoError if a video cannot be read.
    """
    extraction, out, model_fingerprint = Path(extraction), Path(out), fingerprint(model)
    extracted_with, config = read_metadata(extraction)
    if extracted_with != model_fingerprint:
        raise ValueError(
            f"{extraction} was extracted with the model {extracted_with}, got {model_fingerprint} (fingerprints). Pass "
            "the model of the extraction."
        )
    sample = draw_sample(extraction, points)
    sprite_columns(
        [clip.transitions for clip in sample.clips()], config.thumb_pixels
    )  # checked before any video is decoded
    described = read_sample(sample, config)
    if existing := find_existing(out, model_fingerprint, config, sample, described):
        return existing
    loaded, paths = load_model(model), find_videos(videos, sample)
    rate, size = loaded.frames_per_second, loaded.frame_size
    for name, clip in described:
        frame_TCHW, frames = (
            read_library_clip(paths[name], rate, size, config.frames, trusted),
            len(clip["action_UA"]) + 1,
        )
        if len(frame_TCHW) != frames:
            raise ValueError(
                f"{name} has changed: it must have {frames} frames, got {len(frame_TCHW)}. Extract the videos again to "
                "another folder."
            )
        clip["thumb_THWC"] = thumbnails(frame_TCHW, config.thumb_pixels)
    return assemble_library(loaded, model_fingerprint, described, sample.skipped(), out, config)


def find_existing(
    out: Path, model_fingerprint: str, config: LibraryConfig, sample: Sample, described: list[Described]
) -> ActionLibrary | None:
    """Return the library in `out` if it has the same clips, actions and settings, otherwise None."""
    try:
        library = load_library(out)
    except CheckpointError:
        return None
    index = library.index
    lengths = [(clip.name, clip.frames - 1) for clip in index.clips]
    if (index.fingerprint, index.config, index.skipped) != (model_fingerprint, config, sample.skipped()):
        return None
    if lengths != [(clip.name, clip.transitions) for clip in sample.clips()]:
        return None
    action_PA = np.concatenate(
        [clip["action_UA"] for _, clip in described]
    )  # other videos may have the same names and lengths
    return library if np.array_equal(action_PA, library.action_PA.numpy()) else None


def find_videos(videos: str | Path, sample: Sample) -> dict[str, Path]:
    """Return the path of each sampled video by its name. Raises ValueError if one is missing."""
    names = {clip.name for clip in sample.clips()}
    paths = {path.name: path for path, _ in list_videos(videos) if path.name in names}
    if missing := sorted(names - set(paths)):
        more = f" and {len(missing) - 1} other videos" if len(missing) > 1 else ""
        raise ValueError(
            f"{missing[0]}{more} not found in {videos}; pass the folder that the videos were extracted from."
        )
    return paths


def read_sample(sample: Sample, config: LibraryConfig) -> list[Described]:
    """Return the name, action_UA and motion_U6 of each sampled clip, sorted by name.

    Only files that contain sampled clips are read, each of them once. config: settings of the extraction.
    """
    names_by_file, found = defaultdict(set), {}
    for clip in sample.clips():
        names_by_file[clip.rows].add(clip.name)
    for path, names in names_by_file.items():
        for batch in read_transitions(path, config.frames, motion=True):
            ends = batch.count_B.cumsum()
            for name, start, end in zip(batch.names, ends - batch.count_B, ends, strict=True):
                if name in names:
                    vectors = {"action_UA": batch.action_XA, "motion_U6": batch.motion_X6}
                    # Copied, because a view would keep the whole batch in memory.
                    found[name] = {key: vector[start:end].numpy().copy() for key, vector in vectors.items()}
    return [(clip.name, found[clip.name]) for clip in sample.clips()]
