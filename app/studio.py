"""What a person can do, without a page: open a clip, transfer actions, take the result home.

Everything is kept by content, so that asking twice costs nothing, and bounded in bytes, so that nobody can fill the
memory. Refusals are ValueErrors (`lawm.VideoError` for files) whose message is for people.
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
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch

import lawm_core as lawm
from app.atlas import Atlas
from app.cache import ByteCache
from app.gallery import Gallery, read_gallery
from app.pictures import draw_sheet, spread_frames
from app.views import Shown, View, draw_lane, draw_result, effect, look_taken

FRAMES = 16  # of a clip: what the models are trained on
THUMB_PIXELS, THUMB_FRAMES = 96, 6
PREVIEW_STEPS = 8
LITTLE_GAIN, MUCH_LOOK, ODD = 0.05, 0.25, 0.97  # beyond these a result comes with a warning
EXPORTS_KEPT = 40
EXPORT_ENDS = {"video": ".mp4", "latents": ".npz", "recipe": ".json"}

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files to take home: the lanes side by side, the latent actions, and the recipe that makes both again."""

    video: Path
    latents: Path
    recipe: Path


class Studio:
    """One model, one gallery, and what has been opened and computed with them. mark: the model's fingerprint."""

    def __init__(
        self,
        model: lawm.LatentActionModel,
        gallery_folder: str | Path,
        mark: str = "",
        library_folder: str | Path | None = None,
        clip_cache_bytes: int = 64 * 2**20,
        view_cache_bytes: int = 128 * 2**20,
    ) -> None:
        self.model, self.mark = model, mark
        self.gallery: Gallery = read_gallery(gallery_folder)
        self.clips: ByteCache[lawm.Clip] = ByteCache(clip_cache_bytes)
        self.views: ByteCache[View] = ByteCache(view_cache_bytes)
        self.atlas = self._open_atlas(library_folder)
        self._model_lock = Lock()  # one computation at a time: two would only slow each other down
        self._export_lock = Lock()
        self._exports = tempfile.TemporaryDirectory(prefix="lawm-explorer-")

    def _open_atlas(self, folder: str | Path | None) -> Atlas | None:
        """The action map, where there is one that this very model made."""
        if folder is None or not (Path(folder) / "library.json").is_file():
            return None
        library = lawm.load_library(folder)
        if library.index.fingerprint != self.mark:
            log.warning("The library in %s was made by other weights than the model's; the map is left out.", folder)
            return None
        return Atlas(self.model, library, self.gallery.folder)

    # ---- clips ------------------------------------------------------------------------------------------------------

    def open_clip(self, path: str | Path, start_seconds: float | None = 0.0) -> lawm.Clip:
        """A clip at the model's rate and size. Raises lawm.VideoError for files, ValueError for moments."""
        path, start = Path(path), checked_start(start_seconds)
        key = (lawm.content_hash(path), path.name, start)
        clip = self.clips.get(key)
        if clip is None:
            clip = self._read(path, start, self.model.frame_size)
            clip = self.clips.keep(key, clip, clip.frame_TCHW.nbytes)
        return clip

    def draw_thumbnail(self, path: str | Path) -> bytes:
        """A strip of a few frames from the start of a clip, as one JPEG."""
        clip = self._read(Path(path), 0.0, THUMB_PIXELS)
        return draw_sheet(spread_frames(clip.frame_TCHW, THUMB_FRAMES), THUMB_PIXELS, THUMB_FRAMES, quality=78)

    def draw_gallery(self) -> bytes | None:
        """The strips of all clips in the gallery, one below the other, as one JPEG; None when there are none."""
        if not self.gallery.clips:
            return None
        clips = [self._read(self.gallery.folder / c.file, 0.0, THUMB_PIXELS).frame_TCHW for c in self.gallery.clips]
        return draw_sheet(
            torch.cat([spread_frames(clip, THUMB_FRAMES) for clip in clips]), THUMB_PIXELS, THUMB_FRAMES, quality=78
        )

    def _read(self, path: Path, start_seconds: float, size: int) -> lawm.Clip:
        # Only the app's own files skip the guarded child process that decodes what people bring.
        return lawm.read_clip(
            path,
            frames_per_second=self.model.frames_per_second,
            size=size,
            num_frames=FRAMES,
            start_seconds=start_seconds,
            trusted=path.parent == self.gallery.folder,
        )

    # ---- transfer ---------------------------------------------------------------------------------------------------

    def transfer(
        self,
        source: str | Path,
        target: str | Path,
        *,
        source_start: float | None = 0.0,
        target_start: float | None = 0.0,
        family: str | None = None,
        capacity: float = 1.0,
        progress: Progress | None = None,
    ) -> View:
        """The source's latent actions on the target's first frame. Raises ValueError when that cannot be done."""
        report = progress or (lambda fraction, what: None)
        report(0.0, "Reading both clips")
        clips = self.open_clip(source, source_start), self.open_clip(target, target_start)
        family, capacity = family or self.model.families[0], checked_capacity(capacity)
        references = [self._refer(path, clip) for path, clip in zip((source, target), clips, strict=True)]
        recipe = lawm.Recipe(
            model=self.model.name,
            fingerprint=self.mark,
            family=family,
            capacity=capacity,
            source=references[0],
            target=references[1],
        )
        return self._perform(recipe, *clips, report)

    def play(
        self,
        script: lawm.ActionScript,
        actions: dict[str, tuple[float, ...]],
        target: str | Path,
        *,
        target_start: float | None = 0.0,
        family: str | None = None,
        capacity: float = 1.0,
        progress: Progress | None = None,
    ) -> View:
        """The target's first frame under a script; `actions` by name, as inferred at this family and capacity."""
        clip = self.open_clip(target, target_start)
        recipe = lawm.Recipe(
            model=self.model.name,
            fingerprint=self.mark,
            family=family or self.model.families[0],
            capacity=checked_capacity(capacity),
            target=self._refer(target, clip),
            script=script,
            actions={name: actions[name] for name in sorted(script.names() & set(actions))},
        )
        return self._perform(recipe, None, clip, progress or (lambda fraction, what: None))

    def _perform(self, recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress) -> View:
        key = hashlib.sha256(recipe.to_json().encode()).hexdigest()[:16]
        view = self.views.get(key)
        if view is None:
            view = self._compute(key, recipe, source, target, lambda f, what: report(0.1 + 0.8 * f, what))
            view = self.views.keep(key, view, view.size_bytes)
        report(1.0, "Done")
        return view

    def _compute(
        self, key: str, recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress
    ) -> View:
        with self._model_lock:
            result = lawm.perform(self.model, recipe, source, target, report)
        report(1.0, "Drawing")
        shown = draw_result(key, result, source, target)
        return View(shown=shown, recipe=recipe, result=result, source=source, target=target)

    # ---- single actions ---------------------------------------------------------------------------------------------

    def preview(
        self,
        action_A: torch.Tensor,
        other_A: torch.Tensor,
        target: str | Path,
        *,
        target_start: float | None = 0.0,
        family: str | None = None,
        capacity: float = 1.0,
        steps: int = PREVIEW_STEPS,
        other_name: str = "",
    ) -> Shown:
        """The target's first frame under one action again and again, beside no action and another one."""
        clip, family = self.open_clip(target, target_start), family or self.model.families[0]
        settings = {"family": family, "capacity": checked_capacity(capacity)}
        with self._model_lock:
            one, two = (
                lawm.apply_actions(self.model, clip, a[None].expand(steps, -1), **settings) for a in (action_A, other_A)
            )
        parts = (action_A.numpy().tobytes(), other_A.numpy().tobytes(), self._refer(target, clip), settings, steps)
        return Shown(
            key=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
            lanes=(
                draw_lane("control", one.control_TCHW, given=1),
                draw_lane("action", one.frame_TCHW, given=1),
                draw_lane("random", two.frame_TCHW, note=other_name, given=1),
            ),
            effect_T=effect(one),
            rate=clip.frames_per_second,
        )

    def infer_actions(
        self, path: str | Path, *, start: float | None = 0.0, family: str | None = None, capacity: float = 1.0
    ) -> torch.Tensor:
        """The latent actions of a clip, action_UA."""
        return self._infer(self.open_clip(path, start), family or self.model.families[0], checked_capacity(capacity))

    def _infer(self, clip: lawm.Clip, family: str, capacity: float) -> torch.Tensor:
        with self._model_lock, torch.inference_mode():
            return self.model.infer_actions(self.model.encode(clip.frame_TCHW[None]), family, capacity)[0]

    def warnings(self, view: View) -> list[str]:
        """What a careful reader of a result should know, in sentences; nothing where there is nothing to warn of."""
        said = []
        if view.result.scores.get("prediction_gain", 1.0) < LITTLE_GAIN:
            said.append("The actions explain hardly anything of the source, so there is little to transfer.")
        if (taken := look_taken(view)) > MUCH_LOOK:
            said.append(
                f"The transfer takes on the source's colours ({taken:.0%} of the way): its actions carry appearance "
                "as well as motion. Less capacity helps."
            )
        if self.atlas and view.source is not None:
            config = self.atlas.library.index.config
            action_UA = self._infer(view.source, config.family, config.capacity)
            if self.atlas.oddity(action_UA) > ODD:
                said.append(
                    "The source moves unlike anything in this model's library; expect its actions to be read less well."
                )
        return said

    # ---- capacity ---------------------------------------------------------------------------------------------------

    def sweep(
        self,
        source: str | Path,
        target: str | Path,
        settings: Sequence[tuple[str, float]],
        *,
        source_start: float | None = 0.0,
        target_start: float | None = 0.0,
        progress: Progress | None = None,
    ) -> list[View]:
        """The same transfer at several settings of the dial, (family, capacity) each."""
        report = progress or (lambda fraction, what: None)
        views = []
        for i, (family, capacity) in enumerate(settings):
            report(i / len(settings), f"{family} at {capacity:.2f}")
            starts = {"source_start": source_start, "target_start": target_start}
            views.append(self.transfer(source, target, family=family, capacity=capacity, **starts))
        report(1.0, "Done")
        return views

    @staticmethod
    def _refer(path: str | Path, clip: lawm.Clip) -> lawm.ClipReference:
        return lawm.ClipReference(
            file=clip.name, sha256=lawm.content_hash(Path(path)), start_seconds=clip.start_seconds, frames=FRAMES
        )

    def replay(self, fields: object) -> Path:
        """The film of a recipe, given as plain values, whose clips are in the gallery."""
        recipe = lawm.Recipe.from_json(json.dumps(fields))
        if recipe.fingerprint != self.mark:
            raise ValueError(f"The recipe was made with {recipe.model} {recipe.fingerprint}, not with this model.")
        source, target = (self._open_reference(r) if r else None for r in (recipe.source, recipe.target))
        return self.export(self._perform(recipe, source, target, lambda fraction, what: None)).video

    def _open_reference(self, reference: lawm.ClipReference) -> lawm.Clip:
        path = self.gallery.path(reference.file)
        if lawm.content_hash(path) != reference.sha256:
            raise ValueError(f"{reference.file} is another video than the recipe's: its content differs.")
        return self.open_clip(path, reference.start_seconds)

    # ---- taking it home ---------------------------------------------------------------------------------------------

    def export(self, view: View) -> Export:
        """Writes the files of a result, once; the oldest results' files go when there are many."""
        folder = Path(self._exports.name) / view.key
        name = f"{plain_stem(view.source.name if view.source else 'script')}-on-{plain_stem(view.target.name)}"
        export = Export(**{kind: folder / f"{name}{end}" for kind, end in EXPORT_ENDS.items()})
        with self._export_lock:
            if not all(path.is_file() for path in vars(export).values()):
                folder.mkdir(exist_ok=True)
                write_export(export, view)
                forget_oldest(folder.parent, EXPORTS_KEPT)
        return export


def write_export(export: Export, view: View) -> None:
    """The mp4 of all lanes side by side, the npz of latents with their recipe, and the recipe itself."""
    frame_TCHW = lawm.film(view.result, view.source, view.target)
    lawm.write_clip(export.video, frame_TCHW, view.target.frames_per_second)
    recipe, scores = view.recipe.to_json(), json.dumps(view.result.scores)
    np.savez_compressed(
        export.latents, action_UA=view.result.action_UA.numpy(), recipe=np.array(recipe), scores=np.array(scores)
    )
    export.recipe.write_text(recipe, encoding="utf-8")


def forget_oldest(folder: Path, keep: int) -> None:
    """Deletes all but the `keep` newest sub-folders."""
    for old in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def checked_start(start_seconds: float | None) -> float:
    """A moment in a video; an empty field means the beginning."""
    start = 0.0 if start_seconds is None else float(start_seconds)
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"The start came as {start:g} seconds; 0 or later is needed.")
    return round(start, 3)


def checked_capacity(capacity: float) -> float:
    """Capacity as the page offers it."""
    value = float(capacity)
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"The capacity came as {capacity}; a number from 0 to 1 is needed.")
    return round(value, 4)


def plain_stem(name: str) -> str:
    """A file's stem that any disk takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:40] or "clip"
