"""On a Space with ZeroGPU: whole results are computed on a GPU that is borrowed for each of them.

Only functions that `spaces` has wrapped see a GPU there. They run in processes of their own: arguments and answers are
pickled, and whatever else they change is lost. So results, which need nothing but a recipe and its clips, are computed
there; all that is short or goes on from step to step (previews, drives, the map) stays with the model on the CPU.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import TypeVar

import gradio as gr
import numpy as np
import torch

import lawm_core as lawm
from app.options import is_announced
from app.studio import Compute, Progress

__all__ = ["borrow_gpu", "is_announced"]

DEVICE = "cuda"
SECONDS = 20  # that a result may take once it has a GPU; as much must be left of a visitor's share
BROKEN = "ZeroGPU worker error"  # the title that `spaces` gives to faults of ours; all its other errors are for people

Parcel = TypeVar("Parcel", lawm.Clip, lawm.Transfer)


def borrow_gpu(model: lawm.LatentActionModel) -> Compute:
    """`lawm.perform` on a borrowed GPU with a copy of the model, for `Studio.elsewhere`.

    To be called before the page is launched: a Space that has wrapped nothing by then is refused. What it makes raises
    ValueError where `lawm.perform` does, and where no GPU can be had; who asks is read from Gradio's own request.
    """
    import spaces  # there where ZeroGPU is announced, and nowhere else

    there = copy.deepcopy(model).to(DEVICE)

    @spaces.GPU(duration=SECONDS)
    def compute(recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip) -> lawm.Transfer | ValueError:
        try:
            return pack(lawm.perform(there, recipe, source and unpack(source), unpack(target)))
        except ValueError as error:  # handed over, since of what is raised only the class's name gets through
            return error

    def compute_or_say(
        recipe: lawm.Recipe, source: lawm.Clip | None, target: lawm.Clip, report: Progress
    ) -> lawm.Transfer:
        report(0.0, "Computing on a borrowed GPU, as soon as there is one")
        try:
            found = compute(recipe, source and pack(source), pack(target))
        except gr.Error as error:
            kind = RuntimeError if error.title == BROKEN else ValueError
            raise kind(str(error.message).strip()) from error
        if isinstance(found, ValueError):
            raise found
        return unpack(found)

    return compute_or_say


def pack(parcel: Parcel) -> Parcel:
    """With arrays in the place of tensors, to be pickled.

    Pickled tensors would move to shared memory, of which a container may have little, and stay there while a cache
    keeps them.
    """
    return replace(parcel, **{name: x.numpy() for name, x in contents(parcel) if isinstance(x, torch.Tensor)})


def unpack(parcel: Parcel) -> Parcel:
    """What was packed."""
    return replace(parcel, **{name: torch.from_numpy(x) for name, x in contents(parcel) if isinstance(x, np.ndarray)})


def contents(parcel: Parcel) -> list[tuple[str, object]]:
    """Every field by name."""
    return [(field.name, getattr(parcel, field.name)) for field in fields(parcel)]
