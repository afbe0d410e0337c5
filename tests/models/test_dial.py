"""Laws of the dial inside a network."""

import torch

from lawm_core.models.dial import CapacityGain, dial_settings


def test_a_gain_is_its_first_value_at_each_setting_and_linear_between():
    first = torch.tensor([0.0, 1.0, 3.0])
    gain = CapacityGain(first, 4)
    at = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    torch.testing.assert_close(gain(at), torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])[:, None].expand(-1, 4))


def test_what_one_end_learns_leaves_the_other_alone():
    gain = CapacityGain(torch.ones_like(dial_settings()), 4)
    gain(torch.tensor([0.0, 0.1])).sum().backward()
    assert gain.gain_KA.grad[:2].abs().min() > 0 and gain.gain_KA.grad[2:].abs().max() == 0
