"""The clips and pairs on offer: a folder of videos with its gallery.json, and what others lend, listed in gallery.toml
beside the folder and fetched into its `lent` by `python -m lawm_core gallery pull`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import lawm_core as lawm

LENT = "lent"


@dataclass(frozen=True, kw_only=True)
class GalleryClip:
    """One video of the folder; `about` is a sentence for people."""

    file: str
    title: str
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class GalleryPair:
    """Two files of the folder that go well together; `about` says what to look for."""

    title: str
    source: str
    target: str
    about: str = ""


@dataclass(frozen=True)
class Gallery:
    """Everything there is to choose from; empty when the folder holds no gallery.json."""

    folder: Path
    clips: tuple[GalleryClip, ...] = ()
    pairs: tuple[GalleryPair, ...] = ()
    lent: frozenset[str] = frozenset()  # files of clips that are not the project's own

    def path(self, file: str) -> Path:
        """Where a clip lies. Only names in its lists are known here, so no name can lead out of the folder."""
        if not any(clip.file == file for clip in self.clips):
            close = get_close_matches(file, [clip.file for clip in self.clips], n=3)
            meant = f" (close to it: {', '.join(close)})" if close else ""
            raise ValueError(f"{file[:80]!r} is not in the gallery{meant}; choose one of its clips or upload a video.")
        return self.folder / LENT / file if file in self.lent else self.folder / file

    def without(self, files: set[str]) -> Gallery:
        """Without some clips, and the pairs that need them."""
        clips = tuple(clip for clip in self.clips if clip.file not in files)
        pairs = tuple(pair for pair in self.pairs if not files & {pair.source, pair.target})
        return Gallery(self.folder, clips, pairs, self.lent - files)

    def pair_index(self, source: str, target: str) -> int | None:
        """Which pair this source and target are, if any."""
        return next((i for i, p in enumerate(self.pairs) if (p.source, p.target) == (source, target)), None)


def read_gallery(folder: str | Path) -> Gallery:
    """The folder's gallery. Entries whose file is not there are left out: a gallery may be installed in part."""
    folder = Path(folder)
    listing = folder / "gallery.json"
    if not listing.is_file():
        return Gallery(folder)
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        clips = [GalleryClip(**known(entry, GalleryClip)) for entry in content["clips"]]
        pairs = [GalleryPair(**known(entry, GalleryPair)) for entry in content.get("pairs", [])]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{listing} cannot be read as a gallery: {error!r}.") from None
    lent = read_lent(folder)
    own = {clip.file for clip in clips}
    gone = {file for file in own if not (folder / file).is_file() or Path(file).name != file}
    borrowed = tuple(clip for clip in lent if clip.file not in own)
    files = frozenset(clip.file for clip in borrowed)
    return Gallery(folder, (*clips, *borrowed), tuple(pairs), files).without(gone)


def read_lent(folder: Path) -> tuple[GalleryClip, ...]:
    """Clips that were fetched, with whose they are; ValueError where their list cannot be read."""
    listing = folder.resolve().parent / f"{folder.resolve().name}.toml"
    if not listing.is_file():
        return ()
    here = lawm.clips_here(lawm.read_listing(listing), folder / LENT)
    return tuple(
        GalleryClip(file=clip.file, title=clip.words, about=f"{clip.attribution}. {clip.licence}.") for clip in here
    )


def known(entry: dict, kind: type) -> dict:
    """The fields of `entry` that `kind` has: a gallery.json may say more than the page shows."""
    return {name: value for name, value in entry.items() if name in kind.__dataclass_fields__}
