"""Lists of the videos in a folder, with the split of each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from lawm_core.types import VideoError
from lawm_core.video.paths import VIDEO_SUFFIXES, is_video

MANIFEST = "manifest.csv"
DELIMITERS = ",;\t"
MAX_REASONS = 5  # that an error message lists


def list_videos(folder: str | Path, split: str | None = None) -> list[tuple[Path, str]]:
    """Return (path, split) of each video of a folder.

    If the folder has a `manifest.csv`, its rows give the files and splits, see `read_manifest`. Otherwise, videos are
    sorted by name; every tenth is in split `val` and the others are in `train`. Files are listed whether or not they
    can be read.

    split: return only the videos of this split; None returns all. Raises ValueError if the folder does not exist, if it
    has no such video, or if the manifest is invalid.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder of videos ({', '.join(VIDEO_SUFFIXES)}); there is no such folder.")
    if (folder / MANIFEST).is_file():
        rows = [(folder / name, video_split) for name, video_split in read_manifest(folder / MANIFEST)]
    else:
        paths = sorted(path for path in folder.iterdir() if is_video(path))
        rows = [(path, "val" if i % 10 == 9 else "train") for i, path in enumerate(paths)]
    rows = [(path, video_split) for path, video_split in rows if split in (None, video_split)]
    if not rows:
        raise ValueError(
            f"{folder} has no video{f' of split {split}' if split else ''}; add one, or list it in {MANIFEST}."
        )
    return rows


def read_manifest(path: Path) -> list[tuple[str, str]]:
    """Return (file, split) of each row of a table with a column `file` and an optional column `split`.

    Columns are separated by commas, semicolons or tabs. The text is UTF-8, with or without a byte order mark. Other
    columns, spaces around values, the case of column names and splits, and empty lines are ignored. A row without a
    split is in `train`. Raises ValueError if the table is not UTF-8, has no column `file`, or has a row without a file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as CSV in UTF-8.") from None
    first = next((line for line in lines if line.strip()), "")
    columns: list[str] = []
    rows = []
    for number, cells in enumerate(csv.reader(lines, delimiter=max(DELIMITERS, key=first.count)), start=1):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if not columns:
            columns = [cell.lower() for cell in cells]
            if "file" not in columns:
                raise ValueError(
                    f"{path.name}, line {number}: the columns must include file, and may include split, got "
                    f"{', '.join(columns)}."
                )
            continue
        row = dict(zip(columns, cells, strict=False))
        if not row.get("file"):
            raise ValueError(f"{path.name}, line {number}: the column file is empty; enter the name of a video.")
        rows.append((row["file"], row.get("split", "").lower() or "train"))
    return rows


def check_readable_videos(folder: str | Path, count: int, skipped: Mapping[str, str]) -> None:
    """Raise VideoError if no video could be read but some were skipped.

    count: number of videos that could be read. skipped: reason for each other video, by name. The message lists the
    first MAX_REASONS reasons.
    """
    if count or not skipped:
        return
    reasons = " ".join(list(skipped.values())[:MAX_REASONS])
    more = f" {len(skipped) - MAX_REASONS} more could not be read." if len(skipped) > MAX_REASONS else ""
    raise VideoError(f"{Path(folder).name} has no video that can be read. {reasons}{more}")
