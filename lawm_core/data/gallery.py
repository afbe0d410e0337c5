"""Gallery of sample clips that other sites host: reading the list of clips, and downloading them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lawm_core.data.download import download, file_size, is_complete
from lawm_core.schema import Bytes, build_dataclass
from lawm_core.types import DownloadError
from lawm_core.video.paths import VIDEO_SUFFIXES

ASSETS = Path(__file__).resolve().parent.parent.parent / "assets"
LISTING, GALLERY = ASSETS / "gallery.toml", ASSETS / "gallery"
EXTERNAL = GALLERY / "external"  # folder of downloaded clips
MAX_BYTES = 256 * 2**20  # of a clip
URL = (r"https?://[A-Za-z0-9\[][!-~]*", "an http or https URL, with other characters than ASCII escaped with %")
RULES = {  # pattern of each field, and its description
    "name": (r"[a-z0-9][a-z0-9-]{0,63}", "1 to 64 lower-case letters, digits and hyphens"),
    "url": URL,
    "sha256": (r"[0-9a-f]{64}", "64 hex digits"),
    "licence": (r"[A-Za-z0-9.+-]{2,40}", "an SPDX name such as CC-BY-4.0"),
    "attribution": (r"(?s).*\S.*", "a text that is not blank"),
    "source": URL,
}


@dataclass(frozen=True, kw_only=True)
class GalleryClip:
    """One clip of a gallery's list.

    name: unique name, also of the downloaded file. bytes, sha256: size and hash (in hex) of the file. licence: SPDX
    name. attribution: credit, worded as the authors request. source: URL of a page about the clip. title: text that
    users see. Raises ValueError if a field is invalid.
    """

    name: str
    url: str
    bytes: Bytes
    sha256: str
    licence: str
    attribution: str
    source: str
    title: str

    def __post_init__(self) -> None:
        for name, (pattern, rule) in RULES.items():
            if not re.fullmatch(pattern, value := getattr(self, name)):
                raise ValueError(f"{self.name}: {name} must be {rule}, got {value!r}.")
        if self._suffix not in VIDEO_SUFFIXES:
            raise ValueError(f"{self.name}: url must end in one of {', '.join(VIDEO_SUFFIXES)}, got {self._suffix!r}.")
        if not 0 < self.bytes <= MAX_BYTES:
            raise ValueError(f"{self.name}: bytes must be in [1, {MAX_BYTES}], got {self.bytes}.")

    @property
    def _suffix(self) -> str:
        """Suffix of the URL's file name in lower case, such as `.mp4`."""
        return PurePosixPath(urlsplit(self.url).path).suffix.lower()

    @property
    def file(self) -> str:
        """Name of the downloaded file."""
        return self.name + self._suffix


def read_gallery(path: str | Path) -> tuple[GalleryClip, ...]:
    """Read the clips of a TOML file with one [[clip]] table each. Raises ValueError if the file is invalid."""
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("clip", [])
        clips = tuple(build_dataclass(GalleryClip, table) for table in tables)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a valid list of clips: {error}") from None
    names = [clip.name for clip in clips]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: names must be unique, got {', '.join(sorted(repeated))} more than once.")
    return clips


def downloaded_clips(clips: Sequence[GalleryClip], folder: str | Path) -> tuple[GalleryClip, ...]:
    """Return the clips that have a file of the right size in `folder`.

    Hashes are not compared, because they were checked when the files were downloaded.
    """
    return tuple(clip for clip in clips if file_size(Path(folder) / clip.file) == clip.bytes)


def download_gallery(
    clips: Sequence[GalleryClip], folder: str | Path, progress: Callable[[str, int, int], None] | None = None
) -> dict[str, str]:
    """Download the clips that are missing from `folder`, and return the reason for each failure by the clip's name.

    If a download fails, the others still proceed, and the bytes received so far are kept for the next call. progress:
    called with a clip's name, its bytes received so far, and its size in bytes.
    """
    folder, failed = Path(folder), {}
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        path = folder / clip.file
        report = lambda done, clip=clip: progress and progress(clip.name, done, clip.bytes)
        if is_complete(path, clip.bytes, clip.sha256):
            report(clip.bytes)
            continue
        path.unlink(missing_ok=True)  # so that nothing uses the wrong content during the download
        try:
            download(clip.url, path, clip.bytes, clip.sha256, report)
        except DownloadError as error:
            failed[clip.name] = str(error)
    return failed
