"""Reader of meta/info.json of a LeRobotDataset v3.0, which validates every field before use.

The file is untrusted: its path templates are accepted only if they name files inside the data set's folder.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lawm_core.schema import read_json_file, shown

MAX_RATE = 1000.0  # frames per second
MAX_DIMENSIONS = 4096  # of an action or state
# {video_key}, {chunk_index} or {file_index}; a number may have a width of one digit, such as {file_index:03d}.
PLACEHOLDER = re.compile(r"\{(video_key|chunk_index|file_index)(?::0?[1-9]?d)?\}")


class DatasetError(ValueError):
    """A data set cannot be used. The message says what is wrong and what is needed."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Content of meta/info.json.

    folder: name of the data set's folder, for messages. features: description of each feature (action, state, camera)
    by name. splits: range of episodes of each split, such as `0:540`. data_path, video_path: templates that `data_file`
    and `video_file` fill in.
    """

    folder: str
    frames_per_second: float
    features: dict[str, dict]
    splits: dict[str, str]
    data_path: str
    video_path: str

    @classmethod
    def read(cls, folder: Path) -> DatasetInfo:
        """Read a folder's info.json. Raises DatasetError if it is missing or invalid."""
        fields = read_fields(folder)
        name = f"meta/info.json of {folder.name}"
        missing = [key for key in ("fps", "features", "data_path", "video_path") if not fields.get(key)]
        if missing:
            raise DatasetError(f"{name} has no {', '.join(missing)}; a LeRobotDataset v3.0 has these fields.")
        rate, features, splits = fields["fps"], fields["features"], fields.get("splits") or {}
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= MAX_RATE:
            raise DatasetError(f"{name}: fps must be in (0, {MAX_RATE:g}], got {shown(rate)}.")
        if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
            raise DatasetError(f"{name}: features must map names to objects, got {shown(features)}.")
        if not isinstance(splits, dict) or not all(re.fullmatch(r"\d{0,9}:\d{0,9}", str(s)) for s in splits.values()):
            raise DatasetError(f"{name}: splits must map names to ranges like 0:540, got {shown(splits)}.")
        info = cls(
            folder=folder.name, frames_per_second=float(rate), features=features,
            splits={split: str(episodes) for split, episodes in splits.items()},
            data_path=fields["data_path"], video_path=fields["video_path"],
        )  # fmt: skip
        info.data_file(0, 0)
        info.video_file("camera", 0, 0)
        return info

    def names(self, feature: str) -> tuple[str, ...]:
        """Return the names of a feature's dimensions.

        If the data set does not name them, they are numbered, such as `action 0` and `action 1`. Raises DatasetError if
        the feature has neither names nor a valid shape.
        """
        names, shape = self.features[feature].get("names"), self.features[feature].get("shape")
        if isinstance(names, dict):  # some data sets nest them one level deeper
            names = next(iter(names.values()), None)
        if isinstance(names, list) and names:
            return tuple(str(name) for name in names)
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 < n <= MAX_DIMENSIONS for n in shape):
            raise DatasetError(
                f"{feature} of {self.folder} must have names or a shape with sizes in [1, {MAX_DIMENSIONS}], got "
                f"{shown(self.features[feature])}."
            )
        return tuple(f"{feature} {i}" for i in range(min(math.prod(shape), MAX_DIMENSIONS)))

    def data_file(self, chunk_index: int, file_index: int) -> Path:
        """Return the path of a data file, relative to the data set's folder."""
        return self._fill("data_path", {"chunk_index": chunk_index, "file_index": file_index})

    def video_file(self, camera: str, chunk_index: int, file_index: int) -> Path:
        """Return the path of a camera's video file, relative to the data set's folder."""
        return self._fill("video_path", {"video_key": camera, "chunk_index": chunk_index, "file_index": file_index})

    def _fill(self, name: str, values: dict[str, object]) -> Path:
        """Return the path that a template gives for these values.

        name: field that holds the template, `data_path` or `video_path`. values: value of each placeholder that the
        template may contain. Raises DatasetError if the template has other placeholders or the path leads out of the
        folder.
        """
        template = getattr(self, name)
        valid = isinstance(template, str) and not re.search(r"[{}\0]", PLACEHOLDER.sub("", template))
        if not valid or not {match[1] for match in PLACEHOLDER.finditer(template)} <= set(values):
            raise DatasetError(
                f"{name} of {self.folder} must be a path with no placeholders other than {', '.join(values)}, got "
                f"{shown(template)}."
            )
        path = PurePosixPath(template.format(**values))
        if path.is_absolute() or ".." in path.parts or "\\" in str(path):
            raise DatasetError(f"{name} of {self.folder} must be inside the folder, got {shown(str(path))}.")
        return Path(path)


def read_fields(folder: Path) -> dict:
    """Return the fields of a folder's meta/info.json, not yet validated.

    Raises DatasetError if the file is missing or unreadable, or if its version is not 3.
    """
    try:
        fields = read_json_file(folder / "meta" / "info.json")
    except FileNotFoundError:
        raise DatasetError(f"{folder} has no meta/info.json; pass a LeRobotDataset v3.0 folder.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"meta/info.json of {folder.name} cannot be read ({error}).") from error
    version = str(fields.get("codebase_version", "none")) if isinstance(fields, dict) else "none"
    if not version.startswith("v3"):
        raise DatasetError(
            f"{folder.name} must have version v3.0, got {version[:40]}; the lerobot package can convert older folders."
        )
    return fields
