"""Clips that lie elsewhere: a list of where, how long, under which licence and by whom; and getting them from there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lawm_core.contracts import DownloadError
from lawm_core.schema import Bytes, build_dataclass
from lawm_core.video.download import download, is_whole
from lawm_core.video.paths import VIDEO_SUFFIXES

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LISTING, LENT = ASSETS / "gallery.toml", ASSETS / "gallery" / "lent"  # where clips come from, and where they go
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
SUM = re.compile(r"[0-9a-f]{64}")
MOST_BYTES = 256 * 2**20
LICENCES = re.compile(r"[A-Za-z0-9.+-]{2,40}")  # as SPDX names them


@dataclass(frozen=True, kw_only=True)
class ListedClip:
    """One clip: `sha256` in hex, `licence` by its SPDX name, `attribution` as its makers ask for, `source` a page about
    it, `words` a title for people.
    """

    name: str
    address: str
    bytes: Bytes
    sha256: str
    licence: str
    attribution: str
    source: str
    words: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: small letters, digits and hyphens are needed, at most 64.")
        for address in (self.address, self.source):
            if not address.isascii() or " " in address:
                raise ValueError(f"{self.name}: {address!r} has signs that an address writes with %.")
            if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
                raise ValueError(f"{self.name}: {address!r} is no http or https address.")
        if self._end not in VIDEO_SUFFIXES:
            raise ValueError(
                f"{self.name}: its address ends in {self._end!r}; needed: one of {', '.join(VIDEO_SUFFIXES)}."
            )
        if not 0 < self.bytes <= MOST_BYTES:
            raise ValueError(f"{self.name}: {self.bytes} bytes; needed: 1 to {MOST_BYTES}.")
        if not SUM.fullmatch(self.sha256):
            raise ValueError(f"{self.name}: sha256 {self.sha256!r} is not 64 hex digits.")
        if not LICENCES.fullmatch(self.licence) or not self.attribution.strip():
            raise ValueError(f"{self.name}: a clip needs a licence and an attribution.")

    @property
    def _end(self) -> str:
        return PurePosixPath(urlsplit(self.address).path).suffix.lower()

    @property
    def file(self) -> str:
        """What it is called once it is here."""
        return self.name + self._end


def read_listing(path: str | Path) -> tuple[ListedClip, ...]:
    """The clips of a TOML file with a [[clip]] table each. Raises ValueError that names the file and what is wrong."""
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("clip", [])
        clips = tuple(build_dataclass(ListedClip, table) for table in tables)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as a list of clips: {error}") from None
    names = [clip.name for clip in clips]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path} lists {', '.join(sorted(doubled))} more than once.")
    return clips


def clips_here(clips: Sequence[ListedClip], folder: str | Path) -> tuple[ListedClip, ...]:
    """Those that were pulled into `folder`, by name and length; their sums were checked when they came."""
    folder = Path(folder)
    return tuple(c for c in clips if (f := folder / c.file).is_file() and f.stat().st_size == c.bytes)


def pull(
    clips: Sequence[ListedClip], folder: str | Path, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, str]:
    """Gets every clip that is not in `folder` yet; returns why, by name, for those that could not be had.

    One that fails does not hold up the others, and what came of it stays for the next time.
    progress: told a clip's name, the bytes of it that are here, and those that there are.
    """
    folder, failed = Path(folder), {}
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        path = folder / clip.file
        report = lambda done, name=clip.name, most=clip.bytes: progress and progress(name, done, most)
        if is_whole(path, clip.bytes, clip.sha256):
            report(clip.bytes)
            continue
        path.unlink(missing_ok=True)  # wrong, and not to be offered any longer
        try:
            download(clip.address, path, clip.bytes, clip.sha256, report)
        except DownloadError as error:
            failed[clip.name] = str(error)
    return failed
