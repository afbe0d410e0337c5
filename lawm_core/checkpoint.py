"""Models on disk: a folder with config.json, safetensors shards of at most 16 MiB, their sums and card.md.

Data, never code: what a file claims is checked before anything is allocated for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.model_folders import find_model, list_models
from lawm_core.runtime import gathered, pick_precision, rank, wait_for_ranks
from lawm_core.saving import atomic_path
from lawm_core.schema import build_dataclass, read_json_file, sum_of
from lawm_core.sketch import WithoutWeights

__all__ = ["find_model", "fingerprint", "list_models", "load_model", "save_model"]

SHARD_BYTES = 15 * 2**20
READERS = 2  # threads that read shards
FORMAT = 1
SUMS = "SHA256SUMS"  # as `sha256sum --check` reads it
SLACK_BYTES = 2**20  # that a model may need beyond twice its files: tables that are computed
SKETCH_SHARE = 4  # times as much as a model may need, for one step of computing its tables: bounds are rough


# ---- public names ---------------------------------------------------------------------------------------------------


def load_model(
    name: str | Path | None = None, device: str | torch.device = "cpu", precision: str = "auto"
) -> LatentActionModel:
    """A model, ready to use (evaluation mode, float32 weights): by shipped name, folder or `hub:owner/name`; None takes
    the default.

    precision: `auto`, `float32` or `bf16`, in which rollouts and pictures are computed (see `runtime.pick_precision`).
    Raises CheckpointError that says what came and what is needed, ValueError for an unknown precision.
    """
    precision = pick_precision(precision, device)
    folder = find_model(name)
    config, shards = read_config(folder), list_shards(folder)
    check_sums(folder, shards)
    model = build_to_fit(folder, config, shards)
    model.precision = precision
    fill(model, shards)
    return model.to(device).eval().requires_grad_(False)


def save_model(model: LatentActionModel, folder: str | Path, half: bool = False) -> Path:
    """Writes config.json, shards and their sums, each file whole or not at all; older shards of the folder go last.

    Where it is cut off between two names, the sums do not fit the shards, and the mixture is refused.

    Of several ranks every one has to call; the first writes. half: weights in half the bytes (float16; a model comes
    back in float32), for shipping rather than training on.
    """
    folder = Path(folder)
    tensors = gathered(model.state_dict())
    if rank() > 0:
        wait_for_ranks()
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if half:
        weights = {name for name, _ in model.named_parameters()}
        # A codebook is no parameter, but as large as one; counters and statistics stay exact.
        weights |= {name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim > 1}
        tensors |= {name: halved(name, tensors[name]) for name in weights}
    shards = split_shards(tensors)
    names = [f"model-{i + 1:02d}-of-{len(shards):02d}.safetensors" for i in range(len(shards))]
    config = json.dumps({"format": FORMAT, **dataclasses.asdict(model.config)}, indent=1) + "\n"
    with ExitStack() as stack:  # every file is on the disk before the first takes its name
        sums = ""
        for name, shard in zip(names, shards, strict=True):
            part = stack.enter_context(atomic_path(folder / name))
            save_file(shard, part)
            sums += f"{sum_of(Path(part))}  {name}\n"
        for name, text in (("config.json", config), (SUMS, sums)):
            Path(stack.enter_context(atomic_path(folder / name))).write_text(text, encoding="utf-8")
    for old in set(folder.glob("*.safetensors")) - {folder / n for n in names}:
        old.unlink()
    wait_for_ranks()
    return folder


def fingerprint(name: str | Path | None = None) -> str:
    """The first 16 hex digits of the SHA-256 of a model's files: which weights a figure was measured on."""
    folder, digest = find_model(name), hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# ---- reading --------------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> ModelConfig:
    """config.json as a ModelConfig; unknown, missing or ill-typed fields are a CheckpointError."""
    try:
        fields = read_json_file(folder / "config.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/config.json cannot be read as JSON: {error}.") from None
    if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
        raise CheckpointError(f"{folder.name}/config.json is not of format {FORMAT}.")
    try:
        return build_dataclass(ModelConfig, fields)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a model: {error}") from None


def list_shards(folder: Path) -> list[Path]:
    """The files with the weights."""
    if not (shards := sorted(folder.glob("*.safetensors"))):
        raise CheckpointError(f"{folder.name} holds no *.safetensors file; needed: the model's weights.")
    return shards


def check_sums(folder: Path, shards: Sequence[Path]) -> None:
    """Each shard against its line of SHA256SUMS, where that file lies beside them: a single turned bit shows."""
    if not (folder / SUMS).is_file():
        return
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    told = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    with ThreadPoolExecutor(READERS) as readers:
        sums = list(readers.map(sum_of, shards))
    for shard, digest in zip(shards, sums, strict=True):
        if told.get(shard.name) != digest:
            raise CheckpointError(f"{shard.name} is not the file that {SUMS} names; it is damaged or was replaced.")


def build_to_fit(folder: Path, config: ModelConfig, shards: Sequence[Path]) -> LatentActionModel:
    """The model of the config, its weights without memory, once the files are known to hold just these weights."""
    shapes = {name: shape for shard in shards for name, shape in read_shapes(shard).items()}
    if (most := largest_count(config)) > len(shapes):
        raise CheckpointError(f"{folder.name}/config.json asks for {most} parts; the files hold {len(shapes)} tensors.")
    most = 2 * sum(shard.stat().st_size for shard in shards) + SLACK_BYTES
    try:
        with WithoutWeights(SKETCH_SHARE * most):
            sketch = LatentActionModel(config)
    except MemoryError:
        raise CheckpointError(f"{folder.name}/config.json asks for tables far larger than the model's files.") from None
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a model: {error}") from None
    needed = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name, shape in shapes.items():
        if name not in needed:
            raise CheckpointError(f"{folder.name} holds {name}, which the model of config.json does not have.")
        if shape != needed[name]:
            raise CheckpointError(f"{folder.name}: {name} is {shape}; needed: {needed[name]}.")
    if missing := sorted(set(needed) - set(shapes)):
        raise CheckpointError(f"{folder.name} lacks {len(missing)} of {len(needed)} tensors, {missing[0]} for one.")
    size = sum(t.nbytes for t in (*sketch.parameters(), *sketch.buffers()))
    if size > most:
        raise CheckpointError(f"{folder.name} would need {size >> 20} MiB, more than twice its files.")
    return sketch


def read_shapes(shard: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a shard's tensors, from its header."""
    try:
        with safe_open(shard, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{shard.name} is not a whole safetensors file: {error}.") from None


def largest_count(config: object) -> int:
    """The most layers, families or robots that a config asks for anywhere: each brings tensors of its own."""
    if dataclasses.is_dataclass(config):
        parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        depths = [value for name, value in parts.items() if name.endswith("depth") and isinstance(value, int)]
        return max([*depths, *map(largest_count, parts.values())], default=0)
    if isinstance(config, dict):
        return max([len(config), *map(largest_count, config.values())])
    return 0


def fill(model: LatentActionModel, shards: Sequence[Path]) -> None:
    """Give the model its weights: read by memory map, in memory of the model's own, several shards at a time."""
    wanted = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    with ThreadPoolExecutor(READERS) as readers:
        parts = readers.map(lambda shard: read_weights(shard, wanted), shards)
        weights = {name: weight for part in parts for name, weight in part.items()}
    model.load_state_dict(weights, assign=True)
    assert not any(x.is_meta for x in (*model.parameters(), *model.buffers())), "a table was not computed"


FRONT_END = ("encoder", "flow_reader")  # what every family of a model trains on, frozen


def start_from(model: LatentActionModel, folder: str | Path) -> tuple[str, ...]:
    """Give a fresh model the parts of a saved one: encoder and flow reader, and each of decoder and families that has
    the same weights in the same shapes. Return the names of the parts taken; all others stay as they are.

    Raises CheckpointError where weights are missing or damaged, or encoder or flow reader do not fit.
    """
    folder, state = Path(folder), model.state_dict()
    wanted = {name: tensor.dtype for name, tensor in state.items()}
    found = {name: weight for shard in list_shards(folder) for name, weight in read_weights(shard, wanted).items()}
    parts: dict[str, list[str]] = {}
    for name in state:
        top, _, rest = name.partition(".")
        parts.setdefault(rest.partition(".")[0] if top == "members" else top, []).append(name)
    taken = []
    for part, names in parts.items():
        unfit = [name for name in names if name not in found or found[name].shape != state[name].shape]
        if unfit and part in FRONT_END:
            raise CheckpointError(f"{folder.name} holds no {unfit[0]} of shape {tuple(state[unfit[0]].shape)}.")
        if not unfit and part in (*FRONT_END, "decoder", *model.families, *model.references):
            model.load_state_dict({name: found[name] for name in names}, strict=False)
            taken.append(part)
    return tuple(taken)


def read_weights(shard: Path, wanted: Mapping[str, torch.dtype]) -> dict[str, torch.Tensor]:
    """Return the wanted tensors of a shard, by name and in these dtypes. CheckpointError if any is not finite."""
    weights = {}
    try:
        with safe_open(shard, framework="pt") as tensors:
            for name in filter(wanted.__contains__, tensors.keys()):
                weights[name] = tensors.get_tensor(name).to(wanted[name], copy=True)
                if not all_finite(weights[name]):
                    raise CheckpointError(f"{shard.name}: {name} holds numbers that are not finite.")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{shard.name} cannot be read: {error}.") from None
    return weights


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether every number is finite, by their sum: far quicker than one by one. float64 decides where large numbers
    are too much for float32.
    """
    return bool(tensor.sum().isfinite() or tensor.sum(dtype=torch.float64).isfinite())


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
