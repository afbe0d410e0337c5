"""Builds a library of latent actions from a folder of videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lawm_core.checkpoint import fingerprint, write_tensors
from lawm_core.contracts import VideoError
from lawm_core.evaluation.library import FORMAT, ActionLibrary, LibraryClip, LibraryConfig, LibraryIndex
from lawm_core.evaluation.meaning import read_motion
from lawm_core.evaluation.projection import pca_places, umap_places
from lawm_core.model import LatentActionModel
from lawm_core.saving import atomic_path, write_text
from lawm_core.video.files import read_clip
from lawm_core.video.info import DecodeLimits
from lawm_core.video.paths import check_readable
from lawm_core.worlds.folders import demand_readable, list_videos

FEWEST = 4  # transitions that make a map
MOST_PIXELS = 16383  # a side of a WebP picture


def build_library(
    model: LatentActionModel,
    folder: str | Path,
    out: str | Path,
    config: LibraryConfig | None = None,
    name: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
    trusted: bool = False,
) -> ActionLibrary:
    """Infers the actions of every video in `folder` and lays them out in `out`; `name` is what the model was loaded by;
    trusted: videos of known origin, see `read_clip`.

    Each clip that is done is kept under OUT/parts, so that a build which was stopped goes on where it was. Videos that
    cannot be used are left out and named in the index. Raises ValueError where too few transitions are found.
    """
    config, out, report = config or LibraryConfig(), Path(out), progress or (lambda fraction, what: None)
    model.member(config.family)
    mark, parts = fingerprint(name), out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    stamp = json.dumps([FORMAT, mark, asdict(config)])
    if not (parts / "of.json").is_file() or (parts / "of.json").read_text() != stamp:
        for old in parts.glob("*.npz"):
            old.unlink()
        write_text(parts / "of.json", stamp)
    videos, found, refused = [path for path, _ in list_videos(folder)], [], {}
    for i, path in enumerate(videos):
        report(0.8 * i / len(videos), path.name)
        try:
            found.append((path.name, read_part(model, path, parts, config, trusted)))
        except VideoError as error:
            refused[path.name] = str(error)
    demand_readable(folder, len(found), refused)
    report(0.8, "laying out")
    library = join_parts(model, mark, found, refused, out, config)
    report(1.0, "done")
    return library


def read_part(
    model: LatentActionModel, path: Path, parts: Path, config: LibraryConfig, trusted: bool
) -> dict[str, np.ndarray]:
    """One clip's actions, motions and small frames, from disk if they are there."""
    check_readable(path)
    stat = path.stat()
    kept = parts / f"{path.name}.{stat.st_size}.{stat.st_mtime_ns}.npz"
    if not kept.is_file():
        clip = read_clip(
            path,
            model.frames_per_second,
            model.frame_size,
            num_frames=config.frames,
            trusted=trusted,
            limits=DecodeLimits.unattended(),
        )
        with atomic_path(kept) as part, open(part, "wb") as file:
            small = small_frames(clip.frame_TCHW, config.thumb_pixels)
            np.savez(file, **describe_clip(model, clip.frame_TCHW, config), thumb_THWC=small)
    with np.load(kept, allow_pickle=False) as arrays:
        return dict(arrays)


def describe_clip(model: LatentActionModel, frame_TCHW: torch.Tensor, config: LibraryConfig) -> dict[str, np.ndarray]:
    """What a library keeps of a clip beside its small frames: action_UA and motion_U6."""
    with torch.inference_mode():
        state_BTND = model.encode(frame_TCHW[None].to(model.device))
        action_UA = model.infer_actions(state_BTND, family=config.family, capacity=config.capacity)[0]
    motion = read_motion(model, state_BTND[0, :-1], state_BTND[0, 1:], config.family)
    return {
        "action_UA": action_UA.cpu().numpy(),
        # The solver's last digits depend on where in memory its numbers lie; no two runs are to differ by them, nor by
        # the sign of what is rounded to nothing.
        "motion_U6": (motion.stacked().cpu().double().round(decimals=6) + 0.0).float().numpy(),
    }


def small_frames(frame_TCHW: torch.Tensor, pixels: int) -> np.ndarray:
    """thumb_THWC in bytes, `pixels` a side."""
    small = torch.nn.functional.interpolate(frame_TCHW, size=(pixels, pixels), mode="bilinear", antialias=True)
    return (small.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def join_parts(
    model: LatentActionModel,
    mark: str,
    found: list[tuple[str, dict[str, np.ndarray]]],
    refused: dict[str, str],
    out: Path,
    config: LibraryConfig,
) -> ActionLibrary:
    """Lays all clips out together and writes the library's three files. ValueError where there are too few transitions
    for a map, or too many frames for its picture.
    """
    counts = [len(part["action_UA"]) for _, part in found]
    across = frames_across(counts, config.thumb_pixels)
    action_PA = torch.from_numpy(np.concatenate([part["action_UA"] for _, part in found])).float()
    tensors = {
        "action_PA": action_PA,
        "clip_P": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        "frame_P": torch.cat([torch.arange(count) for count in counts]),
        "umap_P2": umap_places(action_PA),
        "pca_P2": pca_places(action_PA),
        "motion_P6": torch.from_numpy(np.concatenate([part["motion_U6"] for _, part in found])).float(),
    }
    thumb_FHWC = np.concatenate([part["thumb_THWC"] for _, part in found])
    first_thumbs = np.cumsum([0, *(len(part["thumb_THWC"]) for _, part in found)])
    index = LibraryIndex(
        model=model.name,
        fingerprint=mark,
        frames_per_second=model.frames_per_second,
        config=config,
        clips=tuple(
            LibraryClip(name=name, frames=count + 1, first_thumb=int(first))
            for (name, _), count, first in zip(found, counts, first_thumbs, strict=False)
        ),
        thumbs_across=across,
        refused=refused,
    )
    write_library(out, index, tensors, draw_sprite(thumb_FHWC, index.thumbs_across))
    return ActionLibrary(index=index, sprite=out / "sprite.webp", **tensors)


def frames_across(counts: list[int], pixels: int) -> int:
    """Small frames of `pixels` a side beside each other in the picture of clips with so many transitions each.

    ValueError where they make no map.
    """
    if sum(counts) < FEWEST:
        raise ValueError(f"{sum(counts)} transitions were found in {len(counts)} videos; a map needs {FEWEST}.")
    frames = sum(counts) + len(counts)
    across = max(1, round(frames**0.5))
    if max(across, -(-frames // across)) * pixels > MOST_PIXELS:
        most = (MOST_PIXELS // pixels) ** 2
        raise ValueError(f"{frames} frames of {pixels} pixels are more than a map's picture holds: about {most}.")
    return across


def write_library(out: Path, index: LibraryIndex, tensors: dict[str, torch.Tensor], sprite: bytes) -> None:
    """The library's three files, each whole or not at all; the index last."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "sprite.webp") as part:
        Path(part).write_bytes(sprite)
    write_tensors(out / "library.safetensors", {n: t.contiguous() for n, t in tensors.items()})
    write_text(out / "library.json", json.dumps({"format": FORMAT, **asdict(index)}, indent=1) + "\n")


def draw_sprite(thumb_FHWC: np.ndarray, across: int) -> bytes:
    """All small frames in one picture, row by row."""
    import imageio.v3 as imageio

    frames, height, width, _ = thumb_FHWC.shape
    down = -(-frames // across)
    sheet = np.zeros((down * across, height, width, 3), np.uint8)
    sheet[:frames] = thumb_FHWC
    sheet = sheet.reshape(down, across, height, width, 3).swapaxes(1, 2).reshape(down * height, across * width, 3)
    return imageio.imwrite("<bytes>", sheet, extension=".webp", quality=75)
