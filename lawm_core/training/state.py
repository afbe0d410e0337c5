"""What a training run saves: weights, what the optimizers remember, and the step, as tensors by name.

Two forms on the disk. `state.safetensors` is one file of whole tensors, written by the first rank. `state-STEP/`, for
models too large for that, is a folder in which each rank writes its own pieces, by `torch.distributed.checkpoint` in
safetensors. Either is read by any number of ranks, with DDP or FSDP2, and a run that is resumed may write the other.
progress.json names the one that holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lawm_core.checkpoint import write_tensors
from lawm_core.contracts import CheckpointError
from lawm_core.runtime import cut_like, gathered, rank, wait_for_ranks
from lawm_core.saving import sync, write_text
from lawm_core.schema import read_json_file

WHOLE, PIECES, UNFINISHED = "state.safetensors", "state-", ".state-unfinished"
PROGRESS, MANIFEST = "progress.json", "pieces.json"


class TrainingState:
    """The tensors of a run, as they are in memory."""

    def __init__(self, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.module, self.optimizers = module, optimizers

    def tensors(self, step: int) -> dict[str, Tensor]:
        """All of them by name; those of a module in pieces are in pieces too."""
        tensors = {f"module.{n}": t.detach() for n, t in self.module.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    tensors[f"optimizer.{i}.{index}.{slot}"] = torch.as_tensor(value).detach()
        return tensors | {"step": torch.tensor(step)}

    def make_room(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Tensors to be filled, for a save of these names and shapes. ValueError where it is of another run."""
        room = {f"module.{n}": t.detach() for n, t in self.module.state_dict().items()}
        if wrong := sorted(n for n in set(room) | set(shapes) if n.startswith("module.") and
                           (n not in shapes or n not in room or tuple(room[n].shape) != shapes[n])):  # fmt: skip
            raise ValueError(f"{wrong[0]} does not fit")
        for name in (n for n in shapes if n.startswith("optimizer.")):
            i, index, slot = name.split(".", 3)[1:]
            parameter = self._parameters(int(i))[int(index)]
            room[name] = torch.zeros(()) if slot == "step" else torch.zeros_like(parameter.detach())
            if tuple(room[name].shape) != shapes[name]:
                raise ValueError(f"{name} does not fit")
        return room

    def take(self, filled: dict[str, Tensor]) -> None:
        """Goes on from tensors that `make_room` gave; a module's are in place already."""
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for name in (n for n in filled if n.startswith(f"optimizer.{i}.")):
                index, slot = name.split(".")[2:]
                state.setdefault(int(index), {})[slot] = filled[name]
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def _parameters(self, optimizer: int) -> list[Tensor]:
        return [p for group in self.optimizers[optimizer].param_groups for p in group["params"]]


def find_state(folder: Path) -> Path | None:
    """The folder's current save: the one that progress.json names, or the latest to be written; None without any."""
    try:
        named = folder / str(read_json_file(folder / PROGRESS)["save"])
    except (OSError, ValueError, KeyError, TypeError):  # of an older run, or killed before its first save was named
        named = None
    found = [*list_pieces(folder), *folder.glob(WHOLE)]
    return named if named in found else max(found, key=lambda place: place.stat().st_mtime_ns, default=None)


def read_precision(folder: Path) -> str | None:
    """Return the precision in which the folder's save was computed; None where the save does not say."""
    try:
        progress = read_json_file(folder / PROGRESS)
        before = "bf16" if progress["config"].get("bf16") else "float32"  # what older runs say
        return str(progress.get("precision", before))
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def read_state(state: TrainingState, place: Path) -> int:
    """The step of a save in either form, which is now the state's. CheckpointError where it is damaged or of another
    run.
    """
    return read_pieces(state, place) if place.is_dir() else read_whole(state, place)


def write_state(state: TrainingState, step: int, folder: Path, pieces: bool, about: dict) -> Path:
    """The save, which is the current one from the moment that progress.json names it; then others go.

    Every rank has to call. about: what else progress.json says.
    """
    place = write_pieces(state, step, folder) if pieces else write_whole(state, step, folder)
    if rank() == 0:
        write_text(folder / PROGRESS, json.dumps({"step": step, "save": place.name, **about}, indent=1))
        for old in {*list_pieces(folder), *folder.glob(WHOLE)} - {place}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    wait_for_ranks()
    return place


# ---- one file -------------------------------------------------------------------------------------------------------


def write_whole(state: TrainingState, step: int, folder: Path) -> Path:
    """state.safetensors, by the first rank."""
    if tensors := gathered(state.tensors(step)):
        write_tensors(folder / WHOLE, tensors)
    return folder / WHOLE


def read_whole(state: TrainingState, path: Path) -> int:
    """The step of the save, which is now the state's. CheckpointError where it is damaged or of another run."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            room = make_room(state, shapes, path)
            with torch.no_grad():
                for name, tensor in room.items():
                    tensor.copy_(cut_like(file.get_tensor(name).to(tensor.device), tensor))
            step = int(file.get_tensor("step"))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}); remove it to begin anew.") from None
    state.take(room)
    return step


def make_room(state: TrainingState, shapes: dict[str, tuple[int, ...]], path: Path) -> dict[str, Tensor]:
    """`TrainingState.make_room` for a file or folder, with errors that name it."""
    if "step" not in shapes:
        raise CheckpointError(f"{path} does not say at which step it was saved; remove it to begin anew.")
    try:
        return state.make_room(shapes)
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is of another model or stage: {error}.") from None


# ---- pieces ---------------------------------------------------------------------------------------------------------


def list_pieces(folder: Path) -> list[Path]:
    """Whole folders of pieces; one that was not finished has another name."""
    return [p for p in folder.glob(f"{PIECES}*") if (p / MANIFEST).is_file()]


def write_pieces(state: TrainingState, step: int, folder: Path) -> Path:
    """A new folder state-STEP, each rank its own pieces; it has its name when all of it is on the disk."""
    from torch.distributed import checkpoint

    part = folder / UNFINISHED
    if rank() == 0:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    wait_for_ranks()
    writer = checkpoint.HuggingFaceStorageWriter(str(part), save_distributed=True)
    checkpoint.save(state.tensors(step), storage_writer=writer)
    wait_for_ranks()
    names = (f"{PIECES}{step}{'-' * again}" for again in count())
    home = next(folder / name for name in names if not (folder / name).exists())  # an older run's may be in the way
    wait_for_ranks()
    if rank() == 0:
        sizes = {file.name: file.stat().st_size for file in part.iterdir()}
        (part / MANIFEST).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        for file in part.iterdir():
            sync(file)
        sync(part)
        part.rename(home)
        sync(folder)
    return home


def demand_every_piece(home: Path) -> None:
    """CheckpointError where a file that was written is gone or cut: what is left would be read without a word."""
    try:
        for name, size in read_json_file(home / MANIFEST).items():
            if not (home / name).is_file() or (home / name).stat().st_size != size:
                raise OSError(f"{name} is missing or not whole")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{home} is damaged ({error}); remove it to begin anew.") from None


def read_pieces(state: TrainingState, home: Path) -> int:
    """The step of the save, which is now the state's. CheckpointError where it is damaged or of another run."""
    from torch.distributed import checkpoint

    demand_every_piece(home)
    try:
        reader = checkpoint.HuggingFaceStorageReader(str(home))
        about = reader.read_metadata().state_dict_metadata
        room = make_room(state, {name: tuple(told.size) for name, told in about.items()}, home)
        room["step"] = torch.zeros((), dtype=torch.int64)
        checkpoint.load(room, storage_reader=reader)
    except (SafetensorError, OSError, KeyError, checkpoint.api.CheckpointException) as error:
        raise CheckpointError(f"{home} is damaged ({error}); remove it to begin anew.") from None
    step = int(room.pop("step"))
    state.take(room)
    return step
