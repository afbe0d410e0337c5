"""Conversion of a state to a feature map that is finer than its token grid, and back.

A token of width D consists of subpatches**2 vectors with D / subpatches**2 channels, one for each of its sub-patches.
The vectors of all tokens, arranged in space, form a feature map. Motion by less than a token is a translation on it.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor


def feature_map_from_tokens(state_XND: Tensor, subpatches: int) -> Tensor:
    """Rearrange state_XND to map_XCHW with C = D / subpatches**2 and H = W = sqrt(N) * subpatches."""
    grid = int(state_XND.shape[1] ** 0.5)
    return rearrange(state_XND, "x (h w) (c i j) -> x c (h i) (w j)", h=grid, i=subpatches, j=subpatches)


def tokens_from_feature_map(map_XCHW: Tensor, subpatches: int) -> Tensor:
    """Rearrange map_XCHW to state_XND, the inverse of `feature_map_from_tokens`."""
    return rearrange(map_XCHW, "x c (h i) (w j) -> x (h w) (c i j)", i=subpatches, j=subpatches)
