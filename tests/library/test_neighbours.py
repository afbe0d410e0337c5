"""Nearest neighbours are those of sorting all distances, for any size, in bounded memory."""

import pytest
import torch

from lawm_core.library import neighbours
from lawm_core.library.neighbours import BLOCK_SIZE, nearest


@pytest.mark.parametrize("points", [1, 3, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 7 * BLOCK_SIZE + 13])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_neighbours_equal_sorting_all_distances(points, count, monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 9 * points)  # nine vectors at a time, of fifty
    generator = torch.Generator().manual_seed(points)
    among_PA, vector_XA = torch.randn(points, 6, generator=generator), torch.randn(50, 6, generator=generator)
    distance_XY, point_XY = nearest(vector_XA, among_PA, count)
    expected = torch.cdist(vector_XA.double(), among_PA.double()).sort(dim=1)
    assert torch.equal(point_XY, expected.indices[:, :count])
    torch.testing.assert_close(distance_XY.double(), expected.values[:, :count], rtol=1e-5, atol=1e-6)


def test_equal_vector_has_distance_zero_far_from_the_origin():
    among_PA = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)) + 20
    distance_XY, point_XY = nearest(among_PA, among_PA, 2)
    assert torch.equal(point_XY[:, 0], torch.arange(300)) and not distance_XY[:, 0].any() and distance_XY[:, 1].all()


def test_equal_points_are_found_once_each():
    among_PA = torch.zeros(250, 4)
    _, point_XY = nearest(torch.ones(2, 4), among_PA, 8)
    assert [len(set(points)) for points in point_XY.tolist()] == [8, 8]


def test_no_vectors_have_no_neighbours():
    distance_XY, point_XY = nearest(torch.empty(0, 4), torch.ones(30, 4), 5)
    assert distance_XY.shape == point_XY.shape == (0, 5)


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    sizes = []
    original = neighbours.nearest_in_chunk
    monkeypatch.setattr(neighbours, "MAX_PAIRS", 1000)
    monkeypatch.setattr(
        neighbours, "nearest_in_chunk", lambda *given: sizes.append(given[-1].numel()) or original(*given)
    )
    nearest(torch.ones(200, 4), torch.ones(150, 4), 3)
    assert len(sizes) == 34 and max(sizes) <= 1000 + 6 * BLOCK_SIZE
