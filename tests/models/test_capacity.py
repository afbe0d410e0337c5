"""Conditioning on capacity."""

import torch

from lawm_core.models.capacity import CapacityEmbedding, CapacityGain, capacity_grid


def test_an_untrained_gain_interpolates_its_initial_values_linearly():
    gain = CapacityGain(torch.tensor([0.0, 1.0, 3.0]), 4)
    capacity_B = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    torch.testing.assert_close(gain(capacity_B), torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])[:, None].expand(-1, 4))


def test_initial_values_can_differ_between_dimensions():
    init_KA = torch.tensor([[0.0, 4.0], [1.0, 2.0]])
    torch.testing.assert_close(CapacityGain(init_KA, 2)(torch.tensor([0.5])), torch.tensor([[0.5, 3.0]]))


def test_training_at_low_capacity_leaves_the_gain_at_high_capacity_unchanged():
    gain = CapacityGain(torch.ones_like(capacity_grid()), 4)
    gain(torch.tensor([0.0, 0.1])).sum().backward()
    assert gain.gain_KA.grad[:2].abs().min() > 0 and gain.gain_KA.grad[2:].abs().max() == 0


def test_embeddings_of_clips_do_not_depend_on_each_other():
    torch.manual_seed(0)
    embed, capacity_B = CapacityEmbedding(16), torch.tensor([0.0, 0.4, 1.0])
    together = embed(capacity_B)
    torch.testing.assert_close(together[1:2], embed(capacity_B[1:2]))
    assert (together.diff(dim=0).abs().amax(dim=1) > 1e-3).all()
