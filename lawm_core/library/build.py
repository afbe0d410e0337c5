"""Build an action library from a folder of videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lawm_core.atomic_files import atomic_path, write_text
from lawm_core.checkpoint import fingerprint, write_tensors
from lawm_core.data.folders import check_readable_videos, list_videos
from lawm_core.library.library import (
    FORMAT,
    INDEX,
    POINTS,
    SPRITE,
    ActionLibrary,
    LibraryClip,
    LibraryConfig,
    LibraryIndex,
)
from lawm_core.library.motion_summary import summarize_motion
from lawm_core.library.projection import MIN_VECTORS, pca_layout, umap_layout
from lawm_core.model import LatentActionModel
from lawm_core.types import VideoError
from lawm_core.video.decode_types import DecodeLimits
from lawm_core.video.files import read_clip
from lawm_core.video.paths import check_readable

MAX_SPRITE_PIXELS = 16383  # height and width of a WebP image
Described = tuple[str, dict[str, np.ndarray]]  # name of a clip, and arrays: see `describe_video`


def build_library(
    model: LatentActionModel,
    folder: str | Path,
    out: str | Path,
    config: LibraryConfig | None = None,
    name: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
    trusted: bool = False,
) -> ActionLibrary:
    """Infer the actions of every video in `folder` and write a library of them to `out`.

    name: the model's name or folder as it was given to `load_model`, from which its fingerprint is computed. progress:
    called with the finished fraction and a description of the current work. trusted: see `read_clip`.

    Videos that cannot be used are skipped and listed in the index. The results of each video are kept in the subfolder
    `parts` of `out`, so that an interrupted build continues.

    Raises ValueError for an unknown family or fewer than four transitions, VideoError if no video can be read.
    """
    config, out, report = config or LibraryConfig(), Path(out), progress or (lambda fraction, what: None)
    model.at(config.family, config.capacity)  # an unknown family raises before any video is read
    model_fingerprint, parts = fingerprint(name), out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    stamp, settings = json.dumps([FORMAT, model_fingerprint, asdict(config)]), parts / "settings.json"
    if not settings.is_file() or settings.read_text() != stamp:
        for stale in parts.glob("*.npz"):
            stale.unlink()
        write_text(settings, stamp)
    videos, described, skipped = [path for path, _ in list_videos(folder)], [], {}
    for i, path in enumerate(videos):
        report(0.8 * i / len(videos), path.name)
        try:
            described.append((path.name, describe_video(model, path, parts, config, trusted)))
        except VideoError as error:
            skipped[path.name] = str(error)
    check_readable_videos(folder, len(described), skipped)
    report(0.8, "computing layouts")
    library = assemble_library(model, model_fingerprint, described, skipped, out, config)
    report(1.0, "done")
    return library


def describe_video(
    model: LatentActionModel, path: Path, parts: Path, config: LibraryConfig, trusted: bool
) -> dict[str, np.ndarray]:
    """Return a video's latent actions action_UA, motion summaries motion_U6 and thumbnails thumb_THWC.

    They are read from the folder `parts` if they have been computed before, and stored there otherwise.
    """
    check_readable(path)
    stat = path.stat()
    part = parts / f"{path.name}.{stat.st_size}.{stat.st_mtime_ns}.npz"
    if not part.is_file():
        frame_TCHW = read_library_clip(path, model.frames_per_second, model.frame_size, config.frames, trusted)
        computed: dict[str, Any] = describe_clip(model, frame_TCHW, config)
        computed["thumb_THWC"] = thumbnails(frame_TCHW, config.thumb_pixels)
        with atomic_path(part) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, **computed)
    with np.load(part, allow_pickle=False) as arrays:
        return dict(arrays)


def read_library_clip(path: str | Path, rate: float, size: int, frames: int, trusted: bool) -> torch.Tensor:
    """Read a clip for a library: frame_TCHW, at most `frames` frames at `rate` frames per second.

    A slow video may take as much processor time as `DecodeLimits.unattended` allows, by default 20 minutes instead of
    one. trusted: see `read_clip`. Raises VideoError.
    """
    limits = DecodeLimits.unattended()
    return read_clip(path, rate, size, num_frames=frames, trusted=trusted, limits=limits).frame_TCHW


def describe_clip(model: LatentActionModel, frame_TCHW: torch.Tensor, config: LibraryConfig) -> dict[str, np.ndarray]:
    """Return a clip's latent actions action_UA and motion summaries motion_U6 (see `summarize_motion`)."""
    with torch.inference_mode():
        state_BTND = model.encode(frame_TCHW[None].to(model.device))
        action_UA = model.at(config.family, config.capacity).infer_actions(state_BTND)[0]
    motion_U6 = summarize_motion(model, state_BTND[0, :-1], state_BTND[0, 1:])
    # Rounded, and without negative zeros: the solver's last digits depend on memory alignment and differ between runs.
    motion_U6 = (motion_U6.double().round(decimals=6) + 0.0).float()
    return {"action_UA": action_UA.cpu().numpy(), "motion_U6": motion_U6.numpy()}


def thumbnails(frame_TCHW: torch.Tensor, pixels: int) -> np.ndarray:
    """Return thumbnails of all frames, thumb_THWC uint8, with `pixels` as height and width."""
    thumb_TCHW = torch.nn.functional.interpolate(frame_TCHW, size=(pixels, pixels), mode="bilinear", antialias=True)
    return (thumb_TCHW.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def assemble_library(
    model: LatentActionModel,
    model_fingerprint: str,
    described: list[Described],
    skipped: dict[str, str],
    out: Path,
    config: LibraryConfig,
) -> ActionLibrary:
    """Compute one UMAP and one PCA layout of the actions of all clips, and write the library to `out`.

    described: name and arrays of each clip. skipped: reason for each skipped video, by file name.

    Raises ValueError for fewer than four transitions, or more frames than fit into the sprite.
    """
    counts = [len(clip["action_UA"]) for _, clip in described]
    columns = sprite_columns(counts, config.thumb_pixels)
    join = lambda name: np.concatenate([clip[name] for _, clip in described])
    action_PA = torch.from_numpy(join("action_UA")).float()
    tensors = {
        "action_PA": action_PA,
        "clip_P": torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)),
        "frame_P": torch.cat([torch.arange(count) for count in counts]),
        "umap_P2": umap_layout(action_PA),
        "pca_P2": pca_layout(action_PA),
        "motion_P6": torch.from_numpy(join("motion_U6")).float(),
    }
    first_thumbs = np.cumsum([0, *(len(clip["thumb_THWC"]) for _, clip in described)]).tolist()
    index = LibraryIndex(
        model=model.name,
        fingerprint=model_fingerprint,
        frames_per_second=model.frames_per_second,
        config=config,
        clips=tuple(
            LibraryClip(name=name, frames=count + 1, first_thumb=first)
            for (name, _), count, first in zip(described, counts, first_thumbs, strict=False)
        ),
        sprite_columns=columns,
        skipped=skipped,
    )
    write_library(out, index, tensors, encode_sprite(join("thumb_THWC"), columns))
    return ActionLibrary(index=index, sprite=out / SPRITE, **tensors)


def sprite_columns(counts: list[int], pixels: int) -> int:
    """Return the number of columns of the sprite, the image that holds the thumbnails of all frames.

    counts: number of transitions of each clip. pixels: height and width of a thumbnail. Raises ValueError for fewer
    than four transitions, or for more frames than fit into an image.
    """
    if sum(counts) < MIN_VECTORS:
        raise ValueError(
            f"a library needs at least {MIN_VECTORS} transitions, got {sum(counts)} from {len(counts)} videos. "
            "Use more or longer videos."
        )
    frames = sum(counts) + len(counts)
    columns = max(1, round(frames**0.5))
    if max(columns, -(-frames // columns)) * pixels > MAX_SPRITE_PIXELS:
        most = (MAX_SPRITE_PIXELS // pixels) ** 2
        raise ValueError(
            f"the image of all thumbnails holds about {most} frames of {pixels} pixels, got {frames}. "
            "Use fewer frames or smaller thumbnails."
        )
    return columns


def write_library(out: Path, index: LibraryIndex, tensors: dict[str, torch.Tensor], sprite: bytes) -> None:
    """Write the library's files, each atomically and the index last. sprite: a WebP image."""
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / SPRITE) as unfinished:
        Path(unfinished).write_bytes(sprite)
    write_tensors(out / POINTS, {name: tensor.contiguous() for name, tensor in tensors.items()})
    write_text(out / INDEX, json.dumps({"format": FORMAT, **asdict(index)}, indent=1) + "\n")


def encode_sprite(thumb_XHWC: np.ndarray, columns: int) -> bytes:
    """Return a WebP image of all thumbnails, row by row."""
    import imageio.v3 as imageio

    frames, height, width, _ = thumb_XHWC.shape
    rows = -(-frames // columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:frames] = thumb_XHWC
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return imageio.imwrite("<bytes>", sheet, extension=".webp", quality=75)
