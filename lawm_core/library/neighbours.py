"""Exact nearest neighbours by one matrix product per chunk, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_SIZE = 100  # points in a block; at first only the nearest point of each block is considered
# Distances computed at once (32 MiB): smaller chunks do not occupy all cores, larger ones exceed their caches.
MAX_PAIRS = 2**23


@torch.no_grad()
def nearest(vector_XA: Tensor, among_PA: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the nearest of P vectors to each of X vectors: (distance_XY, point_XY), Y = min(count, P), nearest first.

    Distances are Euclidean and computed from differences, so equal vectors have distance 0. The neighbours themselves
    are chosen by a float32 product: among points that are closer to each other than about a thousandth of their norm,
    the choice is arbitrary. Memory grows with X and P, not with X * P.
    """
    vector_XA, among_PA = vector_XA.float(), among_PA.float()
    half_P = among_PA.square().sum(dim=1) / 2
    rows = max(1, min(len(vector_XA), MAX_PAIRS // len(among_PA)))
    buffer_XP = vector_XA.new_empty(rows, -(-len(among_PA) // BLOCK_SIZE) * BLOCK_SIZE)
    buffer_XP[:, len(among_PA) :] = float("inf")
    parts = [nearest_in_chunk(chunk_XA, among_PA, half_P, count, buffer_XP) for chunk_XA in vector_XA.split(rows)]
    distance_XY, point_XY = (torch.cat(part) for part in zip(*parts, strict=True))
    return distance_XY, point_XY


def nearest_in_chunk(
    vector_XA: Tensor, among_PA: Tensor, half_P: Tensor, count: int, buffer_XP: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the result of `nearest` for a chunk of the vectors.

    half_P: half the squared norm of each of the P vectors. buffer_XP: memory to compute in, with at least as many rows
    as there are vectors; its columns from P on must be infinite.
    """
    score_XP = buffer_XP[: len(vector_XA)]
    # Half the squared distance minus a constant per vector: it has the same order as the distance.
    torch.addmm(half_P, vector_XA, among_PA.T, alpha=-1, out=score_XP[:, : len(among_PA)])
    point_XY = smallest(score_XP, min(count, len(among_PA)))
    # Recomputed from differences, because the product is inaccurate for vectors that are close to each other.
    distance_XY = (vector_XA[:, None] - among_PA[point_XY]).square().sum(dim=-1).sqrt()
    distance_XY, order_XY = distance_XY.sort(dim=1, stable=True)
    return distance_XY, point_XY.gather(1, order_XY)


def smallest(value_XP: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` smallest values of each row, index_XY. P must be a multiple of BLOCK_SIZE.

    They are all in the `count` blocks with the smallest minima, so only the values of these blocks are sorted.
    """
    blocks = value_XP.unflatten(1, (-1, BLOCK_SIZE))
    block_XY = blocks.amin(dim=2).topk(min(count, blocks.shape[1]), largest=False).indices
    candidates = blocks.gather(1, block_XY[..., None].expand(-1, -1, BLOCK_SIZE))
    index_XY = candidates.flatten(1).topk(count, largest=False).indices
    return block_XY.gather(1, index_XY // BLOCK_SIZE) * BLOCK_SIZE + index_XY % BLOCK_SIZE
