"""Folders of videos: which files, and which of them are kept for measuring."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from lawm_core.contracts import VideoError
from lawm_core.video.paths import VIDEO_SUFFIXES, is_video

MANIFEST = "manifest.csv"
DELIMITERS = ",;\t"
REASONS = 5  # that are given at most where nothing can be read


def list_videos(folder: str | Path, split: str | None = None) -> list[tuple[Path, str]]:
    """Videos of a folder with their split, by `manifest.csv` where there is one (`read_manifest`).

    Without a manifest every video counts as `train`, but for each tenth by name, which is `val`. Files are listed
    whether or not they can be read. Raises ValueError where there are none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; needed: a folder of videos ({', '.join(VIDEO_SUFFIXES)}).")
    manifest = folder / MANIFEST
    if manifest.is_file():
        rows = [(folder / name, of) for name, of in read_manifest(manifest)]
    else:
        names = sorted(p for p in folder.iterdir() if is_video(p))
        rows = [(p, "val" if i % 10 == 9 else "train") for i, p in enumerate(names)]
    rows = [(p, s) for p, s in rows if split in (None, s)]
    if not rows:
        raise ValueError(f"{folder} holds no video{f' of split {split}' if split else ''}.")
    return rows


def read_manifest(path: Path) -> list[tuple[str, str]]:
    """(file, split) of each row of a table with the columns `file` and, if wanted, `split`; others are ignored.

    Separated by commas, semicolons or tabs, in UTF-8 with or without a byte order mark. Spaces around values, the case
    of column names and of splits, and empty lines do not matter; a row without a split is `train`. Raises ValueError
    that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; needed: a table saved as CSV in UTF-8.") from None
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    columns: list[str] = []
    found = []
    for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if not columns:
            columns = [cell.lower() for cell in cells]
            if "file" not in columns:
                raise ValueError(
                    f"{path.name}, line {number}: the columns are {', '.join(columns)}; needed: file, and split if "
                    "some videos are kept for measuring."
                )
            continue
        row = dict(zip(columns, cells, strict=False))
        if not row.get("file"):
            raise ValueError(f"{path.name}, line {number}: the column file is empty; needed: the name of a video.")
        found.append((row["file"], row.get("split", "").lower() or "train"))
    return found


def demand_readable(folder: str | Path, found: int, refused: Mapping[str, str]) -> None:
    """Raise VideoError with the reasons where none of a folder's videos can be read."""
    if found or not refused:
        return
    reasons = " ".join(list(refused.values())[:REASONS])
    more = f" So do {len(refused) - REASONS} more." if len(refused) > REASONS else ""
    raise VideoError(f"{Path(folder).name} holds no video that can be read. {reasons}{more}")
