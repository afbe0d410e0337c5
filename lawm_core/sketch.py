"""Modules without weights: every parameter has its shape and no memory, until a file's tensors take its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLS = {"zero_", "fill_", "uniform_", "normal_", "copy_", "__setitem__"}  # what initialisation does to a weight
SIZED = {  # functions whose result is as large as their numbers say
    "arange", "linspace", "zeros", "ones", "full", "eye", "rand", "randn", "randint", "randperm", "new_zeros",
    "new_ones", "new_full", "repeat", "tile", "repeat_interleave",
}  # fmt: skip
OUTER = {"einsum", "cartesian_prod", "combinations", "outer", "kron", "meshgrid", "tensordot", "cdist", "matmul"}


class WithoutWeights(TorchFunctionMode):
    """Context in which layers are built on the meta device and not initialised, while tables are computed for real.

    `torch.device("meta")` would keep tables (non-persistent buffers) from being computed, and PyTorch takes two seconds
    to import what it needs to foresee their shapes. Raises MemoryError before anything of more than `most_bytes` is
    computed: a config may ask for any size.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self.most_bytes = most_bytes

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            return func(*args, **{**kwargs, "device": "meta"})
        name, target = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")
        if isinstance(target, Tensor) and target.is_meta:
            initialises = name in FILLS or getattr(func, "__module__", "") == "torch.nn.init"
            return target if initialises else func(*args, **kwargs)
        if 8 * most_elements(name, (*args, *kwargs.values())) > self.most_bytes:
            raise MemoryError(f"{name} would need more than {self.most_bytes >> 20} MiB")
        return func(*args, **kwargs)


def most_elements(name: str, values: Iterable[object]) -> int:
    """An upper bound on the elements of a function's result: what its tensors broadcast to, their product where the
    function multiplies shapes, and as much as its numbers say where these are sizes.
    """
    values = list(flatten(values))
    shapes = [value.shape for value in values if isinstance(value, Tensor) and not value.is_meta]
    if name in OUTER:
        most = math.prod(map(math.prod, shapes))
    else:  # side by side from the last axis on, as broadcasting does; torch.broadcast_shapes is slow to import
        most = math.prod(map(max, zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)))
    return most * math.prod(max(1, abs(value)) for value in values if type(value) is int and name in SIZED)


def flatten(values: Iterable[object]) -> Iterable[object]:
    """Values of nested tuples and lists, one after another."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from flatten(value)
        else:
            yield value
