"""What the page shows of a result: lanes of frames in step, and everything that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

import lawm_core as lawm
from app.pictures import SHEET_COLUMNS, draw_sheet, from_bytes, to_bytes

TILE_PIXELS = 256  # a frame's side on the page
STILL = 0.002  # mean change of a pixel from frame to frame below which a clip stands still
LANES = {
    "source": "Source",
    "target": "Target, as it really went on",
    "transfer": "Transfer",
    "script": "Script",
    "action": "This action",
    "random": "Another action",
    "control": "Control",
}
NOTES = {
    "transfer": "target under the source’s actions",
    "script": "target under the script",
    "action": "target under the chosen action",
    "control": "target under no action",
}


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One of the clips shown in step: a sheet of `frames` frames, those from `given` on predicted."""

    name: str
    title: str
    note: str
    sheet: bytes
    frames: int
    given: int | None = None  # none: all of it is real


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Lanes in step. key: the same for the same request, whoever asks. effect_T: what the actions change, by frame."""

    key: str
    lanes: tuple[Lane, ...]
    effect_T: tuple[float, ...]
    rate: float
    columns: int = SHEET_COLUMNS
    tile_pixels: int = TILE_PIXELS

    @property
    def frames(self) -> int:
        """Frames of the longest lane."""
        return len(self.effect_T)

    @property
    def size_bytes(self) -> int:
        """What keeping this costs."""
        return sum(len(lane.sheet) for lane in self.lanes)


@dataclass(frozen=True, kw_only=True)
class View:
    """A result, what it was made of and how: `source` is None for a script's."""

    shown: Shown
    recipe: lawm.Recipe
    result: lawm.Transfer
    source: lawm.Clip | None
    target: lawm.Clip

    @property
    def key(self) -> str:
        """The same for the same request."""
        return self.shown.key

    @property
    def size_bytes(self) -> int:
        """What keeping this costs, its clips included: another cache may have let them go."""
        clips = (self.target, self.source) if self.source else (self.target,)
        return self.shown.size_bytes + 2 * self.result.frame_TCHW.nbytes + sum(c.frame_TCHW.nbytes for c in clips)


def pack_view(view: View) -> View:
    """The same view with its frames as bytes, a quarter of their memory: for caches."""
    return with_frames(view, to_bytes)


def unpack_view(view: View) -> View:
    """The way back, exact to 8 bits."""
    return with_frames(view, from_bytes)


def with_frames(view: View, change: Callable[[Tensor], Tensor]) -> View:
    """The view with all its frames changed."""
    clip = lambda one: one and replace(one, frame_TCHW=change(one.frame_TCHW))
    result = replace(
        view.result, frame_TCHW=change(view.result.frame_TCHW), control_TCHW=change(view.result.control_TCHW)
    )
    return replace(view, result=result, source=clip(view.source), target=clip(view.target))


def draw_lane(name: str, frame_TCHW: Tensor, note: str = "", given: int | None = None, size: int = TILE_PIXELS) -> Lane:
    """One lane's frames as a sheet."""
    return Lane(
        name=name,
        title=LANES[name],
        note=note or NOTES.get(name, ""),
        sheet=draw_sheet(frame_TCHW, size),
        frames=len(frame_TCHW),
        given=given,
    )


def draw_result(key: str, result: lawm.Transfer, source: lawm.Clip | None, target: lawm.Clip) -> Shown:
    """The lanes of a transfer or a script."""
    names = {"source": source and source.name, "target": target.name}
    moved = "transfer" if source is not None else "script"
    lanes = []
    for name, frame_TCHW in lawm.lanes(result, source, target).items():
        real = name in names
        given = None if real else result.context_frames
        lanes.append(draw_lane(moved if name == "transfer" else name, frame_TCHW, names.get(name) or "", given))
    return Shown(
        key=key,
        lanes=tuple(lanes),
        effect_T=effect(result.frame_TCHW, result.control_TCHW),
        rate=target.frames_per_second,
    )


def draw_sweep(views: Sequence[View], names: Sequence[str]) -> Shown:
    """The source, and the same transfer at several settings, with what each gains over a still picture."""
    lanes = [next(lane for lane in views[0].shown.lanes if lane.name == "source")]
    for i, (view, name) in enumerate(zip(views, names, strict=True)):
        moved = next(lane for lane in view.shown.lanes if lane.name == "transfer")
        note = f"explains {max(0.0, view.result.scores['prediction_gain']):.0%} of the source"
        lanes.append(replace(moved, name=f"sweep-{i}", title=name, note=note))
    key = "-".join(view.key for view in views)
    return Shown(key=key, lanes=tuple(lanes), effect_T=views[-1].shown.effect_T, rate=views[0].shown.rate)


def effect(frame_TCHW: Tensor, control_TCHW: Tensor) -> tuple[float, ...]:
    """Mean absolute difference between a result and its control, frame by frame: where in time the actions act."""
    return tuple((frame_TCHW - control_TCHW).abs().mean(dim=(1, 2, 3)).tolist())


def is_still(view: View) -> bool:
    """Whether next to nothing changes in the source from frame to frame: then there is no change to be explained."""
    frame_TCHW = view.source.frame_TCHW if view.source else None
    return frame_TCHW is not None and (frame_TCHW[1:] - frame_TCHW[:-1]).abs().mean().item() < STILL


def look_taken(view: View) -> float:
    """How much of the source's look the transfer took on: 0 none of it, 1 all.

    The share of the way from the control's last coarse picture to the source's first one that the transfer has gone.
    """
    if view.source is None:
        return 0.0
    control, moved = coarse(view.result.control_TCHW[-1:]), coarse(view.result.frame_TCHW[-1:])
    way = coarse(view.source.frame_TCHW[:1]) - control
    return max(0.0, ((moved - control) * way).sum().item() / max(way.square().sum().item(), 1e-6))


def coarse(frame_TCHW: Tensor) -> Tensor:
    """A picture's colours, four places a side."""
    return lawm.enlarge(frame_TCHW, 4)
