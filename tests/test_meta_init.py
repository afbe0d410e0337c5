"""`MetaInit` builds modules without allocating weights, computes buffers, and limits their size."""

import pytest
import torch
from torch import nn

from lawm_core.meta_init import MetaInit, max_elements


class Layer(nn.Module):
    """A module with a weight, a parameter computed from a number, and a computed buffer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, size)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.weight[:1] = torch.ones(3)
        self.scale = nn.Parameter(torch.tensor(2.0))
        index = torch.arange(size)
        self.register_buffer("table", index[:, None] + index, persistent=False)


def test_weights_are_on_the_meta_device_and_buffers_are_computed():
    with MetaInit(2**20):
        layer = Layer(4)
    assert layer.linear.weight.is_meta and layer.linear.weight.shape == (4, 3)
    assert torch.equal(layer.table, Layer(4).table)
    assert not torch.empty(1).is_meta, "the mode ends with the context"


def test_a_buffer_above_the_limit_raises():
    with pytest.raises(MemoryError, match="would need more than 0 MiB"), MetaInit(2**10):
        Layer(64)


@pytest.mark.parametrize(
    "compute",
    [
        lambda: torch.arange(1000),
        lambda: torch.zeros(10, 100),
        lambda: torch.ones((10, 100)),
        lambda: torch.linspace(0, 1, steps=1000),
        lambda: torch.cartesian_prod(torch.arange(30), torch.arange(30)),
        lambda: torch.einsum("a, b -> a b", torch.ones(30), torch.ones(30)),
        lambda: torch.ones(30)[:, None] * torch.ones(30),
        lambda: torch.ones(30).repeat(30),
    ],
)
def test_no_function_can_exceed_the_limit(compute):
    assert compute().numel() > 128
    with pytest.raises(MemoryError), MetaInit(8 * 128):
        compute()


def test_broadcast_sizes_are_not_multiplied_twice():
    assert max_elements("add", (torch.ones(5, 1), torch.ones(4))) == 20
    assert max_elements("add", (torch.ones(5), torch.ones(5))) == 5
    assert max_elements("clamp", (torch.ones(5), 0, 1000)) == 5
