"""The nearest of many vectors: all are looked at, by one matrix product and little else of the size of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 100  # points of which the best is looked for first
PAIRS = 2**23  # that are looked at at once, 32 MiB: fewer keep processors waiting, more fall out of their caches


@torch.no_grad()
def nearest(vector_XA: Tensor, among_PA: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` vectors of `among_PA` nearest to each of `vector_XA`: (distance_XK, point_XK), nearest first.

    K is `count`, or P where that is less. Distances are Euclidean, from the differences themselves: an equal vector has
    distance 0. Which are nearest is decided by a product in float32, to its rounding: of vectors that lie closer to
    each other than about a thousandth of their length, any may come first, or be left out. Memory grows with X and with
    P, not with their product.
    """
    vector_XA, among_PA = vector_XA.float(), among_PA.float()
    half_P = among_PA.square().sum(dim=1) / 2
    rows = max(1, min(len(vector_XA), PAIRS // len(among_PA)))
    room = vector_XA.new_empty(rows, -(-len(among_PA) // BLOCK) * BLOCK)
    room[:, len(among_PA) :] = float("inf")
    found = [nearest_part(part_XA, among_PA, half_P, count, room) for part_XA in vector_XA.split(rows)]
    distance_XK, point_XK = (torch.cat(parts) for parts in zip(*found, strict=True))
    return distance_XK, point_XK


def nearest_part(
    vector_XA: Tensor, among_PA: Tensor, half_P: Tensor, count: int, room: Tensor
) -> tuple[Tensor, Tensor]:
    """For as many vectors as `room` has rows; its columns past P hold infinity, and fill the last block."""
    far_XP = room[: len(vector_XA)]
    # Half the squared distance, without what is the same for all points: it orders them alike.
    torch.addmm(half_P, vector_XA, among_PA.T, alpha=-1, out=far_XP[:, : len(among_PA)])
    point_XK = smallest(far_XP, min(count, len(among_PA)))
    # The product's last digits are lost where vectors lie close; so few differences cost nothing.
    distance_XK = (vector_XA[:, None] - among_PA[point_XK]).square().sum(dim=-1).sqrt()
    distance_XK, order_XK = distance_XK.sort(dim=1, stable=True)
    return distance_XK, point_XK.gather(1, order_XK)


def smallest(number_XP: Tensor, count: int) -> Tensor:
    """Where the `count` smallest numbers of each row stand, place_XK; rows are whole blocks long.

    They lie in the `count` blocks whose smallest numbers are smallest, so all others are read once and never sorted.
    """
    number_XGP = number_XP.unflatten(1, (-1, BLOCK))
    block_XG = number_XGP.amin(dim=2).topk(min(count, number_XGP.shape[1]), largest=False).indices
    within_XGP = number_XGP.gather(1, block_XG[..., None].expand(-1, -1, BLOCK))
    place_XK = within_XGP.flatten(1).topk(count, largest=False).indices
    return block_XG.gather(1, place_XK // BLOCK) * BLOCK + place_XK % BLOCK
