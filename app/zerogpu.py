"""Results on a Space with ZeroGPU, which assigns a GPU to each function call.

Only functions wrapped by `spaces.GPU` have a GPU. They run in other processes: arguments and results are pickled, and
all other changes are lost. Whole results are computed there, because they need only a replay spec and its clips.
Previews, drives and the action map are computed in this process, on the CPU.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import TypeVar

import gradio as gr
import numpy as np
import torch

import lawm_core as lawm
from app.studio import Compute, Progress

DEVICE = "cuda"
MAX_SECONDS = 20  # GPU time reserved for a result; ZeroGPU rejects users with less quota left
# Title of the errors that `spaces` raises if the wrapped function fails. Its other errors have messages for users.
WORKER_ERROR_TITLE = "ZeroGPU worker error"

Data = TypeVar("Data", lawm.Clip, lawm.Transfer)


def zerogpu_compute(model: lawm.LatentActionModel) -> Compute:
    """Return a function for `Studio.remote_compute` that runs `lawm.run_spec` on ZeroGPU with a copy of the model.

    Call it before the page is launched, because ZeroGPU rejects a Space that has no wrapped function by then. The
    returned function raises ValueError if the spec or a clip is invalid, or if the user gets no GPU. It must be called
    while a Gradio request is handled, from which `spaces` knows the user.
    """
    import spaces  # installed only where it is needed

    gpu_model = copy.deepcopy(model).to(DEVICE)

    @spaces.GPU(duration=MAX_SECONDS)
    def run(spec: lawm.ReplaySpec, source: lawm.Clip | None, target: lawm.Clip) -> lawm.Transfer | ValueError:
        try:
            return to_numpy(lawm.run_spec(gpu_model, spec, source and to_torch(source), to_torch(target)))
        except ValueError as error:  # returned, because `spaces` reports only the class name of raised errors
            return error

    def compute(spec: lawm.ReplaySpec, source: lawm.Clip | None, target: lawm.Clip, report: Progress) -> lawm.Transfer:
        report(0.0, "Waiting for a GPU")
        try:
            result = run(spec, source and to_numpy(source), to_numpy(target))
        except gr.Error as error:
            kind = RuntimeError if error.title == WORKER_ERROR_TITLE else ValueError
            raise kind(str(error.message).strip()) from error
        if isinstance(result, ValueError):
            raise result
        return to_torch(result)

    return compute


def to_numpy(data: Data) -> Data:
    """Replace the tensors of a dataclass by arrays, to pickle it.

    Pickling would move tensors to shared memory, which is scarce in containers, and they would stay there as long as a
    cache keeps them.
    """
    return replace(data, **{name: x.numpy() for name, x in field_values(data) if isinstance(x, torch.Tensor)})


def to_torch(data: Data) -> Data:
    """Replace the arrays of a dataclass by tensors; the inverse of `to_numpy`."""
    return replace(data, **{name: torch.from_numpy(x) for name, x in field_values(data) if isinstance(x, np.ndarray)})


def field_values(data: Data) -> list[tuple[str, object]]:
    """Return the name and the value of each field of a dataclass."""
    return [(field.name, getattr(data, field.name)) for field in fields(data)]
