"""Statistics of bottlenecks are of the whole batch: two ranks with half a batch each compute what one rank does."""

import torch

from lawm_core.models.bottlenecks import DiscreteBottleneck, DiscreteConfig, SparseBottleneck, SparseConfig
from tests.ranks import run_ranks

INPUT = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))
CAPACITY = torch.linspace(0, 1, 8)


def run_discrete(input_BUX: torch.Tensor, capacity_B: torch.Tensor, seed: int) -> DiscreteBottleneck:
    """Run three training steps of a small codebook."""
    bottleneck = DiscreteBottleneck(DiscreteConfig(action_width=4, min_codes=2, max_codes=6)).train()
    torch.manual_seed(seed)
    for _ in range(3):
        bottleneck(input_BUX, capacity_B)
    return bottleneck


def work(rank: int, folder: str) -> None:
    """Run one of two ranks and save its results."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    input_BUX = INPUT[half].clone().requires_grad_(True)
    out = SparseBottleneck(SparseConfig(action_width=4)).train()(input_BUX, torch.full((4,), 0.5))
    # Ranks average their gradients, so each differentiates its own mean.
    (gradient,) = torch.autograd.grad(out.cost_BU.mean(), input_BUX)
    code_ZA = run_discrete(INPUT[half], CAPACITY[half], seed=rank).code_ZA
    torch.save((out.cost_BU.detach(), gradient, code_ZA), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_compute_what_one_rank_does(tmp_path):
    run_ranks(work, (str(tmp_path),), 2)
    cost, gradient, code = zip(*(torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2)), strict=True)
    input_BUX = INPUT.clone().requires_grad_(True)
    out = SparseBottleneck(SparseConfig(action_width=4)).train()(input_BUX, torch.full((8,), 0.5))
    torch.testing.assert_close(torch.cat(cost), out.cost_BU.detach())
    (expected,) = torch.autograd.grad(out.cost_BU.mean(), input_BUX)
    # A rank's gradient is of the mean of half the rows, so averaging over ranks halves it.
    torch.testing.assert_close(torch.cat(gradient) / 2, expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(code[0], code[1])
    torch.testing.assert_close(code[0], run_discrete(INPUT, CAPACITY, seed=0).code_ZA)
