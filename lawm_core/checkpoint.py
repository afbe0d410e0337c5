"""Models on disk: a folder with config.json, safetensors shards of at most 16 MiB and card.md. Data, never code."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.schema import build_dataclass, read_json

SHARD_BYTES = 15 * 2**20
FORMAT = 1
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"


# ---- public names ---------------------------------------------------------------------------------------------------


def list_models(folder: str | Path = SHIPPED) -> list[str]:
    """Names of the models in `folder`, the default first (the one named in default.txt, else the first by name)."""
    folder = Path(folder)
    names = sorted(p.parent.name for p in folder.glob("*/config.json"))
    default = folder / "default.txt"
    if default.is_file() and (first := default.read_text().strip()) in names:
        names.remove(first)
        names.insert(0, first)
    return names


def load_model(name: str | Path | None = None, device: str | torch.device = "cpu") -> LatentActionModel:
    """A model by shipped name or folder, ready to use (evaluation mode, float32); None takes the default.

    Raises CheckpointError that says what came and what is needed.
    """
    folder = find_model(name)
    model = LatentActionModel(read_config(folder))
    needed = model.state_dict()
    found: dict[str, torch.Tensor] = {}
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise CheckpointError(f"{folder.name} holds no *.safetensors file; needed: the model's weights.")
    for shard in shards:
        found.update(read_shard(shard, needed))
    if missing := sorted(set(needed) - set(found)):
        raise CheckpointError(f"{folder.name} lacks {len(missing)} of {len(needed)} tensors, {missing[0]} for one.")
    model.load_state_dict(found)
    return model.to(device).eval().requires_grad_(False)


def save_model(model: LatentActionModel, folder: str | Path, half: bool = False) -> Path:
    """Writes config.json and shards, each file whole or not at all; older shards of the folder go last.

    half: weights in half the bytes (float16; a model comes back in float32), for shipping rather than training on.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    if half:
        tensors |= {name: halved(name, tensors[name]) for name, _ in model.named_parameters()}
    shards = split_shards(tensors)
    names = [f"model-{i + 1:02d}-of-{len(shards):02d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        write_tensors(folder / name, shard)
    write_text(
        folder / "config.json", json.dumps({"format": FORMAT, **dataclasses.asdict(model.config)}, indent=1) + "\n"
    )
    for old in set(folder.glob("*.safetensors")) - {folder / n for n in names}:
        old.unlink()
    return folder


def fingerprint(name: str | Path | None = None) -> str:
    """The first 16 hex digits of the SHA-256 of a model's files: which weights a figure was measured on."""
    folder, digest = find_model(name), hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# ---- reading --------------------------------------------------------------------------------------------------------


def find_model(name: str | Path | None) -> Path:
    """The folder of a model given by shipped name, by path, or as None for the default."""
    if name is None:
        names = list_models()
        if not names:
            raise CheckpointError(f"no model is shipped in {SHIPPED.name}/; train one (make train) or name a folder.")
        name = names[0]
    for folder in (Path(name), SHIPPED / str(name)):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(
        f"model {str(name)!r} is neither a folder with config.json nor one of: "
        f"{', '.join(list_models()) or 'none shipped'}."
    )


def read_config(folder: Path) -> ModelConfig:
    """config.json as a ModelConfig; unknown, missing or ill-typed fields are a CheckpointError."""
    try:
        fields = read_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/config.json cannot be read as JSON: {error}.") from None
    if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
        raise CheckpointError(f"{folder.name}/config.json is not of format {FORMAT}.")
    try:
        return build_dataclass(ModelConfig, fields)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a model: {error}") from None


def read_shard(shard: Path, needed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A shard's tensors, each checked against the model's shape before it is read."""
    out = {}
    try:
        with safe_open(shard, framework="pt") as tensors:
            for name in tensors.keys():
                if name not in needed:
                    raise CheckpointError(f"{shard.name} holds {name}, which the model of config.json does not have.")
                shape = tuple(tensors.get_slice(name).get_shape())
                if shape != tuple(needed[name].shape):
                    raise CheckpointError(f"{shard.name}: {name} is {shape}; needed: {tuple(needed[name].shape)}.")
                out[name] = tensors.get_tensor(name).to(needed[name].dtype)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{shard.name} is not a whole safetensors file: {error}.") from None
    return out


# ---- writing --------------------------------------------------------------------------------------------------------


def split_shards(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Tensors in order, in groups of at most SHARD_BYTES."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """In float16; ValueError where that would lose a number altogether."""
    half = tensor.half()
    if not half.isfinite().all():
        raise ValueError(f"{name} holds {tensor.abs().max():.3g}; half precision ends at 65504.")
    return half


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A safetensors file, whole or not at all, on the disk before it takes its name."""
    with atomic_path(path) as part:
        save_file(tensors, part)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with atomic_path(path) as part:
        Path(part).write_text(text, encoding="utf-8")


class atomic_path:
    """A temporary name beside `path` that takes its place when the block ends well, and is removed when it does not."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> str:
        handle, self.part = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        os.close(handle)
        return self.part

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                sync(self.part)
                os.chmod(self.part, 0o644)
                os.replace(self.part, self.path)
                sync(self.path.parent)  # the new name too is on the disk, or a power cut brings the old file back
        finally:
            Path(self.part).unlink(missing_ok=True)


def sync(path: str | Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
