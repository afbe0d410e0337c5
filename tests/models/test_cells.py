"""Laws of a state's finer geometry."""

import torch

from lawm_core.models.cells import cells_from_tokens, displace, tokens_from_cells


def test_cells_and_tokens_are_the_same_numbers():
    state = torch.randn(3, 16, 32)
    assert torch.equal(tokens_from_cells(cells_from_tokens(state, 4), 4), state)
    assert cells_from_tokens(state, 4).shape == (3, 2, 16, 16)


def test_zero_flow_changes_nothing():
    cells = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(displace(cells, torch.zeros(2, 2, 8, 8)), cells, atol=1e-5, rtol=0)


def test_whole_flow_is_a_shift():
    cells = torch.randn(1, 3, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0] = 2  # what lies two to the right comes here
    flow[:, 1] = -1
    moved = displace(cells, flow)
    torch.testing.assert_close(moved[..., 1:, :6], cells[..., :-1, 2:], atol=1e-5, rtol=0)


def test_a_rollout_of_displacements_keeps_edges():
    """Eight half-cell steps there and back: linear resampling would keep a sixteenth of a checked cloth's contrast."""
    cells = (torch.arange(32)[None, :] // 2 + torch.arange(32)[:, None] // 2).remainder(2).float()[None, None]
    moved = cells
    for step in range(8):
        flow = torch.zeros(1, 2, 32, 32)
        flow[:, 0] = 0.5 if step % 2 else -0.5
        moved = displace(moved, flow)
    inside = (..., slice(8, -8), slice(8, -8))
    assert moved[inside].std() > 0.6 * cells[inside].std()
