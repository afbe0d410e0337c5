"""The gallery: a folder of videos with a gallery.json, and the downloaded clips that gallery.toml lists.

`gallery.toml` lies beside the folder; `lawm gallery pull` downloads its clips to the sub-folder `external`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import lawm_core as lawm

EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class GalleryVideo:
    """A video of the gallery. file: name of the file in the gallery's folder. about: what the video shows."""

    file: str
    title: str
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class GalleryPair:
    """A source and a target that make a good example. source, target: file names. about: what the result shows."""

    title: str
    source: str
    target: str
    about: str = ""


@dataclass(frozen=True)
class Gallery:
    """Videos and pairs to choose from. external: names of the files in the sub-folder `external`."""

    folder: Path
    videos: tuple[GalleryVideo, ...] = ()
    pairs: tuple[GalleryPair, ...] = ()
    external: frozenset[str] = frozenset()

    def path(self, file: str) -> Path:
        """Return the path of a video. Raises ValueError unless the gallery has a video with this file name.

        Other files, in particular files outside of the folder, can therefore not be opened by name.
        """
        names = [video.file for video in self.videos]
        if file not in names:
            similar = get_close_matches(file, names, n=3)
            hint = f" (similar: {', '.join(similar)})" if similar else ""
            raise ValueError(f"{file[:80]!r} is not in the gallery{hint}. Choose one of its clips or upload a video.")
        return self.folder / EXTERNAL / file if file in self.external else self.folder / file

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the videos by file name."""
        return {video.file: video.title for video in self.videos}

    def without(self, files: set[str]) -> Gallery:
        """Return the gallery without some videos and the pairs that need them."""
        videos = tuple(video for video in self.videos if video.file not in files)
        pairs = tuple(pair for pair in self.pairs if not files & {pair.source, pair.target})
        return Gallery(self.folder, videos, pairs, self.external - files)

    def pair_index(self, source: str, target: str) -> int | None:
        """Return the index of the pair with this source and target, or None if there is no such pair."""
        return next((i for i, p in enumerate(self.pairs) if (p.source, p.target) == (source, target)), None)


def read_gallery(folder: str | Path) -> Gallery:
    """Return the gallery of a folder, without the entries whose file is missing.

    Without a gallery.json, the gallery is empty. Raises ValueError if gallery.json or gallery.toml is invalid.
    """
    folder = Path(folder)
    listing = folder / "gallery.json"
    if not listing.is_file():
        return Gallery(folder)
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        videos = [GalleryVideo(**select_fields(entry, GalleryVideo)) for entry in content["clips"]]
        pairs = [GalleryPair(**select_fields(entry, GalleryPair)) for entry in content.get("pairs", [])]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{listing} must have a list `clips`, each with `file` and `title`, and may have a list `pairs`, each with "
            f"`title`, `source` and `target`. Reading it raised {error!r}."
        ) from None
    own = {video.file for video in videos}
    missing = {file for file in own if not (folder / file).is_file() or Path(file).name != file}
    external = tuple(video for video in read_external(folder) if video.file not in own)
    files = frozenset(video.file for video in external)
    return Gallery(folder, (*videos, *external), tuple(pairs), files).without(missing)


def read_external(folder: Path) -> tuple[GalleryVideo, ...]:
    """Return the downloaded clips of a gallery, each described by its attribution and licence."""
    listing = folder.resolve().parent / f"{folder.resolve().name}.toml"
    if not listing.is_file():
        return ()
    clips = lawm.downloaded_clips(lawm.read_gallery(listing), folder / EXTERNAL)
    return tuple(
        GalleryVideo(file=clip.file, title=clip.title, about=f"{clip.attribution}. {clip.licence}.") for clip in clips
    )


def select_fields(entry: dict, kind: type) -> dict:
    """Return the fields of `entry` that the dataclass `kind` has; gallery.json may have more."""
    return {name: value for name, value in entry.items() if name in kind.__dataclass_fields__}
