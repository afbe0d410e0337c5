"""The page's use cases without Gradio: open clips, transfer actions, play scripts, export results.

Clips and results are cached by their content; each cache has a limit in bytes. Invalid requests raise ValueError, and
files that cannot be read raise lawm.VideoError, with a message for users.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch

import lawm_core as lawm
from app.action_map import ActionMap
from app.cache import ByteCache
from app.clip_selection import ClipSelection
from app.driving import Driver
from app.gallery import Gallery, read_gallery
from app.pictures import draw_sheet, pick_frames
from app.views import (
    PanelSet,
    View,
    appearance_transfer,
    draw_panel,
    draw_result,
    is_still,
    mean_change,
    pack_view,
    unpack_view,
)

THUMB_PIXELS, THUMB_FRAMES = 96, 6
PREVIEW_STEPS, PREVIEW_PIXELS = 8, 224
# Limits outside of which a result has a warning, see `Studio.warnings`.
MIN_EXPLAINED, MAX_APPEARANCE, MAX_NOVELTY = 0.05, 0.25, 0.97
EXPORTS_KEPT, NOVELTIES_KEPT = 40, 1000

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
ignore_progress: Progress = lambda fraction, description: None
Compute = Callable[[lawm.ReplaySpec, lawm.Clip | None, lawm.Clip, Progress], lawm.Transfer]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files of a result: a video of all panels, the latent actions, and the replay spec (replay.json)."""

    video: Path
    latents: Path
    replay_spec: Path


class Studio:
    """A model, a gallery, and caches of opened clips and computed results.

    fingerprint: hash of the model's weights. library_folder: library for the action map, if any. remote_compute: a
    function that computes whole results on another machine, several at once; if None, this process computes them.
    """

    def __init__(
        self,
        model: lawm.LatentActionModel,
        gallery_folder: str | Path,
        fingerprint: str = "",
        library_folder: str | Path | None = None,
        clip_cache_bytes: int = 40 * 2**20,
        view_cache_bytes: int = 96 * 2**20,
    ) -> None:
        self.model, self.fingerprint = model, fingerprint
        self.gallery: Gallery = self._skip_undecodable(read_gallery(gallery_folder))
        self.clips: ByteCache[lawm.Clip] = ByteCache(clip_cache_bytes)
        self.views: ByteCache[View] = ByteCache(view_cache_bytes)
        self.action_map = self._open_action_map(library_folder)
        self._novelties: ByteCache[float] = ByteCache(NOVELTIES_KEPT)
        self.remote_compute: Compute | None = None
        self.model_lock = Lock()  # one computation at a time; two at once would only slow each other down
        self.driver = Driver(model, lock=self.model_lock)
        self.export_lock = Lock()
        self._thumbnails, self._thumbnails_lock = None, Lock()
        self._exports = tempfile.TemporaryDirectory(prefix="lawm-explorer-")

    def _skip_undecodable(self, gallery: Gallery) -> Gallery:
        """Return the gallery without downloaded clips that cannot be decoded here, so that the page still opens."""
        bad = set()
        for file in sorted(gallery.external):
            try:
                self._read(ClipSelection.of(gallery.path(file)), THUMB_PIXELS, trusted=False)
            except lawm.VideoError as error:
                log.warning("Skipped a gallery clip that cannot be read: %s", error)
                bad.add(file)
        return gallery.without(bad)

    def _open_action_map(self, folder: str | Path | None) -> ActionMap | None:
        """Return the action map of a library, or None if there is none or it was built with another model."""
        if folder is None or not (Path(folder) / "library.json").is_file():
            return None
        library = lawm.load_library(folder)
        if library.index.fingerprint != self.fingerprint:
            log.warning("No action map: %s was built with other weights. Rebuild it with `lawm library`.", folder)
            return None
        return ActionMap(self.model, library, self.gallery.folder, self.gallery.titles)

    # ---- clips ------------------------------------------------------------------------------------------------------

    def open_clip(self, selection: ClipSelection) -> lawm.Clip:
        """Return a clip at the model's frame rate and picture size. Raises lawm.VideoError if it cannot be used."""
        return self._open(selection)[1]

    def _open(self, selection: ClipSelection) -> tuple[lawm.ClipReference, lawm.Clip]:
        """Return the reference that identifies a clip in replay specs, and the clip."""
        reference = clip_reference(selection)
        clip = self.clips.get(reference)
        if clip is None:
            clip = self._read(selection, self.model.picture_size, self._is_trusted(selection.path))
            clip = self.clips.put(reference, clip, clip.frame_TCHW.nbytes)
        return reference, clip

    def draw_thumbnail(self, path: str | Path) -> bytes:
        """Return THUMB_FRAMES frames from the start of a video, side by side, as one JPEG."""
        clip = self._read(ClipSelection.of(path), THUMB_PIXELS, trusted=False)
        return draw_sheet(pick_frames(clip.frame_TCHW, THUMB_FRAMES), THUMB_PIXELS, THUMB_FRAMES, quality=78)

    def draw_gallery(self) -> bytes | None:
        """Return one JPEG with the thumbnails of all gallery clips, one row per clip; None for an empty gallery.

        The image is drawn once. A call while it is being drawn waits for it.
        """
        with self._thumbnails_lock:
            if self._thumbnails is None and self.gallery.videos:
                paths = [self.gallery.path(video.file) for video in self.gallery.videos]
                clips = [self._read(ClipSelection.of(p), THUMB_PIXELS, self._is_trusted(p)).frame_TCHW for p in paths]
                frame_XCHW = torch.cat([pick_frames(frame_TCHW, THUMB_FRAMES) for frame_TCHW in clips])
                self._thumbnails = draw_sheet(frame_XCHW, THUMB_PIXELS, THUMB_FRAMES, quality=78)
            return self._thumbnails

    def _is_trusted(self, path: Path) -> bool:
        """Return whether a file is shipped with the gallery; all other files are decoded in the sandbox."""
        return path.parent == self.gallery.folder

    def _read(self, selection: ClipSelection, size: int, trusted: bool) -> lawm.Clip:
        return lawm.read_clip(
            selection.path,
            frames_per_second=self.model.frames_per_second,
            size=size,
            num_frames=selection.frames,
            start_seconds=selection.start_seconds,
            trusted=trusted,
            min_frames=1,  # enough for a target; a source is checked when its actions are inferred
        )

    # ---- results ----------------------------------------------------------------------------------------------------

    def transfer(
        self,
        source: ClipSelection,
        target: ClipSelection,
        *,
        family: str | None = None,
        capacity: float = 1.0,
        progress: Progress = ignore_progress,
    ) -> View:
        """Apply the source's latent actions to the target's first frame. family: the model's first one if None."""
        progress(0.0, "Reading both clips")
        (source_reference, source_clip), (target_reference, target_clip) = self._open(source), self._open(target)
        spec = self._spec(family, capacity, source=source_reference, target=target_reference)
        return self._run(spec, source_clip, target_clip, progress)

    def play(
        self,
        script: lawm.ActionScript,
        actions: dict[str, tuple[float, ...]],
        target: ClipSelection,
        *,
        family: str | None = None,
        capacity: float = 1.0,
    ) -> View:
        """Apply a script to the target's first frame. actions: named actions, inferred at this family and capacity."""
        reference, clip = self._open(target)
        used = {name: actions[name] for name in sorted(script.names() & set(actions))}
        spec = self._spec(family, capacity, target=reference, script=script, actions=used)
        return self._run(spec, None, clip)

    def sweep(self, source: ClipSelection, target: ClipSelection, settings: Sequence[tuple[str, float]]) -> list[View]:
        """Return the same transfer at each setting, a pair of family and capacity."""
        return [self.transfer(source, target, family=family, capacity=capacity) for family, capacity in settings]

    def replay(self, fields: object, source: str | None = None, target: str | None = None) -> Path:
        """Compute a replay spec (parsed JSON) again; return its video. source, target: videos outside the gallery."""
        spec = lawm.ReplaySpec.from_json(json.dumps(fields))
        if spec.fingerprint != self.fingerprint:
            raise ValueError(
                f"The replay spec was made with {spec.model} ({spec.fingerprint}), but this page runs "
                f"{self.model.name} ({self.fingerprint})."
            )
        source_clip = self._open_reference("source", spec.source, source) if spec.source else None
        target_clip = self._open_reference("target", spec.target, target)
        return self.export(self._run(spec, source_clip, target_clip)).video

    def _open_reference(self, role: str, reference: lawm.ClipReference, video: str | None) -> lawm.Clip:
        """Return the clip of a replay spec, read from `video` or else the gallery. Raises ValueError if it differs."""
        if video is None and all(listed.file != reference.file for listed in self.gallery.videos):
            raise ValueError(f"The {role}, {reference.file}, is not in the gallery. Pass it as {role}_video.")
        path = Path(video) if video else self.gallery.path(reference.file)
        if lawm.content_hash(path) != reference.sha256:
            raise ValueError(f"{path.name} differs from the {role} of the original result. Pass the original file.")
        return self.open_clip(ClipSelection.of(path, reference.start_seconds, reference.frames))

    def _spec(self, family: str | None, capacity: float, **fields: object) -> lawm.ReplaySpec:
        """Return a replay spec with this model's name, fingerprint and precision."""
        return lawm.ReplaySpec(
            model=self.model.name,
            fingerprint=self.fingerprint,
            family=family or self.model.family_names[0],
            capacity=check_capacity(capacity),
            precision=self.model.precision,
            **fields,
        )

    def _run(
        self,
        spec: lawm.ReplaySpec,
        source: lawm.Clip | None,
        target: lawm.Clip,
        progress: Progress = ignore_progress,
    ) -> View:
        """Return the result of a replay spec, from the cache if it is there."""
        key = hashlib.sha256(spec.to_json().encode()).hexdigest()[:16]
        view = self.cached_view(key)
        if view is None:
            compute = self.remote_compute or self._compute
            result = compute(spec, source, target, lambda fraction, what: progress(0.1 + 0.8 * fraction, what))
            progress(0.9, "Drawing")
            panels = draw_result(key, result, source, target)
            view = View(panels=panels, spec=spec, result=result, source=source, target=target)
            packed = pack_view(view)
            self.views.put(key, packed, packed.size_bytes)
        progress(1.0, "Done")
        return view

    def cached_view(self, key: str) -> View | None:
        """Return the result with this key, or None if it is not in the cache."""
        packed = self.views.get(key)
        return packed and unpack_view(packed)

    def _compute(
        self, spec: lawm.ReplaySpec, source: lawm.Clip | None, target: lawm.Clip, progress: Progress
    ) -> lawm.Transfer:
        with self.model_lock:
            return lawm.run_spec(self.model, spec, source, target, progress)

    # ---- single actions ---------------------------------------------------------------------------------------------

    def preview(
        self,
        action_A: torch.Tensor,
        other_A: torch.Tensor,
        target: ClipSelection,
        *,
        family: str | None = None,
        capacity: float = 1.0,
        steps: int = PREVIEW_STEPS,
        other_name: str = "",
    ) -> PanelSet:
        """Return the target under one repeated action and, for comparison, without motion and under another action."""
        reference, clip = self._open(target)
        settings = {"family": family or self.model.family_names[0], "capacity": check_capacity(capacity)}
        action_2UA = torch.stack((action_A, other_A))[:, None].expand(-1, steps, -1)
        with self.model_lock:
            control_TCHW, action_TCHW, other_TCHW = lawm.try_actions(self.model, clip, action_2UA, **settings)
        request = (action_A.numpy().tobytes(), other_A.numpy().tobytes(), reference, settings, steps)
        return PanelSet(
            key=hashlib.sha256(repr(request).encode()).hexdigest()[:16],
            panels=(
                draw_panel("control", control_TCHW, first_predicted=1, size=PREVIEW_PIXELS),
                draw_panel("action", action_TCHW, first_predicted=1, size=PREVIEW_PIXELS),
                draw_panel("other", other_TCHW, note=other_name, first_predicted=1, size=PREVIEW_PIXELS),
            ),
            change_T=mean_change(action_TCHW, control_TCHW),
            frames_per_second=clip.frames_per_second,
            tile_pixels=PREVIEW_PIXELS,
        )

    def infer_actions(
        self, selection: ClipSelection, *, family: str | None = None, capacity: float = 1.0
    ) -> torch.Tensor:
        """Return the latent actions of a clip, action_UA."""
        return self._infer(self.open_clip(selection), family or self.model.family_names[0], check_capacity(capacity))

    def _infer(self, clip: lawm.Clip, family: str, capacity: float) -> torch.Tensor:
        with self.model_lock, torch.inference_mode():
            return self.model.at(family, capacity).infer_actions(self.model.encode(clip.frame_TCHW[None]))[0]

    # ---- warnings ---------------------------------------------------------------------------------------------------

    def warnings(self, view: View) -> list[str]:
        """Return the warnings about a result that the page shows."""
        found = []
        if is_still(view):
            found.append("The source hardly moves, so there is no motion to transfer.")
        elif view.result.scores.get("prediction_gain", 1.0) < MIN_EXPLAINED:
            found.append("The actions explain almost none of the source's motion, so there is little to transfer.")
        if (taken := appearance_transfer(view)) > MAX_APPEARANCE:
            found.append(
                f"The transfer takes on {100 * taken:.0f} % of the source's colours: the actions encode appearance as "
                "well as motion. Try a lower capacity."
            )
        if self.action_map and view.source is not None and self._novelty(view) > MAX_NOVELTY:
            found.append("The source moves unlike all clips of the action map, so its actions may be inaccurate.")
        return found

    def _novelty(self, view: View) -> float:
        """Return the novelty of the source (see `ActionMap.novelty`), from its actions at the library's setting."""
        novelty = self._novelties.get(view.spec.source)
        if novelty is None:
            config, result = self.action_map.library.index.config, view.result
            if (result.family, result.capacity) == (config.family, config.capacity):
                action_UA = result.action_UA
            else:
                action_UA = self._infer(view.source, config.family, config.capacity)
            novelty = self._novelties.put(view.spec.source, self.action_map.novelty(action_UA), size_bytes=1)
        return novelty

    # ---- export -----------------------------------------------------------------------------------------------------

    @property
    def export_folder(self) -> Path:
        """The folder that has a sub-folder for the files of each exported result."""
        return Path(self._exports.name)

    def export(self, view: View) -> Export:
        """Write the files of a result unless they exist, and keep those of the latest EXPORTS_KEPT results only."""
        folder = self.export_folder / view.key
        name = f"{safe_stem(view.source.name if view.source else 'script')}-on-{safe_stem(view.target.name)}"
        export = Export(
            video=folder / f"{name}.mp4", latents=folder / f"{name}.npz", replay_spec=folder / "replay.json"
        )
        with self.export_lock:
            if all(path.is_file() for path in vars(export).values()):
                for path in vars(export).values():
                    path.touch()  # so that they do not expire yet
            else:
                folder.mkdir(exist_ok=True)
                # The hardware of remote results is unknown.
                hardware = "" if self.remote_compute else lawm.describe_hardware(self.model.device)
                write_export(export, replace(view, spec=replace(view.spec, hardware=hardware)))
                remove_oldest(folder.parent, EXPORTS_KEPT)
        return export


def write_export(export: Export, view: View) -> None:
    """Write the files of a result."""
    frame_TCHW = lawm.montage(view.result, view.source, view.target)
    lawm.write_clip(export.video, frame_TCHW, view.target.frames_per_second)
    spec, scores = view.spec.to_json(), json.dumps(view.result.scores)
    np.savez_compressed(
        export.latents, action_UA=view.result.action_UA.numpy(), replay_spec=np.array(spec), scores=np.array(scores)
    )
    export.replay_spec.write_text(spec, encoding="utf-8")


def remove_oldest(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest sub-folders."""
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def clip_reference(selection: ClipSelection) -> lawm.ClipReference:
    """Return the reference that identifies a selected clip in replay specs."""
    return lawm.ClipReference(
        file=selection.path.name,
        sha256=lawm.content_hash(selection.path),
        start_seconds=selection.start_seconds,
        frames=selection.frames,
    )


def check_capacity(capacity: float) -> float:
    """Return the capacity, rounded to four decimals. Raises ValueError if it is not in [0, 1]."""
    value = float(capacity)
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"capacity must be in [0, 1], got {capacity}.")
    return round(value, 4)


def safe_stem(name: str) -> str:
    """Return the stem of a file name with characters that every file system accepts."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:40] or "clip"
