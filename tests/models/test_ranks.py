"""Statistics are of the whole batch: two processes with half a batch each do what one does with all of it."""

import torch

from lawm_core.models.bottlenecks import DiscreteBottleneck, DiscreteConfig, SparseBottleneck, SparseConfig
from tests.ranks import run_ranks

RAW = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))
CAPACITY = torch.linspace(0, 1, 8)


def run_discrete(raw_BUX: torch.Tensor, capacity_B: torch.Tensor, seed: int) -> DiscreteBottleneck:
    """Three steps of a small codebook."""
    bottleneck = DiscreteBottleneck(DiscreteConfig(action_width=4, least_codes=2, most_codes=6)).train()
    torch.manual_seed(seed)
    for _ in range(3):
        bottleneck(raw_BUX, capacity_B)
    return bottleneck


def work(rank: int, folder: str) -> None:
    """One of two ranks."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    raw = RAW[half].clone().requires_grad_(True)
    out = SparseBottleneck(SparseConfig(action_width=4)).train()(raw, torch.full((4,), 0.5))
    # Ranks average gradients, so each asks for its own mean.
    (gradient,) = torch.autograd.grad(out.cost_BU.mean(), raw)
    code_KA = run_discrete(RAW[half], CAPACITY[half], seed=rank).code_KA
    torch.save((out.cost_BU.detach(), gradient, code_KA), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_do_what_one_does(tmp_path):
    run_ranks(work, (str(tmp_path),), 2)
    cost, gradient, code = zip(*(torch.load(tmp_path / f"{r}.pt", weights_only=True) for r in range(2)), strict=True)
    raw = RAW.clone().requires_grad_(True)
    out = SparseBottleneck(SparseConfig(action_width=4)).train()(raw, torch.full((8,), 0.5))
    torch.testing.assert_close(torch.cat(cost), out.cost_BU.detach())
    (whole,) = torch.autograd.grad(out.cost_BU.mean(), raw)
    # What the ranks' average amounts to: each rank's gradient is of half the rows, and the mean is of two ranks.
    torch.testing.assert_close(torch.cat(gradient) / 2, whole, atol=1e-6, rtol=1e-4)
    assert torch.equal(code[0], code[1])
    torch.testing.assert_close(code[0], run_discrete(RAW, CAPACITY, seed=0).code_KA)
