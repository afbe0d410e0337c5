"""What meta/info.json of a LeRobotDataset v3.0 says, checked before anything is done with it.

The file may come from anywhere: its templates name files inside the folder and nothing else.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lawm_core.schema import read_json_file, shown

MOST_RATE = 1000.0  # frames a second
MOST_NUMBERS = 4096  # of an action
PLACE = re.compile(r"\{(video_key|chunk_index|file_index)(?::0?[1-9]?d)?\}")  # what a template may hold


class DatasetError(ValueError):
    """A data set cannot be used; the message says what came and what is needed."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """folder: the data set's name in messages. features: by name, with dtype and more. splits: `0:540` by name."""

    folder: str
    frames_per_second: float
    features: dict[str, dict]
    splits: dict[str, str]
    data_path: str
    video_path: str

    @classmethod
    def read(cls, folder: Path) -> DatasetInfo:
        """Raises DatasetError."""
        fields = read_fields(folder)
        missing = [key for key in ("fps", "features", "data_path", "video_path") if not fields.get(key)]
        if missing:
            raise DatasetError(f"meta/info.json of {folder.name} has no {', '.join(missing)}.")
        rate, features, splits = fields["fps"], fields["features"], fields.get("splits") or {}
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= MOST_RATE:
            raise DatasetError(
                f"fps of {folder.name} is {shown(rate)}; a number above 0, at most {MOST_RATE:g}, is needed."
            )
        if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
            raise DatasetError(f"features of {folder.name} is {shown(features)}; named features are needed.")
        if not isinstance(splits, dict) or not all(re.fullmatch(r"\d{0,9}:\d{0,9}", str(s)) for s in splits.values()):
            raise DatasetError(f"splits of {folder.name} is {shown(splits)}; parts like 0:540 by name are needed.")
        info = cls(
            folder=folder.name, frames_per_second=float(rate), features=features,
            splits={name: str(part) for name, part in splits.items()},
            data_path=fields["data_path"], video_path=fields["video_path"],
        )  # fmt: skip
        info.data_file(0, 0)
        info.video_file("camera", 0, 0)
        return info

    def names(self, feature: str) -> tuple[str, ...]:
        """Names of a feature's numbers, as far as the data set tells."""
        about = self.features[feature]
        names, shape = about.get("names"), about.get("shape")
        if isinstance(names, dict):  # some data sets keep them one level down
            names = next(iter(names.values()), None)
        if isinstance(names, list) and names:
            return tuple(str(name) for name in names)
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 < n <= MOST_NUMBERS for n in shape):
            raise DatasetError(f"{feature} of {self.folder} has neither names nor a shape; it has {shown(about)}.")
        return tuple(f"{feature} {k}" for k in range(min(math.prod(shape), MOST_NUMBERS)))

    def data_file(self, chunk_index: int, file_index: int) -> Path:
        """Where rows lie, from the folder on."""
        return self._fill("data_path", {"chunk_index": chunk_index, "file_index": file_index})

    def video_file(self, camera: str, chunk_index: int, file_index: int) -> Path:
        """Where a camera's film lies, from the folder on."""
        return self._fill("video_path", {"video_key": camera, "chunk_index": chunk_index, "file_index": file_index})

    def _fill(self, name: str, values: dict[str, object]) -> Path:
        """A template with its places filled; a path that leaves the folder, and any other place, is refused."""
        template = getattr(self, name)
        fits = isinstance(template, str) and not re.search(r"[{}\0]", PLACE.sub("", template))
        if not fits or not {match[1] for match in PLACE.finditer(template)} <= set(values):
            raise DatasetError(
                f"{name} of {self.folder} is {shown(template)}; a path with the places {', '.join(values)} is needed."
            )
        path = PurePosixPath(template.format(**values))
        if path.is_absolute() or ".." in path.parts or "\\" in str(path):
            raise DatasetError(f"{name} of {self.folder} leads to {shown(str(path))}, out of the folder.")
        return Path(path)


def read_fields(folder: Path) -> dict:
    """info.json of a folder of version 3 as plain values."""
    path = folder / "meta" / "info.json"
    try:
        fields = read_json_file(path)
    except FileNotFoundError:
        raise DatasetError(f"{folder} holds no meta/info.json; a LeRobotDataset v3.0 folder is needed.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"meta/info.json of {folder.name} cannot be read ({error}).") from error
    version = str(fields.get("codebase_version", "none")) if isinstance(fields, dict) else "none"
    if not version.startswith("v3"):
        raise DatasetError(
            f"{folder.name} is of version {version[:40]}; v3.0 is needed (lerobot converts older folders)."
        )
    return fields
