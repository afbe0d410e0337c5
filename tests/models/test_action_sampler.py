"""The action sampler learns a conditional distribution and is deterministic given a generator."""

import pytest
import torch

from lawm_core.models.action_sampler import ActionSampler, SamplerConfig
from lawm_core.models.geometry import FrameGeometry

GEOMETRY = FrameGeometry(frame_size=16, patch_size=8, width=6, subpatches=1)  # 4 tokens of 6 channels


def test_samples_follow_the_distribution_of_actions_in_each_state():
    torch.manual_seed(0)
    sampler = ActionSampler(SamplerConfig(width=32, depth=2, readout=2, steps=16), GEOMETRY, action_width=3).train()
    optimizer = torch.optim.AdamW(sampler.parameters(), lr=5e-3)
    for _ in range(400):
        sign_B = (torch.rand(64) < 0.5).float() * 2 - 1
        state_BND = sign_B[:, None, None] * torch.ones(1, 4, 6) + 0.1 * torch.randn(64, 4, 6)
        action_BA = sign_B[:, None] * torch.tensor([2.0, -1.0, 0.0]) + 0.2 * torch.randn(64, 3)
        loss = sampler.loss(action_BA, state_BND, torch.ones(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sampler.eval()
    for sign in (1.0, -1.0):
        state_BND = torch.full((256, 4, 6), sign)
        sample_BA = sampler.sample(state_BND, torch.ones(256), torch.Generator().manual_seed(0))
        assert sample_BA.mean(dim=0).tolist() == pytest.approx([2 * sign, -sign, 0], abs=0.3)
        assert sample_BA.std(dim=0).max().item() < 0.5


@pytest.mark.parametrize("sampler", ["learned", "prior"])
def test_equal_generators_give_equal_actions(tiny_model, sampler):
    state_BND, noisy = torch.randn(3, 16, 64), tiny_model.at("noisy", 0.5)
    draw = lambda seed: noisy.sample_actions(state_BND, sampler, torch.Generator().manual_seed(seed))
    assert draw(0).shape == (3, 8)
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


def test_unknown_sampler_raises(tiny_model):
    assert tiny_model.at().samplers == ("learned", "prior")
    with pytest.raises(ValueError, match="sampler must be one of learned, prior for noisy, got 'guess'"):
        tiny_model.at().sample_actions(torch.randn(1, 16, 64), sampler="guess")
