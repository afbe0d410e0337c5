"""Laws of hiding."""

import torch

from lawm_core.training.masked import hide_blocks


def test_the_asked_share_is_hidden_in_blobs():
    torch.manual_seed(0)
    hidden_XN = hide_blocks(50, grid=8, share=0.5, device=torch.device("cpu"))
    assert (hidden_XN.sum(dim=1) == 32).all()
    grid = hidden_XN.unflatten(1, (8, 8))
    same = (grid[:, :, 1:] == grid[:, :, :-1]).float().mean()
    assert same > 0.65  # specks would agree with their neighbour half the time
