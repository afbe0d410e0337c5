"""Replay: a `ReplaySpec` describes how a result was computed, so that anyone can compute it again, byte for byte.

A spec applies either the actions of a source or those of a script to a target. It stores the actions of a script as
numbers, so that no library is needed. Clips are identified by name and content hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lawm_core.model import LatentActionModel
from lawm_core.runtime import describe_hardware
from lawm_core.schema import build_dataclass, file_sha256, read_json
from lawm_core.transfer.script import ActionScript
from lawm_core.transfer.transfer import apply_actions, rest_action, transfer_actions
from lawm_core.types import CheckpointError, Clip, Transfer, VideoError
from lawm_core.video.files import read_clip
from lawm_core.video.montage import side_by_side

FORMAT = 1
REPLAY_PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, kw_only=True)
class ClipReference:
    """A part of a video: name and SHA-256 of its file, start, and maximum number of frames."""

    file: str
    sha256: str
    start_seconds: float = 0.0
    frames: int = 16


@dataclass(frozen=True, kw_only=True)
class ReplaySpec:
    """Everything that a result depends on.

    model, fingerprint: name and fingerprint of the model. family, capacity: setting of the bottleneck. target: the clip
    to apply actions to. source, script: where the actions come from; exactly one is given. actions: for a script, each
    of its actions by name. precision: `float32` or `bf16`. hardware: description of the hardware that computed the
    result, from `runtime.describe_hardware`; empty if unknown. A replay on the same hardware gives the same bytes.
    """

    model: str
    fingerprint: str
    family: str
    capacity: float
    target: ClipReference
    source: ClipReference | None = None
    script: ActionScript | None = None
    actions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    precision: str = "float32"
    hardware: str = ""

    def __post_init__(self) -> None:
        if (self.source is None) == (self.script is None):
            raise ValueError(
                f"a replay spec must have either a source or a script, got {'both' if self.source else 'neither'}."
            )
        if self.precision not in REPLAY_PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(REPLAY_PRECISIONS)}, got {self.precision!r}.")
        if self.script is not None and (missing := self.script.names() - set(self.actions)):
            raise ValueError(f"actions must contain every action of the script, but {sorted(missing)[0]!r} is missing.")

    def to_json(self) -> str:
        """Return JSON text that `from_json` reads."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, {})}
        return json.dumps({"format": FORMAT, **fields}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> ReplaySpec:
        """Parse JSON text. Raises ValueError if it is not a replay spec."""
        try:
            fields = read_json(text)
        except ValueError as error:
            raise ValueError(f"the replay spec is not valid JSON: {error}.") from None
        if not isinstance(fields, dict):
            raise ValueError(
                "a replay spec must be the JSON object that was saved with a result, not its path or text; got a "
                f"{type(fields).__name__}."
            )
        if (version := fields.pop("format", None)) != FORMAT:
            raise ValueError(
                f"the format of a replay spec must be {FORMAT}, got {version!r}. "
                "Use the version of lawm_core that saved it."
            )
        return build_dataclass(ReplaySpec, fields)


def run_spec(
    model: LatentActionModel,
    spec: ReplaySpec,
    source: Clip | None,
    target: Clip,
    progress: Callable[[float, str], None] | None = None,
) -> Transfer:
    """Compute the result of a spec from clips that have been read, in the spec's precision and with scores.

    source: None if the spec has a script. progress: see `transfer_actions`. The result is on the CPU. Raises ValueError
    as `transfer_actions` does, and for an empty script or actions of another width than the model's.
    """
    model, settings = model.with_precision(spec.precision), {"family": spec.family, "capacity": spec.capacity}
    if spec.script is None:
        assert source is not None, "a spec without a script has a source"
        return transfer_actions(model, source, target, scores=True, progress=progress, **settings)
    if not spec.script.frames:
        raise ValueError("the script is empty; add a step.")
    rest_A = rest_action(model, target, **settings)

    def look_up(name: str) -> Tensor:
        """Return the script's action of this name, action_A. Raises ValueError if it has another width."""
        action_A = torch.tensor(spec.actions[name])
        if action_A.shape != rest_A.shape:
            raise ValueError(
                f"action {name!r} must have {len(rest_A)} dimensions for {model.name}, got {len(action_A)}."
            )
        return action_A

    return apply_actions(model, target, spec.script.actions(look_up, rest_A), **settings)


def panels(result: Transfer, source: Clip | None, target: Clip) -> dict[str, Tensor]:
    """Return the panels of a result by name: source, target, transfer and control.

    source: None for the result of a script, which has no panel `source`.
    """
    shown = {"target": target.frame_TCHW, "transfer": result.frame_TCHW, "control": result.control_TCHW}
    if source is not None:
        shown = {"source": source.frame_TCHW, **shown}
    return {name: frame_TCHW[: len(result.frame_TCHW)] for name, frame_TCHW in shown.items()}


def montage(result: Transfer, source: Clip | None, target: Clip) -> Tensor:
    """Return all panels side by side, frame_TCHW.

    Panels are rounded to 8 bits before they are enlarged, so that a result stored as bytes gives the same montage.
    """
    rounded = [(frame_TCHW * 255).round() / 255 for frame_TCHW in panels(result, source, target).values()]
    return side_by_side(rounded)


def replay(
    model: LatentActionModel, fingerprint: str, spec: ReplaySpec, folders: Sequence[str | Path]
) -> tuple[Transfer, Tensor]:
    """Compute the result of a spec and its montage, with clips found in `folders`.

    fingerprint: result of `checkpoint.fingerprint` for `model`. Raises CheckpointError if the spec was computed with
    another model, VideoError if a clip is missing or differs from the original.
    """
    if spec.fingerprint != fingerprint:
        raise CheckpointError(
            f"the result was computed with the model {spec.model} (fingerprint {spec.fingerprint}), "
            f"but this is {model.name} (fingerprint {fingerprint}). Pass the original model with --model."
        )
    source = find_clip(model, spec.source, folders) if spec.source else None
    target = find_clip(model, spec.target, folders)
    result = run_spec(model, spec, source, target)
    return result, montage(result, source, target)


def explain_inexact(spec: ReplaySpec, device: torch.device) -> str | None:
    """Return a message on why a replay on this device may differ by rounding from the original; None if it is exact."""
    here = describe_hardware(device)
    if spec.hardware == here:
        return None
    there = f"on {spec.hardware}" if spec.hardware else "on unknown hardware"
    return (
        f"the result was computed in {spec.precision} {there}; this is {here}. "
        "Rounding may differ, so the replay may not be equal byte for byte."
    )


def find_clip(model: LatentActionModel, reference: ClipReference, folders: Sequence[str | Path]) -> Clip:
    """Find the file of a reference by name and content hash, and read its clip.

    Raises VideoError if no folder has the file, or if all files with this name have other contents.
    """
    if Path(reference.file).name != reference.file:
        raise VideoError(f"the clip of a replay spec must be a file name without folders, got {reference.file!r}.")
    paths = [path for folder in folders if (path := Path(folder) / reference.file).is_file()]
    if not paths:
        searched = ", ".join(str(f) for f in folders)
        raise VideoError(f"{reference.file} is not in {searched}; pass its folder with --videos.")
    same = [path for path in paths if content_hash(path) == reference.sha256]
    if not same:
        raise VideoError(f"{reference.file} differs from the video of the original result. Pass the original file.")
    return read_clip(
        same[0], frames_per_second=model.frames_per_second, size=model.picture_size, num_frames=reference.frames,
        start_seconds=reference.start_seconds, min_frames=1,
    )  # fmt: skip


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file. Raises VideoError if it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        raise VideoError(f"{path.name} cannot be read; choose a clip or upload the video again.") from None
