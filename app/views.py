"""The parts of a result that the page shows: panels that play in step, and what they were computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

import lawm_core as lawm
from app.pictures import SHEET_COLUMNS, draw_sheet, from_bytes, to_bytes

TILE_PIXELS = 256  # height and width of a frame on the page
STILL = 0.002  # a clip is still if its pixels change less than this from frame to frame, on average
TITLES = {
    "source": "Source",
    "target": "Target (real continuation)",
    "transfer": "Transfer",
    "script": "Script",
    "action": "Selected action",
    "other": "Random action, to compare",
    "control": "Control",
}
NOTES = {
    "transfer": "target + source motion",
    "script": "target + script",
    "action": "target + selected action",
    "control": "target, no motion",
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the clips that play in step.

    note: a few words below the title. sheet: all frames on one JPEG, see `draw_sheet`. frames: number of frames.
    first_predicted: index of the first predicted frame, None if all frames are real.
    """

    name: str
    title: str
    note: str
    sheet: bytes
    frames: int
    first_predicted: int | None = None


@dataclass(frozen=True, kw_only=True)
class PanelSet:
    """Panels that play in step.

    key: identifies the request; equal requests have equal keys. change_T: mean absolute difference between result and
    control in each frame. columns: frames per row of a sheet. tile_pixels: height and width of a frame on a sheet.
    """

    key: str
    panels: tuple[Panel, ...]
    change_T: tuple[float, ...]
    frames_per_second: float
    columns: int = SHEET_COLUMNS
    tile_pixels: int = TILE_PIXELS

    @property
    def frames(self) -> int:
        """Number of frames of the longest panel."""
        return len(self.change_T)

    @property
    def size_bytes(self) -> int:
        """Size of all sheets in bytes."""
        return sum(len(panel.sheet) for panel in self.panels)


@dataclass(frozen=True, kw_only=True)
class View:
    """A result with its replay spec, its clips and its panels. source: None for the result of a script."""

    panels: PanelSet
    spec: lawm.ReplaySpec
    result: lawm.Transfer
    source: lawm.Clip | None
    target: lawm.Clip

    @property
    def key(self) -> str:
        """Text that identifies the request: equal requests have equal keys."""
        return self.panels.key

    @property
    def size_bytes(self) -> int:
        """Size in memory in bytes, including the clips."""
        clips = (self.target, self.source) if self.source else (self.target,)
        return self.panels.size_bytes + 2 * self.result.frame_TCHW.nbytes + sum(c.frame_TCHW.nbytes for c in clips)


def pack_view(view: View) -> View:
    """Return the view with frames as uint8, a quarter of their memory, for caches."""
    return map_frames(view, to_bytes)


def unpack_view(view: View) -> View:
    """Return a packed view with frames in [0, 1], exact to 8 bits."""
    return map_frames(view, from_bytes)


def map_frames(view: View, change: Callable[[Tensor], Tensor]) -> View:
    """Return the view with a function applied to all its frames."""
    change_clip = lambda clip: clip and replace(clip, frame_TCHW=change(clip.frame_TCHW))
    result = replace(
        view.result, frame_TCHW=change(view.result.frame_TCHW), control_TCHW=change(view.result.control_TCHW)
    )
    return replace(view, result=result, source=change_clip(view.source), target=change_clip(view.target))


def draw_panel(
    name: str, frame_TCHW: Tensor, note: str = "", first_predicted: int | None = None, size: int = TILE_PIXELS
) -> Panel:
    """Return a panel with its frames drawn on a sheet. name: a key of TITLES. note: by default the one in NOTES."""
    return Panel(
        name=name,
        title=TITLES[name],
        note=note or NOTES.get(name, ""),
        sheet=draw_sheet(frame_TCHW, size),
        frames=len(frame_TCHW),
        first_predicted=first_predicted,
    )


def draw_result(key: str, result: lawm.Transfer, source: lawm.Clip | None, target: lawm.Clip) -> PanelSet:
    """Draw the panels of a transfer or a script."""
    names = {"source": source and source.name, "target": target.name}
    panels = []
    for name, frame_TCHW in lawm.panels(result, source, target).items():
        shown = "script" if name == "transfer" and source is None else name
        first_predicted = None if name in names else result.context_frames
        panels.append(draw_panel(shown, frame_TCHW, names.get(name) or "", first_predicted))
    return PanelSet(
        key=key,
        panels=tuple(panels),
        change_T=mean_change(result.frame_TCHW, result.control_TCHW),
        frames_per_second=target.frames_per_second,
    )


def draw_sweep(views: Sequence[View], titles: Sequence[str]) -> PanelSet:
    """Draw the source and the same transfer at several settings, each with its explained motion."""
    panels = [next(panel for panel in views[0].panels.panels if panel.name == "source")]
    for i, (view, title) in enumerate(zip(views, titles, strict=True)):
        transfer = next(panel for panel in view.panels.panels if panel.name == "transfer")
        note = f"explained motion {100 * max(0.0, view.result.scores['prediction_gain']):.0f} %"
        panels.append(replace(transfer, name=f"sweep-{i}", title=title, note=note))
    return replace(
        views[0].panels,
        key="-".join(view.key for view in views),
        panels=tuple(panels),
        change_T=views[-1].panels.change_T,
    )


def mean_change(frame_TCHW: Tensor, control_TCHW: Tensor) -> tuple[float, ...]:
    """Return the mean absolute difference between a result and its control, frame by frame."""
    return tuple((frame_TCHW - control_TCHW).abs().mean(dim=(1, 2, 3)).tolist())


def is_still(view: View) -> bool:
    """Return whether the source hardly moves, so that there is no change to explain."""
    frame_TCHW = view.source.frame_TCHW if view.source else None
    return frame_TCHW is not None and (frame_TCHW[1:] - frame_TCHW[:-1]).abs().mean().item() < STILL


def appearance_transfer(view: View) -> float:
    """Return how much of the source's appearance the transfer has taken on: 0 nothing, 1 everything.

    On downscaled frames, the difference between the last frames of transfer and control is projected on the difference
    between the source's first frame and the control's last frame. The result is relative to the length of the latter.
    """
    if view.source is None:
        return 0.0
    control, transfer = downscale(view.result.control_TCHW[-1:]), downscale(view.result.frame_TCHW[-1:])
    direction = downscale(view.source.frame_TCHW[:1]) - control
    return max(0.0, ((transfer - control) * direction).sum().item() / max(direction.square().sum().item(), 1e-6))


def downscale(frame_TCHW: Tensor) -> Tensor:
    """Return frames of 4 × 4 pixels: their colours without details."""
    return lawm.enlarge(frame_TCHW, 4)
