"""A state as a feature map that is finer than its token grid."""

import torch

from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map


def test_feature_maps_and_tokens_hold_the_same_numbers():
    state_XND = torch.randn(3, 16, 32)
    map_XCHW = feature_map_from_tokens(state_XND, 4)
    assert map_XCHW.shape == (3, 2, 16, 16)
    assert torch.equal(tokens_from_feature_map(map_XCHW, 4), state_XND)


def test_a_token_holds_the_subpatches_at_its_place():
    map_XCHW = torch.arange(2.0 * 16 * 16).view(1, 2, 16, 16)
    token_XND = tokens_from_feature_map(map_XCHW, 4)
    assert token_XND.shape == (1, 16, 32)
    expected = map_XCHW[0, :, 4:8, 8:12]  # row 1, column 2 of a 4 x 4 grid
    assert torch.equal(token_XND[0, 1 * 4 + 2], expected.flatten())
