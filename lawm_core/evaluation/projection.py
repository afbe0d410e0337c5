"""Many numbers to two, for looking at: neighbours stay neighbours (UMAP, McInnes et al., arXiv 1802.03426)."""

from __future__ import annotations

import torch
from torch import Tensor


def umap_places(vector_XA: Tensor, seed: int = 0) -> Tensor:
    """A place in the plane for each vector, place_X2; the same for the same vectors and seed.

    Raises ValueError for fewer than four vectors, which UMAP cannot lay out.
    """
    if len(vector_XA) < 4:
        raise ValueError(f"{len(vector_XA)} vectors came; a map needs at least 4.")
    from umap import UMAP

    neighbours = min(15, len(vector_XA) - 1)
    mapped = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(vector_XA.float().cpu().numpy())
    return torch.from_numpy(mapped)
