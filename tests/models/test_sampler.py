"""The flow learns what it is shown, depends on the state, and repeats with its generator."""

import pytest
import torch

from lawm_core.models.sampler import ActionSampler, SamplerConfig


def test_a_flow_learns_where_actions_lie_for_each_state():
    torch.manual_seed(0)
    sampler = ActionSampler(SamplerConfig(width=32, depth=2, readout=2, steps=16), 4, 6, 3).train()
    optimizer = torch.optim.AdamW(sampler.parameters(), lr=5e-3)
    for _ in range(400):
        side = (torch.rand(64) < 0.5).float() * 2 - 1
        state = side[:, None, None] * torch.ones(1, 4, 6) + 0.1 * torch.randn(64, 4, 6)
        action = side[:, None] * torch.tensor([2.0, -1.0, 0.0]) + 0.2 * torch.randn(64, 3)
        loss = sampler.loss(action, state, torch.ones(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampler.eval()
    for side in (1.0, -1.0):
        samples = sampler.sample(torch.full((256, 4, 6), side), torch.ones(256), torch.Generator().manual_seed(0))
        assert samples.mean(dim=0).tolist() == pytest.approx([2 * side, -side, 0], abs=0.3)
        assert samples.std(dim=0).max().item() < 0.5


def test_the_same_generator_gives_the_same_actions(tiny_model):
    state = torch.randn(3, 16, 64)
    draw = [
        tiny_model.sample_actions(state, capacity=0.5, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    ]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2]) and draw[0].shape == (3, 8)


def test_a_model_without_a_learned_sampler_says_what_it_has(tiny_model):
    with pytest.raises(ValueError, match="learned, prior"):
        tiny_model.sample_actions(torch.randn(1, 16, 64), sampler="guess")
