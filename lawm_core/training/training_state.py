"""Checkpoints of a training run: weights, optimizer state and step, saved as named tensors.

There are two formats. `state.safetensors` is one file of full tensors, which rank 0 writes. `state-STEP/` is a folder
for large models, in which each rank writes its own shards in safetensors with `torch.distributed.checkpoint`. A run can
resume from either format, on any number of ranks, with DDP or FSDP2. progress.json names the current checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lawm_core.atomic_files import sync, write_text
from lawm_core.checkpoint import write_tensors
from lawm_core.runtime import barrier, gather_state, rank, shard_like
from lawm_core.schema import read_json_file
from lawm_core.types import CheckpointError

UNSHARDED, SHARDED, UNFINISHED = "state.safetensors", "state-", ".state-unfinished"
PROGRESS, MANIFEST = "progress.json", "manifest.json"


class TrainingState:
    """Gives access by name to the tensors of a run in memory: weights, optimizer state and step."""

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.module, self.optimizers = module, optimizers

    def tensors(self, step: int) -> dict[str, Tensor]:
        """Return all tensors to save, by name, including `step`.

        If FSDP2 shards the module, its tensors and those of its optimizers are sharded.
        """
        tensors = {f"module.{n}": t.detach() for n, t in self.module.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    tensors[f"optimizer.{i}.{index}.{slot}"] = torch.as_tensor(value).detach()
        return tensors | {"step": torch.tensor(step)}

    def allocate(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Return tensors into which a checkpoint can be loaded, by name. The step is not among them.

        The module's tensors are its own weights, so loading overwrites these in place. Tensors of the optimizers are
        new; pass them to `load` when they are filled.

        shapes: name and shape of every tensor in the checkpoint. Raises ValueError if they do not match
        this run, because the checkpoint is of another model or stage.
        """
        allocated = {f"module.{n}": t.detach() for n, t in self.module.state_dict().items()}
        saved_shapes = {name: shape for name, shape in shapes.items() if name.startswith("module.")}
        own_shapes = {name: tuple(tensor.shape) for name, tensor in allocated.items()}
        if wrong := sorted(name for name, _ in saved_shapes.items() ^ own_shapes.items()):
            own, saved = own_shapes.get(wrong[0], "missing"), saved_shapes.get(wrong[0], "missing")
            raise ValueError(f"the shape of {wrong[0]} is {saved} in the checkpoint and {own} in this run")
        for name in (n for n in shapes if n.startswith("optimizer.")):
            i, index, slot = name.split(".", 3)[1:]
            if int(i) >= len(self.optimizers) or int(index) >= len(self._parameters(int(i))):
                raise ValueError(f"the checkpoint has {name}, which this run does not have")
            parameter = self._parameters(int(i))[int(index)]
            allocated[name] = torch.zeros(()) if slot == "step" else torch.zeros_like(parameter.detach())
            if tuple(allocated[name].shape) != shapes[name]:
                raise ValueError(
                    f"the shape of {name} is {shapes[name]} in the checkpoint and {tuple(allocated[name].shape)} in "
                    "this run"
                )
        return allocated

    def load(self, filled: dict[str, Tensor]) -> None:
        """Set the state of the optimizers from tensors that `allocate` returned and that have been filled.

        The module needs no further step, because its weights have been overwritten in place.
        """
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name in (n for n in filled if n.startswith(f"optimizer.{i}.")):
                index, slot = name.split(".")[2:]
                state.setdefault(int(index), {})[slot] = filled[name]
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def _parameters(self, optimizer: int) -> list[Tensor]:
        return [p for group in self.optimizers[optimizer].param_groups for p in group["params"]]


def find_state(folder: Path) -> Path | None:
    """Return the path of a folder's current checkpoint, or None if the folder has no checkpoint.

    This is the checkpoint that progress.json names. If it names none that exists, it is the newest one.
    """
    try:
        named = folder / str(read_json_file(folder / PROGRESS)["save"])
    except (OSError, ValueError, KeyError, TypeError):  # the run was killed before it named a checkpoint
        named = None
    found = [*list_sharded(folder), *folder.glob(UNSHARDED)]
    return named if named in found else max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def read_precision(folder: Path) -> str | None:
    """Return the precision that progress.json records for the folder's checkpoint; None if it records none."""
    try:
        return str(read_json_file(folder / PROGRESS)["precision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_state(state: TrainingState, path: Path) -> int:
    """Load a checkpoint of either format and return its step.

    Raises CheckpointError if it is damaged or belongs to another model or stage.
    """
    return read_sharded(state, path) if path.is_dir() else read_unsharded(state, path)


def write_state(state: TrainingState, step: int, folder: Path, sharded: bool, metadata: dict) -> Path:
    """Write a checkpoint to a folder and return its path. Every rank must call this.

    The checkpoint becomes the current one when progress.json names it. After that, all other checkpoints in the folder
    are removed.

    sharded: write a folder of shards instead of one file. metadata: further entries of progress.json.
    """
    path = write_sharded(state, step, folder) if sharded else write_unsharded(state, step, folder)
    if rank() == 0:
        write_text(folder / PROGRESS, json.dumps({"step": step, "save": path.name, **metadata}, indent=1))
        for old in {*list_sharded(folder), *folder.glob(UNSHARDED)} - {path}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    barrier()
    return path


# ---- unsharded ------------------------------------------------------------------------------------------------------


def write_unsharded(state: TrainingState, step: int, folder: Path) -> Path:
    """Gather all tensors on rank 0, which writes them to state.safetensors. Return the file's path on every rank.

    Every rank must call this, because gathering sharded tensors is a collective operation.
    """
    if tensors := gather_state(state.tensors(step)):
        write_tensors(folder / UNSHARDED, tensors)
    return folder / UNSHARDED


def read_unsharded(state: TrainingState, path: Path) -> int:
    """Load a checkpoint from a file and return its step.

    Raises CheckpointError if it is damaged or belongs to another model or stage.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            allocated = allocate(state, shapes, path)
            with torch.no_grad():
                for name, tensor in allocated.items():
                    tensor.copy_(shard_like(file.get_tensor(name).to(tensor.device), tensor))
            step = int(file.get_tensor("step"))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it to start over.") from None
    state.load(allocated)
    return step


def allocate(state: TrainingState, shapes: dict[str, tuple[int, ...]], path: Path) -> dict[str, Tensor]:
    """Call `TrainingState.allocate` for the checkpoint at `path` and return its result.

    Raises CheckpointError, which names the path, if the checkpoint does not match this run or has no step.
    """
    if "step" not in shapes:
        raise CheckpointError(f"{path} has no tensor named step; delete it to start over.")
    try:
        return state.allocate(shapes)
    except ValueError as error:
        raise CheckpointError(
            f"{path} belongs to another model or stage: {error}. Train in another folder, or delete it to start over."
        ) from None


# ---- sharded --------------------------------------------------------------------------------------------------------


def list_sharded(folder: Path) -> list[Path]:
    """Return the folders of complete sharded checkpoints. An unfinished one has another name and is not listed."""
    return [p for p in folder.glob(f"{SHARDED}*") if (p / MANIFEST).is_file()]


def write_sharded(state: TrainingState, step: int, folder: Path) -> Path:
    """Write a new folder state-STEP, to which each rank adds its own shards. Return its path on every rank.

    Every rank must call this. The folder gets its final name only after all files are on the disk. If a folder of this
    name exists, from an earlier run, hyphens are appended to the name.
    """
    from torch.distributed import checkpoint

    part = folder / UNFINISHED
    if rank() == 0:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    barrier()
    writer = checkpoint.HuggingFaceStorageWriter(str(part), save_distributed=True)
    checkpoint.save(state.tensors(step), storage_writer=writer)
    barrier()
    names = (f"{SHARDED}{step}{'-' * hyphens}" for hyphens in count())
    home = next(folder / name for name in names if not (folder / name).exists())
    barrier()
    if rank() == 0:
        sizes = {file.name: file.stat().st_size for file in part.iterdir()}
        (part / MANIFEST).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        for file in part.iterdir():
            sync(file)
        sync(part)
        part.rename(home)
        sync(folder)
    return home


def check_shards(home: Path) -> None:
    """Raise CheckpointError if a file of a sharded checkpoint is missing or truncated.

    PyTorch's reader would load the remaining files without an error.
    """
    try:
        for name, size in read_json_file(home / MANIFEST).items():
            if not (home / name).is_file() or (home / name).stat().st_size != size:
                raise OSError(f"{name} is missing or truncated")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{home} is damaged ({error}); delete it to start over.") from None


def read_sharded(state: TrainingState, home: Path) -> int:
    """Load a checkpoint from a folder of shards and return its step.

    Raises CheckpointError if it is damaged or belongs to another model or stage.
    """
    from torch.distributed import checkpoint

    check_shards(home)
    try:
        reader = checkpoint.HuggingFaceStorageReader(str(home))
        shapes: dict[str, Any] = reader.read_metadata().state_dict_metadata
        allocated = allocate(state, {name: tuple(entry.size) for name, entry in shapes.items()}, home)
        allocated["step"] = torch.zeros((), dtype=torch.int64)
        checkpoint.load(allocated, storage_reader=reader)
    except (SafetensorError, OSError, KeyError, checkpoint.api.CheckpointException) as error:
        raise CheckpointError(f"{home} is damaged ({error}); delete it to start over.") from None
    step = int(allocated.pop("step"))
    state.load(allocated)
    return step
