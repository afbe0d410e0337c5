"""The nearest of many: what sorting all distances gives, whatever the sizes, in bounded memory."""

import pytest
import torch

from lawm_core.evaluation import nearest as rooms
from lawm_core.evaluation.nearest import BLOCK, nearest


@pytest.mark.parametrize("points", [1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 13])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_they_are_those_that_sorting_all_distances_gives(points, count, monkeypatch):
    monkeypatch.setattr(rooms, "PAIRS", 9 * points)  # nine vectors at a time, of fifty
    generator = torch.Generator().manual_seed(points)
    among_PA, vector_XA = torch.randn(points, 6, generator=generator), torch.randn(50, 6, generator=generator)
    distance_XK, point_XK = nearest(vector_XA, among_PA, count)
    expected_XP = torch.cdist(vector_XA.double(), among_PA.double()).sort(dim=1)
    assert torch.equal(point_XK, expected_XP.indices[:, :count])
    torch.testing.assert_close(distance_XK.double(), expected_XP.values[:, :count], rtol=1e-5, atol=1e-6)


def test_a_vector_among_them_is_at_no_distance_however_far_from_the_origin():
    among_PA = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)) + 20
    distance_XK, point_XK = nearest(among_PA, among_PA, 2)
    assert torch.equal(point_XK[:, 0], torch.arange(300)) and not distance_XK[:, 0].any() and distance_XK[:, 1].all()


def test_equal_vectors_are_each_found_once():
    among_PA = torch.zeros(250, 4)
    _, point_XK = nearest(torch.ones(2, 4), among_PA, 8)
    assert [len(set(points)) for points in point_XK.tolist()] == [8, 8]


def test_of_no_vectors_nothing_is_found():
    distance_XK, point_XK = nearest(torch.empty(0, 4), torch.ones(30, 4), 5)
    assert distance_XK.shape == point_XK.shape == (0, 5)


def test_memory_does_not_grow_with_all_pairs(monkeypatch):
    asked = []
    real = rooms.nearest_part
    monkeypatch.setattr(rooms, "PAIRS", 1000)
    monkeypatch.setattr(rooms, "nearest_part", lambda *given: asked.append(given[-1].numel()) or real(*given))
    nearest(torch.ones(200, 4), torch.ones(150, 4), 3)
    assert len(asked) == 34 and max(asked) <= 1000 + 6 * BLOCK
