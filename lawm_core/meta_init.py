"""Build modules without memory for their weights, which are loaded from files afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLS = {"zero_", "fill_", "uniform_", "normal_", "copy_", "__setitem__"}  # tensor methods that initialise weights
SIZED = {  # functions whose integer arguments are sizes
    "arange", "linspace", "zeros", "ones", "full", "eye", "rand", "randn", "randint", "randperm", "new_zeros",
    "new_ones", "new_full", "repeat", "tile", "repeat_interleave",
}  # fmt: skip
# Functions whose result can have as many elements as the product of the arguments' sizes.
OUTER = {"einsum", "cartesian_prod", "combinations", "outer", "kron", "meshgrid", "tensordot", "cdist", "matmul"}


class MetaInit(TorchFunctionMode):
    """Context manager in which modules are built with parameters on the meta device; buffers are computed as usual.

    Parameters have a shape but neither memory nor values. `torch.device("meta")` is no replacement: it would also leave
    non-persistent buffers without values, and would import modules of PyTorch for two seconds. Raises MemoryError
    before a tensor of more than `max_bytes` is computed, because an untrusted config can ask for any size.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            return func(*args, **{**kwargs, "device": "meta"})
        name, target = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")
        if isinstance(target, Tensor) and target.is_meta:
            is_init = name in FILLS or getattr(func, "__module__", "") == "torch.nn.init"
            return target if is_init else func(*args, **kwargs)
        if 8 * max_elements(name, (*args, *kwargs.values())) > self.max_bytes:
            raise MemoryError(f"{name} would need more than {self.max_bytes >> 20} MiB")
        return func(*args, **kwargs)


def max_elements(name: str, values: Iterable[object]) -> int:
    """Return an upper bound on the number of elements of a function's result.

    name: name of the function. values: its arguments. The bound is the number of elements of the broadcast tensors or,
    for functions in OUTER, the product of their numbers of elements. For functions in SIZED it is multiplied by all
    integer arguments.
    """
    values = list(flatten(values))
    shapes = [value.shape for value in values if isinstance(value, Tensor) and not value.is_meta]
    if name in OUTER:
        most = math.prod(map(math.prod, shapes))
    else:  # broadcast from the last axis; torch.broadcast_shapes is slow to import
        most = math.prod(map(max, zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)))
    return most * math.prod(max(1, abs(value)) for value in values if type(value) is int and name in SIZED)


def flatten(values: Iterable[object]) -> Iterable[object]:
    """Yield the values of nested tuples and lists."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from flatten(value)
        else:
            yield value
