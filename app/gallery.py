"""The clips and pairs that come with the app: a folder of videos and its gallery.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


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

    def path(self, file: str) -> Path:
        """Where a clip lies. Only names in gallery.json are known here, so no name can lead out of the folder."""
        if not any(clip.file == file for clip in self.clips):
            raise ValueError(f"{file!r} is not in the gallery; choose one of its clips or upload a video.")
        return self.folder / file

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
    present = {clip.file for clip in clips if (folder / clip.file).is_file() and Path(clip.file).name == clip.file}
    return Gallery(
        folder,
        tuple(clip for clip in clips if clip.file in present),
        tuple(pair for pair in pairs if {pair.source, pair.target} <= present),
    )


def known(entry: dict, kind: type) -> dict:
    """The fields of `entry` that `kind` has: a gallery.json may say more than the page shows."""
    return {name: value for name, value in entry.items() if name in kind.__dataclass_fields__}
