"""Modules without weights: shapes without memory, tables that are right, nothing of a size that a file may invent."""

import pytest
import torch
from torch import nn

from lawm_core.sketch import WithoutWeights, most_elements


class Layer(nn.Module):
    """A weight, a small parameter of its own, and a table."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, size)
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.weight[:1] = torch.ones(3)
        self.scale = nn.Parameter(torch.tensor(2.0))
        line = torch.arange(size)
        self.register_buffer("table", line[:, None] + line, persistent=False)


def test_weights_have_shapes_alone_and_tables_their_values():
    with WithoutWeights(2**20):
        layer = Layer(4)
    assert layer.linear.weight.is_meta and layer.linear.weight.shape == (4, 3)
    assert torch.equal(layer.table, Layer(4).table)
    assert not torch.empty(1).is_meta, "outside of the context all is as ever"


def test_a_table_that_is_too_large_is_not_computed():
    with pytest.raises(MemoryError, match="0 MiB"), WithoutWeights(2**10):
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
def test_nothing_larger_than_allowed_is_computed(compute):
    assert compute().numel() > 128
    with pytest.raises(MemoryError), WithoutWeights(8 * 128):
        compute()


def test_what_broadcasts_is_not_counted_twice():
    assert most_elements("add", (torch.ones(5, 1), torch.ones(4))) == 20
    assert most_elements("add", (torch.ones(5), torch.ones(5))) == 5
    assert most_elements("clamp", (torch.ones(5), 0, 1000)) == 5
