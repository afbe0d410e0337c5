"""Models on disk: a folder with config.json, safetensors shards of at most 16 MiB, their checksums and card.md.

Files are untrusted: their contents are checked before memory is allocated for them, and code that they name is imported
only if the caller allows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lawm_core.atomic_files import atomic_path
from lawm_core.meta_init import MetaInit
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.model_folders import find_model
from lawm_core.runtime import barrier, gather_state, pick_precision, rank
from lawm_core.schema import build_dataclass, file_sha256, read_json_file, shown
from lawm_core.types import CheckpointError

SHARD_BYTES = 15 * 2**20  # largest size of the tensors in a shard, unless it holds a single one
READERS = 2  # number of threads that read shards
FORMAT = 2
SUMS = "SHA256SUMS"  # in the format of `sha256sum --check`
SAME_MODEL = "Use config.json and weight files of the same model, or download both again."
SLACK_BYTES = 2**20  # memory that buffers may need which are computed and not stored
# While a model is built, one tensor may exceed the limit for the whole model by this factor: sizes are estimates.
META_INIT_FACTOR = 4


# ---- public names ---------------------------------------------------------------------------------------------------


def load_model(
    name: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "auto",
    trust_code: bool = False,
) -> LatentActionModel:
    """Load a model in evaluation mode with float32 weights.

    name: name of a shipped model, a folder, or `hub:owner/name`; None is the default model. precision: precision in
    which rollouts and frames are computed, `auto`, `float32` or `bf16` (see `runtime.pick_precision`). trust_code:
    whether config.json may name an encoder or bottleneck outside this package, whose module is then imported. Raises
    CheckpointError if the model cannot be used, ValueError for an unknown precision.
    """
    precision = pick_precision(precision, device)
    folder = find_model(name)
    config, shards = read_config(folder, trust_code), list_shards(folder)
    check_sums(folder, shards)
    model = build_to_fit(folder, config, shards)
    model.precision = precision
    fill(model, shards)
    return model.to(device).eval().requires_grad_(False)


def save_model(model: LatentActionModel, folder: str | Path, half: bool = False) -> Path:
    """Save a model to a folder as config.json, shards and checksums, and return the folder.

    Each file is written atomically, and older shards in the folder are deleted last. If the process is interrupted in
    between, the folder has files of two models; their checksums do not match, and `load_model` refuses them. In
    distributed training every rank must call this function, and rank 0 writes. half: store weights in float16, for
    publishing; not meant for further training. Raises ValueError if a weight is too large for float16.
    """
    folder = Path(folder)
    tensors = gather_state(model.state_dict())
    if rank() > 0:
        barrier()
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if half:
        weights = {name for name, _ in model.named_parameters()}
        # A codebook is a buffer, but as large as a weight; counters and statistics stay exact.
        weights |= {name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim > 1}
        tensors |= {name: to_half(name, tensors[name]) for name in weights}
    shards = split_shards(tensors)
    names = [f"model-{i + 1:02d}-of-{len(shards):02d}.safetensors" for i in range(len(shards))]
    config = json.dumps({"format": FORMAT, **dataclasses.asdict(model.config)}, indent=1) + "\n"
    with ExitStack() as stack:  # every file is on the disk before the first one is renamed
        sums = ""
        for name, shard in zip(names, shards, strict=True):
            part = stack.enter_context(atomic_path(folder / name))
            save_file(shard, part)
            sums += f"{file_sha256(Path(part))}  {name}\n"
        for name, text in (("config.json", config), (SUMS, sums)):
            Path(stack.enter_context(atomic_path(folder / name))).write_text(text, encoding="utf-8")
    for old in set(folder.glob("*.safetensors")) - {folder / n for n in names}:
        old.unlink()
    barrier()
    return folder


def fingerprint(name: str | Path | None = None) -> str:
    """Return a model's fingerprint: the first 16 hex digits of the SHA-256 of its config.json and shards.

    name: see `load_model`.
    """
    folder, digest = find_model(name), hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# ---- reading --------------------------------------------------------------------------------------------------------


def read_config(folder: Path, trust_code: bool = False) -> ModelConfig:
    """Read a folder's config.json. trust_code: see `load_model`.

    Raises CheckpointError if the file cannot be read or has unknown, missing or wrongly typed fields.
    """
    try:
        fields = read_json_file(folder / "config.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/config.json cannot be read as JSON: {error}.") from None
    version = fields.pop("format", None) if isinstance(fields, dict) else None
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        advice = "Update lawm_core." if newer else "Models of older versions must be trained again."
        raise CheckpointError(f"{folder.name}/config.json must have format {FORMAT}, got {shown(version)}. {advice}")
    try:
        return build_dataclass(ModelConfig, fields, allow_imports=trust_code)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a model: {error}") from None


def list_shards(folder: Path) -> list[Path]:
    """Return the files with the weights, sorted by name. Raises CheckpointError if there are none."""
    if not (shards := sorted(folder.glob("*.safetensors"))):
        raise CheckpointError(
            f"{folder.name} has no *.safetensors file with the model's weights. Copy or download the model again."
        )
    return shards


def check_sums(folder: Path, shards: Sequence[Path]) -> None:
    """Compare shards with their checksums in SHA256SUMS, if that file exists. Raises CheckpointError if one differs."""
    if not (folder / SUMS).is_file():
        return
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    with ThreadPoolExecutor(READERS) as readers:
        sums = list(readers.map(file_sha256, shards))
    for shard, digest in zip(shards, sums, strict=True):
        if expected.get(shard.name) != digest:
            raise CheckpointError(
                f"{shard.name} does not match {SUMS}; it is damaged or was replaced. Download it again."
            )


def build_to_fit(folder: Path, config: ModelConfig, shards: Sequence[Path]) -> LatentActionModel:
    """Build the model of a config with weights on the meta device, where they take no memory.

    Raises CheckpointError if the tensors in the shards are not those of the model, or if the model needs far more
    memory than the size of the shards, as a harmful config could.
    """
    shapes = {name: shape for shard in shards for name, shape in read_shapes(shard).items()}
    if (most := largest_count(config)) > len(shapes):
        raise CheckpointError(
            f"{folder.name}/config.json describes a model of at least {most} tensors, but the weight files have "
            f"{len(shapes)}. {SAME_MODEL}"
        )
    stored = sum(shard.stat().st_size for shard in shards)
    most = 2 * stored + SLACK_BYTES  # weights may be stored in float16 and are loaded in float32
    try:
        with MetaInit(META_INIT_FACTOR * most):
            sketch = LatentActionModel(config)
    except MemoryError:
        raise CheckpointError(
            f"{folder.name} was not loaded: config.json describes a model with a tensor of more than "
            f"{META_INIT_FACTOR * most >> 20} MiB, but the weight files have {stored >> 20} MiB. {SAME_MODEL}"
        ) from None
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{folder.name}/config.json does not describe a model: {error}") from None
    needed = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    for name, shape in shapes.items():
        if name not in needed:
            raise CheckpointError(
                f"{folder.name} has weights for a tensor {name}, which the model of config.json does not have. "
                f"{SAME_MODEL}"
            )
        if shape != needed[name]:
            raise CheckpointError(
                f"{folder.name}: {name} must have shape {needed[name]} by config.json, got {shape}. {SAME_MODEL}"
            )
    if missing := sorted(set(needed) - set(shapes)):
        raise CheckpointError(
            f"{folder.name} lacks {len(missing)} of the {len(needed)} tensors of its config.json; the first is "
            f"{missing[0]}. {SAME_MODEL}"
        )
    size = sum(t.nbytes for t in (*sketch.parameters(), *sketch.buffers()))
    if size > most:
        raise CheckpointError(
            f"{folder.name} was not loaded: config.json describes a model of {size >> 20} MiB, but the weight files "
            f"have {stored >> 20} MiB. {SAME_MODEL}"
        )
    return sketch


def read_shapes(shard: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a shard's tensors by name, from its header. Raises CheckpointError if it cannot be read."""
    try:
        with safe_open(shard, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{shard.name} is not a complete safetensors file ({error}). Copy or download it again."
        ) from None


def largest_count(config: Any) -> int:
    """Return the largest number of layers, families or robots in a config, a lower bound on the number of tensors.

    Each of them has tensors of its own. A config with more of them than the files have tensors is refused before its
    modules are built, which would take long.
    """
    if dataclasses.is_dataclass(config):
        parts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        depths = [value for name, value in parts.items() if name.endswith("depth") and isinstance(value, int)]
        return max([*depths, *map(largest_count, parts.values())], default=0)
    if isinstance(config, dict):
        return max([len(config), *map(largest_count, config.values())], default=0)
    return 0


def fill(model: LatentActionModel, shards: Sequence[Path]) -> None:
    """Load the weights from the shards into the model, several shards at a time."""
    wanted = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    with ThreadPoolExecutor(READERS) as readers:
        parts = readers.map(lambda shard: read_weights(shard, wanted), shards)
        weights = {name: weight for part in parts for name, weight in part.items()}
    model.load_state_dict(weights, assign=True)
    assert not any(x.is_meta for x in (*model.parameters(), *model.buffers())), "a buffer was not computed"


FROZEN_PARTS = ("encoder", "flow_reader")  # parts whose outputs all families are trained on


def init_from(model: LatentActionModel, folder: str | Path) -> tuple[str, ...]:
    """Initialise parts of a model from a saved one, and return the names of these parts.

    Encoder and flow reader are always initialised. The decoder and each family are initialised if the shapes of all
    their weights match. Raises CheckpointError if weights are damaged, or if those of the encoder or the flow reader
    are missing or have other shapes.
    """
    folder, state = Path(folder), model.state_dict()
    wanted = {name: tensor.dtype for name, tensor in state.items()}
    found = {name: weight for shard in list_shards(folder) for name, weight in read_weights(shard, wanted).items()}
    parts: dict[str, list[str]] = {}
    for name in state:
        top, _, rest = name.partition(".")
        parts.setdefault(rest.partition(".")[0] if top == "families" else top, []).append(name)
    taken = []
    for part, names in parts.items():
        unfit = [name for name in names if name not in found or found[name].shape != state[name].shape]
        if unfit and part in FROZEN_PARTS:
            raise CheckpointError(
                f"{folder.name} has no {unfit[0]} of shape {tuple(state[unfit[0]].shape)}. Choose a model with the "
                f"same {part.replace('_', ' ')}."
            )
        if not unfit and part in (*FROZEN_PARTS, "decoder", *model.families):
            model.load_state_dict({name: found[name] for name in names}, strict=False)
            taken.append(part)
    return tuple(taken)


def read_weights(shard: Path, wanted: Mapping[str, torch.dtype]) -> dict[str, torch.Tensor]:
    """Return those tensors of a shard that `wanted` names, converted to the dtypes in `wanted`.

    Raises CheckpointError if the file cannot be read or a value is not finite.
    """
    weights = {}
    try:
        with safe_open(shard, framework="pt") as tensors:
            for name in (name for name in tensors.keys() if name in wanted):
                weights[name] = tensors.get_tensor(name).to(wanted[name], copy=True)
                if not all_finite(weights[name]):
                    raise CheckpointError(
                        f"{shard.name}: {name} has values that are not finite. "
                        "The file is damaged, or training diverged."
                    )
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{shard.name} cannot be read: {error}.") from None
    return weights


def all_finite(tensor: torch.Tensor) -> bool:
    """Return whether all values are finite. Their sum is tested, which is far faster; if it overflows, in float64."""
    return bool(tensor.sum().isfinite() or tensor.sum(dtype=torch.float64).isfinite())


# ---- writing --------------------------------------------------------------------------------------------------------


def split_shards(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Split tensors, in order, into shards of at most SHARD_BYTES; a larger tensor is a shard of its own."""
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    return shards


def to_half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to float16. Raises ValueError with its name if a value is too large for float16."""
    half = tensor.half()
    if not half.isfinite().all():
        raise ValueError(
            f"{name} has values up to {tensor.abs().max():.3g}, but float16 allows up to 65504. "
            "Save the model in float32."
        )
    return half


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a safetensors file atomically."""
    with atomic_path(path) as part:
        save_file(tensors, part)
