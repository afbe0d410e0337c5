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
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch

import lawm_core as lawm
from app.atlas import Atlas
from app.cache import ByteCache
from app.driving import DrivingSchool
from app.gallery import Gallery, read_gallery
from app.pictures import draw_sheet, spread_frames
from app.piece import Piece
from app.views import Shown, View, draw_lane, draw_result, effect, is_still, look_taken, pack_view, unpack_view

THUMB_PIXELS, THUMB_FRAMES = 96, 6
PREVIEW_STEPS, PREVIEW_PIXELS = 8, 224
LITTLE_GAIN, MUCH_LOOK, ODD = 0.05, 0.25, 0.97  # beyond these a result comes with a warning
EXPORTS_KEPT, ODDITIES_KEPT = 40, 1000
EXPORT_ENDS = {"video": ".mp4", "latents": ".npz", "recipe": ".json"}

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Compute = Callable[[lawm.Recipe, lawm.Clip | None, lawm.Clip, Progress], lawm.Transfer]


@dataclass(frozen=True, kw_only=True)
class Export:
    """Files to take home: the lanes side by side, the latent actions, and the recipe that makes both again."""

    video: Path
    latents: Path
    recipe: Path


class Studio:
    """One model, one gallery, and what has been opened and computed with them. mark: the model's fingerprint.

    elsewhere: where whole results are computed, when not here with the model; several at once, and nothing waits.
    """

    def __init__(
        self,
        model: lawm.LatentActionModel,
        gallery_folder: str | Path,
        mark: str = "",
        library_folder: str | Path | None = None,
        clip_cache_bytes: int = 40 * 2**20,
        view_cache_bytes: int = 96 * 2**20,
    ) -> None:
        self.model, self.mark = model, mark
        self.gallery: Gallery = self._usable(read_gallery(gallery_folder))
        self.clips: ByteCache[lawm.Clip] = ByteCache(clip_cache_bytes)
        self.views: ByteCache[View] = ByteCache(view_cache_bytes)
        self.atlas = self._open_atlas(library_folder)
        self._oddities: ByteCache[float] = ByteCache(ODDITIES_KEPT)
        self.elsewhere: Compute | None = None
        self._model_lock = Lock()  # one computation at a time: two would only slow each other down
        self.school = DrivingSchool(model, lock=self._model_lock)
        self.export_lock = Lock()
        self._sheet, self._sheet_lock = None, Lock()
        self._exports = tempfile.TemporaryDirectory(prefix="lawm-explorer-")

    def _usable(self, gallery: Gallery) -> Gallery:
        """Without those of the lent clips that cannot be decoded here: the page is to open all the same."""
        bad = set()
        for file in sorted(gallery.lent):
            try:
                self._read(Piece.of(gallery.path(file)), THUMB_PIXELS, trusted=False)
            except lawm.VideoError as error:
                log.warning("A lent clip is left out: %s", error)
                bad.add(file)
        return gallery.without(bad)

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

    def open_clip(self, piece: Piece) -> lawm.Clip:
        """A clip at the model's rate and size. Raises lawm.VideoError for files that cannot be used."""
        return self._open(piece)[1]

    def _open(self, piece: Piece) -> tuple[lawm.ClipReference, lawm.Clip]:
        """The clip, and what recipes call it; the file is read once for both."""
        reference = refer(piece)
        clip = self.clips.get(reference)
        if clip is None:
            clip = self._read(piece, self.model.picture_size, self._own(piece.path))
            clip = self.clips.keep(reference, clip, clip.frame_TCHW.nbytes)
        return reference, clip

    def draw_thumbnail(self, path: str | Path) -> bytes:
        """A strip of a few frames from the start of a clip, as one JPEG."""
        clip = self._read(Piece.of(path), THUMB_PIXELS, trusted=False)
        return draw_sheet(spread_frames(clip.frame_TCHW, THUMB_FRAMES), THUMB_PIXELS, THUMB_FRAMES, quality=78)

    def draw_gallery(self) -> bytes | None:
        """The strips of all clips in the gallery, one below the other, as one JPEG; None when there are none.

        Drawn once; a second call waits for the first.
        """
        with self._sheet_lock:
            if self._sheet is None and self.gallery.clips:
                self._sheet = self._draw_gallery()
            return self._sheet

    def _draw_gallery(self) -> bytes:
        paths = [self.gallery.path(clip.file) for clip in self.gallery.clips]
        clips = [self._read(Piece.of(path), THUMB_PIXELS, self._own(path)).frame_TCHW for path in paths]
        return draw_sheet(
            torch.cat([spread_frames(clip, THUMB_FRAMES) for clip in clips]), THUMB_PIXELS, THUMB_FRAMES, quality=78
        )

    def _own(self, path: Path) -> bool:
        """Whether a file came with the app: only those skip the guarded child process that decodes all others."""
        return path.parent == self.gallery.folder

    def _read(self, piece: Piece, size: int, trusted: bool) -> lawm.Clip:
        return lawm.read_clip(
            piece.path,
            frames_per_second=self.model.frames_per_second,
            size=size,
            num_frames=piece.frames,
            start_seconds=piece.start_seconds,
            trusted=trusted,
            min_frames=1,  # enough for a target; a source's are counted where its actions are inferred
        )

    # ---- transfer ---------------------------------------------------------------------------------------------------

    def transfer(
        self,
        source: Piece,
        target: Piece,
        *,
        family: str | None = None,
        capacity: float = 1.0,
        progress: Progress | None = None,
    ) -> View:
        """The source's latent actions on the target's first frame. Raises ValueError when that cannot be done."""
        report = progress or (lambda fraction, what: None)
        report(0.0, "Reading both clips")
        (source_reference, source_clip), (target_reference, target_clip) = self._open(source), self._open(target)
        family, capacity = family or self.model.families[0], checked_capacity(capacity)
        recipe = lawm.Recipe(
            model=self.model.name,
            fingerprint=self.mark,
            family=family,
            capacity=capacity,
            source=source_reference,
            target=target_reference,
            precision=self.model.precision,
        )
        return self._perform(recipe, source_clip, target_clip, report)

    def play(
        self,
        script: lawm.ActionScript,
        actions: dict[str, tuple[float, ...]],
        target: Piece,
        *,
        family: str | None = None,
        capacity: float = 1.0,
        progress: Progress | None = None,
    ) -> View:
        """The target's first frame under a script; `actions` by name, as inferred at this family and capacity."""
        reference, clip = self._open(target)
        recipe = lawm.Recipe(
            model=self.model.name,
            fingerprint=self.mark,
            family=family or self.model.families[0],
            capacity=checked_capacity(capacity),
            target=reference,
            script=script,
            actions={name: actions[name] for name in sorted(script.names() & set(actions))},
            precision=self.model.precision,
        )
        return self._perform(recipe, None, clip, progress or (lambda fraction, what: None))

    def _perform(self, recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress) -> View:
        key = hashlib.sha256(recipe.to_json().encode()).hexdigest()[:16]
        view = self.view(key)
        if view is None:
            view = self._compute(key, recipe, source, target, lambda f, what: report(0.1 + 0.8 * f, what))
            packed = pack_view(view)
            self.views.keep(key, packed, packed.size_bytes)
        report(1.0, "Done")
        return view

    def view(self, key: str) -> View | None:
        """A result that is still kept."""
        packed = self.views.get(key)
        return packed and unpack_view(packed)

    def _compute(
        self, key: str, recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress
    ) -> View:
        result = (self.elsewhere or self._compute_here)(recipe, source, target, report)
        report(1.0, "Drawing")
        shown = draw_result(key, result, source, target)
        return View(shown=shown, recipe=recipe, result=result, source=source, target=target)

    def _compute_here(
        self, recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress
    ) -> lawm.Transfer:
        with self._model_lock:
            return lawm.perform(self.model, recipe, source, target, report)

    # ---- single actions ---------------------------------------------------------------------------------------------

    def preview(
        self,
        action_A: torch.Tensor,
        other_A: torch.Tensor,
        target: Piece,
        *,
        family: str | None = None,
        capacity: float = 1.0,
        steps: int = PREVIEW_STEPS,
        other_name: str = "",
    ) -> Shown:
        """The target's first frame under one action again and again, beside no action and another one."""
        (reference, clip), family = self._open(target), family or self.model.families[0]
        settings = {"family": family, "capacity": checked_capacity(capacity)}
        action_XUA = torch.stack((action_A, other_A))[:, None].expand(-1, steps, -1)
        with self._model_lock:
            control_TCHW, one_TCHW, two_TCHW = lawm.try_actions(self.model, clip, action_XUA, **settings)
        parts = (action_A.numpy().tobytes(), other_A.numpy().tobytes(), reference, settings, steps)
        return Shown(
            key=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
            lanes=(
                draw_lane("control", control_TCHW, given=1, size=PREVIEW_PIXELS),
                draw_lane("action", one_TCHW, given=1, size=PREVIEW_PIXELS),
                draw_lane("random", two_TCHW, note=other_name, given=1, size=PREVIEW_PIXELS),
            ),
            effect_T=effect(one_TCHW, control_TCHW),
            rate=clip.frames_per_second,
            tile_pixels=PREVIEW_PIXELS,
        )

    def infer_actions(self, piece: Piece, *, family: str | None = None, capacity: float = 1.0) -> torch.Tensor:
        """The latent actions of a clip, action_UA."""
        return self._infer(self.open_clip(piece), family or self.model.families[0], checked_capacity(capacity))

    def _infer(self, clip: lawm.Clip, family: str, capacity: float) -> torch.Tensor:
        with self._model_lock, torch.inference_mode():
            return self.model.infer_actions(self.model.encode(clip.frame_TCHW[None]), family, capacity)[0]

    def warnings(self, view: View) -> list[str]:
        """What a careful reader of a result should know, in sentences; nothing where there is nothing to warn of."""
        said = []
        if is_still(view):
            said.append("Almost nothing moves in the source: its actions say that all stays as it is.")
        elif view.result.scores.get("prediction_gain", 1.0) < LITTLE_GAIN:
            said.append("The actions explain hardly anything of the source, so there is little to transfer.")
        if (taken := look_taken(view)) > MUCH_LOOK:
            said.append(
                f"The transfer takes on the source's colours ({100 * taken:.0f} % of the way): here its actions carry "
                "appearance as well as motion. Less capacity helps."
            )
        if self.atlas and view.source is not None and self._oddity(view) > ODD:
            said.append(
                "The source moves unlike anything in this model's library; expect its actions to be read less well."
            )
        return said

    def _oddity(self, view: View) -> float:
        """How unlike the library's the source's actions are; of the clip alone, so the dial changes nothing."""
        oddity = self._oddities.get(view.recipe.source)
        if oddity is None:
            config, result = self.atlas.library.index.config, view.result
            known = (result.family, result.capacity) == (config.family, config.capacity)
            action_UA = result.action_UA if known else self._infer(view.source, config.family, config.capacity)
            oddity = self._oddities.keep(view.recipe.source, self.atlas.oddity(action_UA), size_bytes=1)
        return oddity

    # ---- capacity ---------------------------------------------------------------------------------------------------

    def sweep(
        self,
        source: Piece,
        target: Piece,
        settings: Sequence[tuple[str, float]],
        *,
        progress: Progress | None = None,
    ) -> list[View]:
        """The same transfer at several settings of the dial, (family, capacity) each."""
        report, views = progress or (lambda fraction, what: None), []
        for i, (family, capacity) in enumerate(settings):
            report(i / len(settings), f"{family} at {capacity:.2f}")
            views.append(self.transfer(source, target, family=family, capacity=capacity))
        report(1.0, "Done")
        return views

    def replay(self, fields: object, source: str | None = None, target: str | None = None) -> Path:
        """The film of a recipe, given as plain values. source, target: videos that are not in the gallery."""
        recipe = lawm.Recipe.from_json(json.dumps(fields))
        if recipe.fingerprint != self.mark:
            raise ValueError(f"The recipe was made with {recipe.model} {recipe.fingerprint}, not with this model.")
        source_clip = self._open_reference("source", recipe.source, source) if recipe.source else None
        target_clip = self._open_reference("target", recipe.target, target)
        return self.export(self._perform(recipe, source_clip, target_clip, lambda fraction, what: None)).video

    def _open_reference(self, role: str, reference: lawm.ClipReference, video: str | None) -> lawm.Clip:
        if video is None and all(clip.file != reference.file for clip in self.gallery.clips):
            raise ValueError(f"The recipe's {role}, {reference.file}, is not in the gallery; send it as {role}_video.")
        path = Path(video) if video else self.gallery.path(reference.file)
        if lawm.content_hash(path) != reference.sha256:
            raise ValueError(f"{path.name} is another video than the recipe's {role}: its content differs.")
        return self.open_clip(Piece.of(path, reference.start_seconds, reference.frames))

    # ---- taking it home ---------------------------------------------------------------------------------------------

    def export(self, view: View) -> Export:
        """Writes the files of a result, once; the oldest results' files go when there are many."""
        folder = self.exports / view.key
        name = f"{plain_stem(view.source.name if view.source else 'script')}-on-{plain_stem(view.target.name)}"
        export = Export(**{kind: folder / f"{name}{end}" for kind, end in EXPORT_ENDS.items()})
        with self.export_lock:
            if all(path.is_file() for path in vars(export).values()):
                for path in vars(export).values():
                    path.touch()  # somebody wants them still
            else:
                folder.mkdir(exist_ok=True)
                hardware = "" if self.elsewhere else lawm.describe_hardware(self.model.device)  # unknown if borrowed
                write_export(export, replace(view, recipe=replace(view.recipe, hardware=hardware)))
                forget_oldest(folder.parent, EXPORTS_KEPT)
        return export

    @property
    def exports(self) -> Path:
        """The folder of all results' files."""
        return Path(self._exports.name)


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


def refer(piece: Piece) -> lawm.ClipReference:
    """A piece of video as recipes name it."""
    return lawm.ClipReference(
        file=piece.path.name,
        sha256=lawm.content_hash(piece.path),
        start_seconds=piece.start_seconds,
        frames=piece.frames,
    )


def checked_capacity(capacity: float) -> float:
    """Capacity as the page offers it."""
    value = float(capacity)
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"The capacity came as {capacity}; a number from 0 to 1 is needed.")
    return round(value, 4)


def plain_stem(name: str) -> str:
    """A file's stem that any disk takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:40] or "clip"
