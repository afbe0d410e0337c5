"""A recipe says exactly how a result was made, so that anyone can make it again, to the same bytes.

Either a source's actions on a target, or a script's. A script's actions travel along as numbers, so that a recipe needs
no library; clips are named and known by their content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lawm_core.contracts import CheckpointError, Clip, Transfer, VideoError
from lawm_core.evaluation.script import ActionScript
from lawm_core.evaluation.transfer import apply_actions, still_actions, transfer
from lawm_core.model import LatentActionModel
from lawm_core.runtime import describe_hardware
from lawm_core.schema import build_dataclass, read_json
from lawm_core.video.files import read_clip
from lawm_core.video.film import side_by_side

FORMAT = 1
COMPUTED_IN = ("float32", "bf16")


@dataclass(frozen=True, kw_only=True)
class ClipReference:
    """A piece of a video: the file by name and by the SHA-256 of its content, where it starts and its most frames."""

    file: str
    sha256: str
    start_seconds: float = 0.0
    frames: int = 16


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a result depends on. `source` or `script`, never both; actions: those of the script by name.

    precision: `float32` or `bf16`, in which the result was computed; recipes that do not say were computed in float32.
    hardware: what it was computed on (`runtime.describe_hardware`); empty where unknown. Equal hardware gives equal
    bytes.
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
            raise ValueError("a recipe needs either a source or a script.")
        if self.precision not in COMPUTED_IN:
            raise ValueError(f"precision must be one of {', '.join(COMPUTED_IN)}, got {self.precision!r}.")
        if self.script is not None and (missing := self.script.names() - set(self.actions)):
            raise ValueError(f"the script's action {sorted(missing)[0]!r} is not among the recipe's actions.")

    def to_json(self) -> str:
        """The recipe as text; `from_json` gives the same recipe again."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, {})}
        return json.dumps({"format": FORMAT, **fields}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Raises ValueError that says what does not fit."""
        try:
            fields = read_json(text)
        except ValueError as error:
            raise ValueError(f"the recipe cannot be read as JSON: {error}.") from None
        if not isinstance(fields, dict):
            raise ValueError("a recipe must be the JSON object that a result was saved with, not its path or text.")
        if (version := fields.pop("format", None)) != FORMAT:
            raise ValueError(f"the recipe's format must be {FORMAT}, got {version!r}.")
        return build_dataclass(Recipe, fields)


def perform(
    model: LatentActionModel, recipe: Recipe, source: Clip | None, target: Clip,
    progress: Callable[[float, str], None] | None = None,
) -> Transfer:  # fmt: skip
    """Does what the recipe says with its clips already open, wherever the model lies and in the recipe's precision; the
    result is on the CPU.

    Raises ValueError as `transfer` does, and for a script that is empty or whose actions have another width than the
    model's.
    """
    model, settings = model.in_precision(recipe.precision), {"family": recipe.family, "capacity": recipe.capacity}
    if recipe.script is None:
        return transfer(model, source, target, progress=progress, **settings)
    if not recipe.script.frames:
        raise ValueError("the script is empty; add a step.")
    rest_A = rest_action(model, target, **settings)

    def look_up(name: str) -> Tensor:
        action_A = torch.tensor(recipe.actions[name])
        if action_A.shape != rest_A.shape:
            raise ValueError(f"the action {name!r} has {len(action_A)} numbers; {model.name} needs {len(rest_A)}.")
        return action_A

    action_UA = recipe.script.actions(look_up, rest_A)
    return apply_actions(model, target, action_UA, **settings)


@torch.inference_mode()
def rest_action(model: LatentActionModel, target: Clip, family: str, capacity: float) -> Tensor:
    """The action of the target's first frame standing still, action_A."""
    state_B1ND = model.encode(target.frame_TCHW[None, :1].to(model.device))
    return still_actions(model, state_B1ND, 1, family, capacity)[0, 0].cpu()


def lanes(result: Transfer, source: Clip | None, target: Clip) -> dict[str, Tensor]:
    """What is shown of a result, lane by lane: source, target, transfer and control; a script has no source."""
    shown = {"target": target.frame_TCHW, "transfer": result.frame_TCHW, "control": result.control_TCHW}
    if source is not None:
        shown = {"source": source.frame_TCHW, **shown}
    return {name: lane[: len(result.frame_TCHW)] for name, lane in shown.items()}


def film(result: Transfer, source: Clip | None, target: Clip) -> Tensor:
    """All lanes side by side, as long as the result, frame_TCHW.

    Each is rounded to 8 bits before it is enlarged, so that the film of a result that was kept in bytes is the same.
    """
    rounded = [(lane_TCHW * 255).round() / 255 for lane_TCHW in lanes(result, source, target).values()]
    return side_by_side(rounded)


def replay(
    model: LatentActionModel, mark: str, recipe: Recipe, folders: Sequence[str | Path]
) -> tuple[Transfer, Tensor]:
    """The result and its film made anew, with clips found in `folders`; mark: the model's fingerprint.

    Raises CheckpointError for another model's recipe, VideoError where a clip is not there or is not the same.
    """
    if recipe.fingerprint != mark:
        raise CheckpointError(
            f"the recipe was made with {recipe.model} {recipe.fingerprint}; this is {model.name} {mark}."
        )
    source = find_clip(model, recipe.source, folders) if recipe.source else None
    target = find_clip(model, recipe.target, folders)
    result = perform(model, recipe, source, target)
    return result, film(result, source, target)


def explain_inexact(recipe: Recipe, device: torch.device) -> str | None:
    """Say why a replay on this device may differ from the recipe's result in the last bits; None where it is exact."""
    here = describe_hardware(device)
    if recipe.hardware == here:
        return None
    made_on = f"on {recipe.hardware}" if recipe.hardware else "on unknown hardware"
    return (
        f"the recipe's result was computed in {recipe.precision} {made_on}; this is {here}. "
        "Rounding may differ, so the replay may not be equal byte for byte."
    )


def find_clip(model: LatentActionModel, reference: ClipReference, folders: Sequence[str | Path]) -> Clip:
    """The piece of video that is meant."""
    if Path(reference.file).name != reference.file:
        raise VideoError(f"{reference.file!r} is not a plain file name.")
    paths = [path for folder in folders if (path := Path(folder) / reference.file).is_file()]
    if not paths:
        looked = ", ".join(str(f) for f in folders)
        raise VideoError(f"{reference.file} is not in {looked}; say with --videos where the recipe's clips are.")
    same = [path for path in paths if content_hash(path) == reference.sha256]
    if not same:
        raise VideoError(f"{reference.file} is another video than the recipe's: its content differs.")
    return read_clip(
        same[0], frames_per_second=model.frames_per_second, size=model.picture_size, num_frames=reference.frames,
        start_seconds=reference.start_seconds, min_frames=1,
    )  # fmt: skip


def content_hash(path: Path) -> str:
    """What is in a file, whatever its name. Raises VideoError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise VideoError(f"{path.name} cannot be read; choose a clip or upload the video again.") from None
